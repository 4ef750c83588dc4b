import { readFileSync } from 'node:fs';
import { kubectlTarget } from '../../cli/target/kubectl-target.ts';
import type { ClusterTarget } from '../../cli/target/target.ts';
import { connectAll, type Outcome } from '../../lib/connect/connect.ts';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import type { KubeObject } from '../../lib/kube/client.ts';

/** The cluster that hack/kind-test.sh has made. Everything goes through kubectl and docker, as an operator would. */

const kubeconfig = process.env['KUBECONFIG'] ?? '';
export const clusterName = process.env['KIND_CLUSTER'] ?? '';
/** "ipv4", "ipv6" or "dual" */
export const family = process.env['KIND_FAMILY'] ?? 'ipv4';
export const families: readonly (4 | 6)[] = family === 'dual' ? [4, 6] : family === 'ipv6' ? [6] : [4];
export const target: ClusterTarget = kubectlTarget({ kubeconfig }, { identify: true });

export async function kubectl(args: readonly string[], input?: string, timeoutMs = 120_000): Promise<string> {
  return (
    await exec(['kubectl', '--kubeconfig', kubeconfig, ...args], {
      timeoutMs,
      ...(input === undefined ? {} : { input }),
    })
  ).stdout;
}

/** stderr of a command that must fail. */
export async function refused(args: readonly string[], input?: string): Promise<string> {
  try {
    await kubectl(args, input);
  } catch (error) {
    return String((error as { result?: { stderr?: string } }).result?.stderr);
  }
  throw new Error(`kubectl ${args.join(' ')} should have been refused`);
}

export const apply = (yaml: string): Promise<string> => kubectl(['apply', '-f', '-'], yaml);

export async function get(kind: string, name: string, namespace?: string): Promise<KubeObject> {
  return JSON.parse(
    await kubectl(['get', kind, name, ...(namespace === undefined ? [] : ['-n', namespace]), '-o', 'json']),
  ) as KubeObject;
}

export async function ready(...namespaces: string[]): Promise<void> {
  for (const ns of namespaces)
    await kubectl(['-n', ns, 'wait', '--for=condition=Ready', 'pod', '--all', '--timeout=120s'], undefined, 130_000);
}

export const deleteNamespaces = (...names: string[]): Promise<string> =>
  kubectl(['delete', 'namespace', '--ignore-not-found', '--timeout=120s', ...names], undefined, 130_000);

/** Runs a program on a node. */
export async function onNode(node: string, ...command: string[]): Promise<string> {
  return (await exec(['docker', 'exec', node, ...command], { timeoutMs: 60_000 })).stdout;
}

export async function nodeNames(): Promise<string[]> {
  return (await kubectl(['get', 'nodes', '-o', 'name']))
    .trim()
    .split('\n')
    .map((n) => n.replace('node/', ''));
}

/** Workers first, since the first node holds the control plane. */
export async function workers(): Promise<[string, string]> {
  const [a = '', b = ''] = (await nodeNames()).filter((n) => n.includes('worker')).sort();
  return [a, b];
}

/** InternalIP of a node, of the family. */
export async function nodeIp(node: string, of: 4 | 6): Promise<string> {
  const { addresses } = (await get('node', node))['status'] as { addresses: { type: string; address: string }[] };
  return addresses.find((a) => a.type === 'InternalIP' && a.address.includes(':') === (of === 6))?.address ?? '';
}

export type PodFacts = {
  readonly uid: string;
  readonly node: string;
  readonly ips: readonly string[];
  readonly name: string;
};

export async function pod(namespace: string, selector: string): Promise<PodFacts> {
  const list = JSON.parse(await kubectl(['get', 'pods', '-n', namespace, '-l', selector, '-o', 'json'])) as {
    items: KubeObject[];
  };
  const found = list.items.find((p) => p.metadata.deletionTimestamp === undefined);
  if (!found) throw new Error(`no pod ${selector} in ${namespace}`);
  const { podIPs = [] } = found['status'] as { podIPs?: { ip: string }[] };
  return {
    uid: found.metadata.uid ?? '',
    node: (found['spec'] as { nodeName: string }).nodeName,
    ips: podIPs.map((p) => p.ip),
    name: found.metadata.name,
  };
}

export const ipOf = (p: PodFacts, of: 4 | 6): string => p.ips.find((ip) => ip.includes(':') === (of === 6)) ?? '';

type To = { readonly address: string; readonly port: number; readonly protocol: 'TCP' | 'UDP' };

/** Connects from a pod. */
export async function fromPod(p: PodFacts, to: To): Promise<Outcome['verdict']> {
  const [first = 'closed'] = await fromPodToAll(p, [to]);
  return first;
}

/** Several at once, in the order of the targets. */
export async function fromPodToAll(p: PodFacts, to: readonly To[]): Promise<Outcome['verdict'][]> {
  const attempts = to.map((t) => ({ ...t, timeoutMs: 1_500, identify: false, pod: { uid: p.uid, node: p.node } }));
  const outcomes = await target.connect(attempts, () => undefined);
  return to.map((_, i) => outcomes[i]?.verdict ?? 'closed');
}

/** Connects from a node's own network, or, without one, from this machine: a client outside the cluster. */
export async function fromHost(node: string | undefined, to: To): Promise<Outcome['verdict']> {
  const netns = node === undefined ? '/proc/self/ns/net' : `/proc/${await pidOf(node)}/ns/net`;
  const [outcome] = await connectAll([{ ...to, netns, timeoutMs: 1_500, identify: false }]);
  return outcome?.verdict ?? 'closed';
}

/** Of the container that is a node, or any other. */
export const pidOf = async (node: string): Promise<string> =>
  (await exec(['docker', 'inspect', '-f', '{{.State.Pid}}', node])).stdout.trim();

/** Path of a pod's network namespace as this machine can open it: through the container that is its node. */
export async function netnsOf({ node, ips }: PodFacts): Promise<string> {
  const find = `for n in $(ls /run/netns | grep ^cni-); do ip -n "$n" -o addr show dev eth0 | grep -q " ${ips[0]}/" && echo "$n"; done; true`;
  const name = (await onNode(node, 'sh', '-c', find)).trim();
  return `/proc/${await pidOf(node)}/root/run/netns/${name}`;
}

/** Runs the project's own command on this cluster, and gives what it prints. It must end with one of these codes. */
export async function bulkhead(args: readonly string[], codes: readonly number[] = [0]): Promise<string> {
  try {
    return (await exec([new URL('../../bulkhead', import.meta.url).pathname, ...args], { timeoutMs: 120_000 })).stdout;
  } catch (error) {
    if (error instanceof ExecError && codes.includes(error.result.exitCode)) return error.result.stdout;
    throw error;
  }
}

/** Waits until `work` gives something else than undefined. */
export async function eventually<T>(what: string, work: () => Promise<T | undefined>, timeoutMs = 60_000): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await work().catch(() => undefined);
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`gave up waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** A pod that answers on TCP 5432 and UDP 5353: the stand-in of the example's database. */
export const standIn = (
  namespace: string,
  name: string,
  { node, extra = '' }: { node?: string; extra?: string } = {},
): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${name} } }
spec:
  terminationGracePeriodSeconds: 1
  ${node === undefined ? '' : `nodeName: ${node}`}
  containers:
    - name: main
      image: postgres:17
      imagePullPolicy: IfNotPresent
      ports: [{ containerPort: 5432 }, { containerPort: 5353, protocol: UDP }]
      readinessProbe: { tcpSocket: { port: 5432 }, periodSeconds: 1 }
${extra}
---`;

export const isolatedNamespace = (name: string): string => `
apiVersion: v1
kind: Namespace
metadata: { name: ${name}, labels: { bulkhead.dev/isolated: "true" } }
---`;
export const flatNamespace = (name: string): string => `
apiVersion: v1
kind: Namespace
metadata: { name: ${name} }
---`;

export const checkoutFile = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** By namespace, a pod on the first worker and one on the second: "p1" and "p2", each with its name as its label "app". */
export type OnWorkers = ReadonlyMap<string, readonly [PodFacts, PodFacts]>;

/** Makes namespaces with a pod on each worker, and waits until they run. Networks of `outward` have a way out. */
export async function placeOnWorkers(namespaces: {
  readonly isolated?: readonly string[];
  readonly outward?: readonly string[];
  readonly flat?: readonly string[];
}): Promise<OnWorkers> {
  const { isolated = [], outward = [], flat = [] } = namespaces;
  const all = [...isolated, ...outward, ...flat];
  const nodes = await workers();
  const pods = all.flatMap((ns) => nodes.map((node, i) => standIn(ns, `p${i + 1}`, { node })));
  await apply([...[...isolated, ...outward].map(isolatedNamespace), ...flat.map(flatNamespace), ...pods].join('\n'));
  await ready(...all);
  const egress = JSON.stringify({ spec: { egress: { mode: 'NAT' } } });
  for (const ns of outward)
    await kubectl(['-n', ns, 'patch', 'virtualnetwork', 'default', '--type=merge', '-p', egress]);
  const found = all.map(async (ns) => [ns, [await pod(ns, 'app=p1'), await pod(ns, 'app=p2')]] as const);
  return new Map(await Promise.all(found));
}
