import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import { matches } from '../cluster/selector.ts';
import type { Strings } from '../cluster/state.ts';
import { LabelIndex, requiredLabels } from '../policy/label-index.ts';
import { objectOf } from '../read/problems.ts';

type Raw = Readonly<Record<string, unknown>>;

/** Label domains of programs that make pods at run time: no manifest has these pods. */
const DOMAINS: readonly string[] = [
  'acme.cert-manager.io',
  'actions.github.com',
  'argoproj.io',
  'batch.kubernetes.io',
  'camel.apache.org',
  'cdi.kubevirt.io',
  'ceph.rook.io',
  'cnpg.io',
  'crunchydata.com',
  'eventing.knative.dev',
  'flux.weave.works',
  'gateway.envoyproxy.io',
  'gateway.networking.k8s.io',
  'istio.io',
  'k8s.elastic.co',
  'kubevirt.io',
  'longhorn.io',
  'opentelemetry.io',
  'rabbitmq.com',
  'ray.io',
  'rook.io',
  'serving.knative.dev',
  'sparkoperator.k8s.io',
  'strimzi.io',
  'tekton.dev',
];

/** Labels that the controllers of Kubernetes or well-known operators give to pods that they make. */
const KEYS: readonly string[] = ['job-name', 'spark-role', 'cluster-name', 'spilo-role', 'rook_cluster', 'jenkins'];

/** Domains that all tools write on everything. */
const SHARED: readonly string[] = ['kubernetes.io', 'app.kubernetes.io', 'k8s.io', 'helm.sh'];

/** A custom object that some program turns into pods, perhaps, with some labels that it has or gives. */
type Custom = { readonly name: string; readonly labels: Strings };

/** What the input tells of programs that make pods at run time. */
export class Operators {
  readonly #groups = new Set<string>(DOMAINS);
  readonly #customs: LabelIndex<Custom>;
  readonly #knownDomains = new Set<string>();
  readonly #programs: readonly string[];

  /**
   * @param others objects of the input that are none of a cluster's own kinds
   * @param labels of all pods of the input
   */
  constructor(others: readonly Raw[], labels: readonly Strings[]) {
    this.#customs = new LabelIndex(
      others.flatMap((raw) => this.#read(raw)),
      (c) => c.labels,
    );
    for (const own of labels) for (const key of Object.keys(own)) this.#knownDomains.add(domainOf(key));
    const names = labels.flatMap((own) => Object.values(own).filter((v) => /.-(operator|manager)$/.test(v)));
    this.#programs = [...new Set(names)];
  }

  #read(raw: Raw): Custom[] {
    const group = String(raw['apiVersion'] ?? '').split('/')[0] ?? '';
    if (raw['kind'] === 'CustomResourceDefinition') {
      const own = objectOf(raw['spec'])['group'];
      if (typeof own === 'string') this.#groups.add(own);
      return [];
    }
    // Groups without a dot, and those of Kubernetes, are no custom ones.
    if (!group.includes('.') || group.endsWith('.k8s.io') || group === 'k8s.io') return [];
    this.#groups.add(group);
    const { name, namespace } = objectOf(raw['metadata']);
    const text = `${String(raw['kind'])} ${typeof namespace === 'string' ? `${namespace}/` : ''}${String(name)}`;
    return labelMaps(raw).flatMap((labels) => (Object.keys(labels).length > 0 ? [{ name: text, labels }] : []));
  }

  /**
   * Who makes the pods that a selector asks for, in words; undefined when nothing tells of that.
   *
   * @param typo the selector is almost that of pods that there are: only a custom object with just these labels outweighs that
   */
  makerOf({ pods }: { readonly pods: LabelSelector }, typo: boolean): string | undefined {
    const keys = [
      ...Object.keys(pods.matchLabels ?? {}),
      ...(pods.matchExpressions ?? []).flatMap((e) => (e.operator === 'In' || e.operator === 'Exists' ? e.key : [])),
    ];
    if (keys.length === 0) return undefined;
    const custom = this.#customs.like(pods).find((c) => matches(pods, c.labels));
    if (custom) return `its pods are those of ${custom.name}`;
    if (typo) return undefined;
    const key = keys.find((k) => KEYS.includes(k) || this.#isOfGroup(domainOf(k)));
    if (key !== undefined) return `label ${key} is set by a program that makes pods at run time`;
    const values = requiredLabels(pods)
      .flat()
      .map((l) => l.slice(l.indexOf('=') + 1));
    const program = this.#programs.find((p) => values.some((v) => v !== p && v.startsWith(stemOf(p))));
    if (program !== undefined) return `${program} of the input may make them at run time`;
    const vendor = keys.find((k) => this.#isUnknownVendor(domainOf(k)));
    return vendor === undefined ? undefined : `no pod of the input has a label of ${domainOf(vendor)}`;
  }

  #isOfGroup(domain: string): boolean {
    if (domain === '') return false;
    return parents(domain).some((d) => this.#groups.has(d)) || [...this.#groups].some((g) => g.endsWith(`.${domain}`));
  }

  #isUnknownVendor(domain: string): boolean {
    return (
      domain !== '' && !SHARED.some((s) => domain === s || domain.endsWith(`.${s}`)) && !this.#knownDomains.has(domain)
    );
  }
}

const domainOf = (key: string): string => (key.includes('/') ? key.slice(0, key.indexOf('/')) : '');

/** "a.b.c" and "b.c"; never a top-level domain. */
function parents(domain: string): string[] {
  const parts = domain.split('.');
  return parts.slice(0, -1).map((_, i) => parts.slice(i).join('.'));
}

const stemOf = (program: string): string => program.replace(/-(controller-)?(operator|manager)$/, '');

/** All maps of labels of a custom object, wherever they are: its own, and those that it wants its pods to have. */
function labelMaps(raw: Raw): Strings[] {
  const found: Strings[] = [];
  const waiting: { readonly value: unknown; readonly depth: number }[] = [{ value: raw, depth: 0 }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { value, depth } = next;
    if (typeof value !== 'object' || value === null || depth > DEEPEST || found.length >= MOST_MAPS) continue;
    for (const [key, inner] of Object.entries(value)) {
      if (key === 'labels' || key === 'matchLabels') found.push(stringsOf(inner));
      else waiting.push({ value: inner, depth: depth + 1 });
    }
  }
  return found;
}

const DEEPEST = 6;
const MOST_MAPS = 32;

const stringsOf = (raw: unknown): Strings =>
  Object.fromEntries(Object.entries(objectOf(raw)).filter((e): e is [string, string] => typeof e[1] === 'string'));
