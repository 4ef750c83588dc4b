import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { labTarget } from '../../cli/target/lab-target.ts';
import type { ClusterTarget } from '../../cli/target/target.ts';
import { podNamespaces } from '../../cli/target/lab-pods.ts';
import { measureReach } from '../../cli/cluster/reach.ts';
import { loadState } from '../../cli/cluster/state.ts';
import { podAsked } from '../../core/decide/ends.ts';
import { type View, viewOf } from '../../core/view/view.ts';
import type { Pod } from '../../core/cluster/state.ts';
import { connectAll, type Attempt, type Outcome } from '../../lib/connect/connect.ts';
import { kubeconfigPath, labClient, labDown, labUp, waitForPods } from '../../lab/world/lab.ts';
import { isAlive, listProcesses } from '../../lab/world/processes.ts';
import { applyManifests } from '../../lib/manifests/apply.ts';
import { readManifests } from '../../lib/manifests/read.ts';
import type { LabFamily, LabSpec } from '../../lab/world/plan.ts';
import { netPath } from '../../lab/world/plan.ts';
import { exec } from '../../lib/exec/exec.ts';
import type { KubeClient } from '../../lib/kube/client.ts';
import { parseAllDocuments } from 'yaml';
import { HeldConnection } from './held.ts';

export const checkout: string = join(import.meta.dirname, '../..');
const FAMILY_OF = { 4: 0, 6: 1 } as const;

/** A lab for one test file, with what tests ask of it. */
export class TestLab {
  readonly name: string;
  spec!: LabSpec;
  client!: KubeClient;
  #target: ClusterTarget | undefined;
  readonly #held: HeldConnection[] = [];

  constructor(name: string) {
    this.name = `t${process.pid}-${name}`;
  }

  async up(
    family: LabFamily,
    nodes: number,
    manifests: readonly string[],
    nodeCidrLength = 24,
    agentArgs: readonly string[] = ['--audit-interval', '3', '--address-rest', '5'],
    admission = true,
  ): Promise<void> {
    this.spec = await labUp({
      name: this.name,
      nodes,
      family,
      manifests,
      checkout,
      progress: () => undefined,
      timeoutMs: 150_000,
      nodeCidrLength,
      agentArgs,
      admission,
    });
    this.client = labClient(this.name);
  }

  async down(): Promise<void> {
    for (const held of this.#held) held.end();
    await this.#target?.[Symbol.asyncDispose]();
    await this.client?.[Symbol.asyncDispose]();
    await labDown(this.name);
  }

  /** Applies YAML text and waits until all pods are ready, unless told not to. */
  async apply(yaml: string, { wait = true } = {}): Promise<void> {
    await applyManifests(
      this.client,
      parseAllDocuments(yaml).flatMap((d) => (d.toJS() === null ? [] : [d.toJS() as Record<string, unknown>])),
    );
    if (wait) await this.ready();
  }

  async applyFile(path: string): Promise<void> {
    await applyManifests(this.client, readManifests(path));
    await this.ready();
  }

  ready(ms = 90_000): Promise<void> {
    return waitForPods(this.client, this.spec, performance.now() + ms, () => undefined);
  }

  /** For the commands that ask a cluster. */
  get target(): ClusterTarget {
    this.#target ??= labTarget(this.name);
    return this.#target;
  }

  async view(): Promise<View> {
    return viewOf(await loadState(this.target));
  }

  async pod(text: string): Promise<Pod> {
    return podAsked(await this.view(), text).pod;
  }

  /** Address of a pod, of the family. */
  async ip(text: string, family: 4 | 6 = 4): Promise<string> {
    const { ips } = await this.pod(text);
    return ips.find((ip) => ip.includes(':') === (family === 6)) ?? ips[FAMILY_OF[family]] ?? '';
  }

  async netns(text: string): Promise<string> {
    const { uid } = await this.pod(text);
    const path = podNamespaces(this.name).get(uid);
    if (path === undefined) throw new Error(`pod ${text} has no namespace`);
    return path;
  }

  /** One connection from a pod, or from a namespace given as { net }: "open", "rejected" or "closed"; with who answered behind a colon. */
  async connect(
    from: string | { readonly net: string },
    address: string,
    port: number,
    protocol: Attempt['protocol'] = 'TCP',
    timeoutMs = 1_500,
  ): Promise<string> {
    const netns = typeof from === 'string' ? await this.netns(from) : netPath(this.name, from.net);
    const [outcome] = await connectAll([
      { netns, address, port, protocol, timeoutMs, identify: protocol === 'TCP' && port !== 53 && port !== 443 },
    ]);
    return `${outcome?.verdict}${outcome?.by === undefined ? '' : `:${outcome.by}`}`;
  }

  /** Connections from a pod to another that stay open until ended, or the lab is. They are made by the time this returns. */
  async hold(from: string, to: string, family: 4 | 6 = 4): Promise<HeldConnection> {
    const held = new HeldConnection(await this.netns(from), await this.ip(to, family));
    this.#held.push(held);
    await held.alive(20_000);
    return held;
  }

  /** Many at once, same order. */
  connectMany(attempts: readonly Attempt[]): Promise<Outcome[]> {
    return connectAll(attempts);
  }

  async kubectl(...args: string[]): Promise<string> {
    const { stdout } = await exec(['kubectl', '--kubeconfig', kubeconfigPath(this.name), ...args], {
      timeoutMs: 60_000,
    });
    return stdout;
  }

  /** Runs a program in a pod's network. */
  async inPod(text: string, ...argv: string[]): Promise<string> {
    const { stdout } = await exec(['nsenter', `--net=${await this.netns(text)}`, ...argv]);
    return stdout;
  }

  /** Runs a program in a node's network and file system. */
  async onNode(node: string, ...argv: string[]): Promise<string> {
    const { stdout } = await exec([
      'nsenter',
      `--net=${netPath(this.name, node)}`,
      `--mount=${netPath(this.name, node).replace(/\.net$/, '.mnt')}`,
      '--',
      ...argv,
    ]);
    return stdout;
  }

  /** Every pod to everything, measured: where the packets differ from what core says, in words. */
  async differences(): Promise<string[]> {
    const probes = await measureReach(this.target, () => undefined);
    return probes
      .filter((p) => !p.match)
      .map((p) => `${p.from.namespace}/${p.from.pod} → ${p.to.namespace}/${p.to.name} ${p.to.address}: ${p.why}`);
  }

  /** Ends a program of the lab at once, as a crash does. */
  async kill(role: string): Promise<void> {
    const process_ = listProcesses(this.name).find((p) => p.role === role);
    if (!process_ || !isAlive(process_)) throw new Error(`${role} does not run`);
    process.kill(process_.pid, 'SIGKILL');
    while (isAlive(process_)) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Asks again until it holds; the last answer when time is over. */
  async eventually<T>(ask: () => Promise<T>, holds: (value: T) => boolean, ms = 20_000): Promise<T> {
    const end = performance.now() + ms;
    for (;;) {
      const value = await ask();
      if (holds(value) || performance.now() > end) return value;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/**
 * Brings a lab up before the tests of a file, and down after them whatever happens. `admission: false`: for tests of what is
 * enforced when an object got past admission, because it was there before or the webhook was away.
 */
export function useLab(
  name: string,
  {
    family = 'dual',
    nodes = 2,
    manifests = [],
    nodeCidrLength,
    agentArgs,
    admission,
  }: {
    family?: LabFamily;
    nodes?: number;
    manifests?: readonly string[];
    nodeCidrLength?: number;
    agentArgs?: readonly string[];
    admission?: boolean;
  } = {},
): TestLab {
  const lab = new TestLab(name);
  beforeAll(() => lab.up(family, nodes, manifests, nodeCidrLength, agentArgs, admission));
  afterAll(() => lab.down());
  return lab;
}

/** A namespace with pods pinned to nodes: p1 on n1, q1 on n1, p2 on n2. Each answers on TCP 8080 and UDP 5353; Service "web" in front of all. */
export function shop(
  namespace: string,
  { isolated = true, labels = {} as Record<string, string>, annotations = {} as Record<string, string> } = {},
): string {
  const all = { ...labels, ...(isolated ? { 'bulkhead.dev/isolated': 'true' } : {}) };
  const pods = [
    ['p1', 'n1'],
    ['q1', 'n1'],
    ['p2', 'n2'],
  ].map(([name, node]) => pod(namespace, name ?? '', { node: node ?? '' }));
  return [
    JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: all, annotations } }),
    ...pods,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace },
      spec: {
        ipFamilyPolicy: 'PreferDualStack',
        selector: { app: 'web' },
        ports: [
          { name: 'http', port: 80, targetPort: 8080 },
          { name: 'dgram', port: 5353, protocol: 'UDP' },
        ],
      },
    }),
  ].join('\n---\n');
}

export function virtualNetwork(namespace: string, name: string, spec: object = {}, labels: object = {}): string {
  return JSON.stringify({
    apiVersion: 'bulkhead.dev/v1alpha1',
    kind: 'VirtualNetwork',
    metadata: { name, namespace, labels },
    spec,
  });
}

/** What the administrator allows. */
export const bulkheadConfig = (spec: object): string =>
  JSON.stringify({ apiVersion: 'bulkhead.dev/v1alpha1', kind: 'BulkheadConfig', metadata: { name: 'default' }, spec });

export function pod(
  namespace: string,
  name: string,
  {
    node,
    annotations = {},
    labels = { app: 'web' },
    container = {},
  }: { node?: string; annotations?: Record<string, string>; labels?: Record<string, string>; container?: object } = {},
): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels, annotations },
    spec: {
      ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
      containers: [
        {
          name: 'c',
          image: 'x',
          ports: [{ containerPort: 8080 }, { containerPort: 5353, protocol: 'UDP' }],
          ...container,
        },
      ],
    },
  });
}
