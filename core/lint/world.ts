import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import type { Protocol } from '../../api/nodeconfig.ts';
import { formatIp, type Ip, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import { type Direction, type PodsSelector, type Policy, policyKey, type PolicyRule } from '../cluster/policy.ts';
import { matches } from '../cluster/selector.ts';
import { keyOf, type Pod } from '../cluster/state.ts';
import { groupKey } from '../policy/groups.ts';
import { labelsOfNamespace, type PolicyIndex } from '../policy/index.ts';
import { LabelIndex } from '../policy/label-index.ts';
import type { Profiles } from '../policy/profile.ts';
import { policiesOf } from '../view/policies.ts';
import { podAt, type View } from '../view/view.ts';
import { Operators } from './operators.ts';

/** How a Service leads to a pod. */
export type Way = {
  readonly service: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly nodePort: number | undefined;
  /** The pod's own port. */
  readonly target: number;
};

/** What pods listen on, all of them together. */
export type Receivers = {
  readonly pods: number;
  /** Protocols by the name of a port. */
  readonly names: ReadonlyMap<string, ReadonlySet<Protocol>>;
  /** "80/TCP" */
  readonly declared: ReadonlySet<string>;
  /** By the port of a Service or of nodes, "80/TCP": where that leads to. */
  readonly ways: ReadonlyMap<string, Way>;
};

/** What lint asks of a view, each worked out once. */
export class World {
  readonly view: View;
  readonly index: PolicyIndex;
  readonly profiles: Profiles;
  readonly operators: Operators;
  /** Everything there is, a cluster; manifests are only a part. */
  readonly complete: boolean;
  /** The input has Namespace objects, with their labels. */
  readonly hasNamespaces: boolean;
  readonly policies: readonly Policy[];
  /** "Service ns/name" by each of its addresses. */
  readonly serviceByIp: ReadonlyMap<string, string>;
  readonly waysToPod: ReadonlyMap<string, readonly Way[]>;
  readonly podRanges: PrefixMap<true>;
  readonly #podsByNamespace: ReadonlyMap<string, readonly Pod[]>;
  readonly #namespaces: LabelIndex<string>;
  readonly #selected = new Map<string, readonly Pod[]>();
  readonly #matching = new Map<string, readonly string[]>();
  readonly #receivers = new Map<string, Receivers>();

  constructor(view: View, others: readonly Readonly<Record<string, unknown>>[], complete: boolean) {
    const { state } = view;
    this.view = view;
    this.complete = complete;
    ({ index: this.index, profiles: this.profiles } = policiesOf(view));
    this.policies = [...(state.policies?.values() ?? [])];
    this.hasNamespaces = [...state.namespaces.values()].some((n) => Object.keys(n.labels).length > 0);
    this.#podsByNamespace = Map.groupBy(state.pods.values(), (p) => p.namespace);
    const names = new Set([...state.namespaces.keys(), ...this.#podsByNamespace.keys()]);
    this.#namespaces = new LabelIndex([...names], (name) => labelsOfNamespace(state, name));
    this.operators = new Operators(
      others,
      [...state.pods.values()].map((p) => p.labels),
    );
    this.serviceByIp = new Map(
      [...state.services.values()].flatMap((s) =>
        [...s.clusterIPs, ...s.frontends.map((f) => f.ip)].map((ip) => [ip, `Service ${keyOf(s)}`] as const),
      ),
    );
    this.waysToPod = waysOf(view);
    const ranges = [...state.podCIDRs, ...[...state.nodes.values()].flatMap((n) => n.podCIDRs)];
    this.podRanges = new PrefixMap(ranges.map((r): [Prefix, true] => [mustPrefix(r), true]));
  }

  /** The pods that a selector means. */
  podsOf(selector: PodsSelector): readonly Pod[] {
    const key = groupKey([{ kind: 'pods', ...selector }]);
    const known = this.#selected.get(key) ?? this.index.podsOf(selector);
    this.#selected.set(key, known);
    return known;
  }

  /** The namespaces that a selector means, and some pods in them. */
  near({ namespace, namespaces }: PodsSelector): {
    readonly namespaces: readonly string[];
    readonly pods: readonly Pod[];
  } {
    const names = namespace === undefined ? this.#namespacesLike(namespaces) : [namespace];
    const pods: Pod[] = [];
    for (const name of names) {
      pods.push(...(this.#podsByNamespace.get(name) ?? []).slice(0, MOST_NEAR));
      if (pods.length >= MOST_NEAR) break;
    }
    return { namespaces: names, pods };
  }

  #namespacesLike(selector: LabelSelector): readonly string[] {
    const key = JSON.stringify(selector);
    const { state } = this.view;
    const made = (): readonly string[] =>
      this.#namespaces.like(selector).filter((n) => matches(selector, labelsOfNamespace(state, n)));
    const known = this.#matching.get(key) ?? made();
    this.#matching.set(key, known);
    return known;
  }

  /** Ports of the pods that are reached by a rule; undefined when the input does not tell of any. */
  receivers(policy: Policy, direction: Direction, { peers }: PolicyRule): Receivers | undefined {
    if (direction === 'ingress') return policy.subject && this.#receiversOf([{ kind: 'pods', ...policy.subject }]);
    // Of prefixes all pods may be inside.
    return this.#receiversOf(peers === 'any' || peers.some((p) => p.kind !== 'pods') ? 'any' : peers);
  }

  #receiversOf(peers: PolicyRule['peers']): Receivers | undefined {
    const key = groupKey(peers);
    const known = this.#receivers.get(key);
    if (known) return known.pods === 0 ? undefined : known;
    const all = this.view.state.pods;
    const pods =
      peers === 'any' ? [...all.values()] : peers.flatMap((peer) => (peer.kind === 'pods' ? this.podsOf(peer) : []));
    const made = receiversOf(pods, (pod) => this.waysToPod.get(keyOf(pod)) ?? []);
    this.#receivers.set(key, made);
    return made.pods === 0 ? undefined : made;
  }

  /** A Service with an address in a prefix of nothing but Services; undefined when a pod or node is in it, or none of all. */
  servicesIn(prefix: Prefix): string | undefined {
    if (prefix.length < LEAST_RANGE[prefix.family]) return undefined;
    this.#addresses ??= {
      services: sorted(this.serviceByIp.keys()),
      others: sorted([...this.view.podByIp.keys(), ...[...this.view.state.nodes.values()].flatMap((n) => n.addresses)]),
    };
    const found = firstIn(this.#addresses.services, prefix);
    if (found === undefined || firstIn(this.#addresses.others, prefix) !== undefined) return undefined;
    return this.serviceByIp.get(formatIp(found));
  }
  #addresses: { readonly services: readonly Ip[]; readonly others: readonly Ip[] } | undefined;

  /** Policies that select every pod that this one selects, in order. */
  beside(policy: Policy): readonly Policy[] {
    if (policy.kind === 'ClusterNetworkPolicy' || !policy.subject) return [policy];
    const own = this.#bySubject.get(subjectKey(policy)) ?? [];
    const wide = this.#bySubject.get(`${policy.namespace} {}`) ?? [];
    return own === wide ? own : [...own, ...wide].sort((a, b) => (policyKey(a) < policyKey(b) ? -1 : 1));
  }

  get #bySubject(): ReadonlyMap<string, readonly Policy[]> {
    this.#subjects ??= Map.groupBy(
      this.policies.filter((p) => p.kind === 'NetworkPolicy'),
      subjectKey,
    );
    return this.#subjects;
  }
  #subjects: ReadonlyMap<string, readonly Policy[]> | undefined;
}

/** Shorter prefixes than these mean more than a range of Services. */
const LEAST_RANGE = { 4: 12, 6: 64 } as const;

const sorted = (ips: Iterable<string>): Ip[] => [...ips].map(mustIp).sort(inOrder);
const inOrder = (a: Ip, b: Ip): number => a.family - b.family || (a.value < b.value ? -1 : a.value > b.value ? 1 : 0);

/** The first of sorted addresses that lies in a prefix. */
function firstIn(all: readonly Ip[], prefix: Prefix): Ip | undefined {
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (inOrder(all[middle] as Ip, { family: prefix.family, value: prefix.first }) < 0) low = middle + 1;
    else high = middle;
  }
  const found = all[low];
  return found && contains(prefix, found) ? found : undefined;
}

/** Pods that are looked at for what an author may have meant. */
const MOST_NEAR = 200;

function receiversOf(pods: readonly Pod[], waysTo: (pod: Pod) => readonly Way[]): Receivers {
  const names = new Map<string, Set<Protocol>>();
  const declared = new Set<string>();
  const ways = new Map<string, Way>();
  for (const pod of pods) {
    for (const { name, port, protocol } of pod.ports) {
      declared.add(`${port}/${protocol}`);
      if (name !== '') names.set(name, (names.get(name) ?? new Set<Protocol>()).add(protocol));
    }
    for (const way of waysTo(pod))
      for (const number of [way.port, way.nodePort])
        if (number !== undefined) ways.set(`${number}/${way.protocol}`, way);
  }
  return { pods: pods.length, names, declared, ways };
}

const subjectKey = ({ namespace, subject }: Policy): string => `${namespace} ${JSON.stringify(subject?.pods ?? null)}`;

/** By pod, the ports of Services that lead to it. */
function waysOf(view: View): ReadonlyMap<string, readonly Way[]> {
  const found = new Map<string, Way[]>();
  for (const service of view.state.services.values())
    for (const slice of view.slicesByService.get(keyOf(service)) ?? [])
      for (const target of slice.ports) {
        const port = service.ports.find((p) => p.name === target.name && p.protocol === target.protocol);
        if (!port) continue;
        for (const { pod, ip } of slice.endpoints) {
          const behind = pod === '' ? podAt(view, ip) : view.state.pods.get(pod);
          if (!behind) continue;
          const { protocol, nodePort } = port;
          const way = {
            service: `Service ${keyOf(service)}`,
            protocol,
            port: port.port,
            nodePort,
            target: target.port,
          };
          const ways = found.get(keyOf(behind));
          if (ways) ways.push(way);
          else found.set(keyOf(behind), [way]);
        }
      }
  return found;
}
