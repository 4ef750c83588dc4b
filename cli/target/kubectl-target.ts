import { SYSTEM_NAMESPACE } from '../../api/names.ts';
import type { Outcome } from '../../lib/connect/connect.ts';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import { core, type KubeList, pathOf, type Resource } from '../../lib/kube/client.ts';
import type { LinkAddress } from '../../core/nodes/links.ts';
import { linesOf } from './lines.ts';
import type { ClusterTarget, PodAttempt } from './target.ts';

/** kubectl, or the cluster behind it, said no. */
export class KubectlError extends Error {
  override readonly name = 'KubectlError';
  readonly code: 'NotFound' | 'Forbidden' | 'Failed';
  constructor(code: KubectlError['code'], message: string, cause: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

export type KubectlFlags = { readonly kubeconfig?: string; readonly context?: string };

/**
 * Whatever cluster kubectl leads to, in every way in which it can authenticate. Connections are tried by the agents, from
 * inside the pods of their node: the caller needs the right to exec in Bulkhead's namespace for that, and for nothing else.
 */
export function kubectlTarget(
  flags: KubectlFlags,
  { identify = false }: { readonly identify?: boolean } = {},
): ClusterTarget {
  const kubectl = kubectlRunner(flags);
  const list = async (resource: Resource): Promise<KubeList> =>
    JSON.parse(await kubectl(['get', '--raw', pathOf(resource)])) as KubeList;
  return {
    name: flags.context ?? 'the current context of kubectl',
    list,
    kubectl,
    connect: (attempts, onProgress) => connectByAgents(attempts, { list, kubectl, onProgress }),
    nodeAddresses: () => addressesByAgents({ list, kubectl }),
    agentLogs: ({ follow }) =>
      linesOf([
        ...kubectlArgs(flags),
        ...['logs', '-n', SYSTEM_NAMESPACE, '-l', 'app.kubernetes.io/name=bulkhead-agent', '-c', 'agent', '--tail=-1'],
        ...['--max-log-requests=1000', ...(follow ? ['--follow'] : [])],
      ]),
    outside: [],
    identify,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

const kubectlArgs = (flags: KubectlFlags): [string, ...string[]] => [
  'kubectl',
  ...(flags.kubeconfig === undefined ? [] : ['--kubeconfig', flags.kubeconfig]),
  ...(flags.context === undefined ? [] : ['--context', flags.context]),
];

/** Runs kubectl as the flags say. Throws {@link KubectlError} with kubectl's own words. */
export function kubectlRunner(flags: KubectlFlags): (args: readonly string[], input?: string) => Promise<string> {
  const base = kubectlArgs(flags);
  return async (args, input) => {
    try {
      return (await exec([...base, ...args], { timeoutMs: 120_000, ...(input === undefined ? {} : { input }) })).stdout;
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
      const said = error.result.stderr.trim().replace(/^Error from server \((\w+)\): /, '');
      if (error.code === 'NotFound') throw new KubectlError('Failed', 'kubectl is needed to reach a cluster', error);
      const missing = /\(NotFound\)|could not find the requested resource/.test(error.result.stderr);
      const forbidden = /\(Forbidden\)/.test(error.result.stderr);
      throw new KubectlError(missing ? 'NotFound' : forbidden ? 'Forbidden' : 'Failed', said || error.message, error);
    }
  };
}

async function connectByAgents(
  attempts: readonly PodAttempt[],
  {
    list,
    kubectl,
    onProgress,
  }: {
    readonly list: (r: Resource) => Promise<KubeList>;
    readonly kubectl: (args: readonly string[], input?: string) => Promise<string>;
    readonly onProgress: (done: number) => void;
  },
): Promise<(Outcome | undefined)[]> {
  const agents = await agentsOf(list);
  const outcomes = attempts.map((): Outcome | undefined => undefined);
  let done = 0;
  const nodes = [...new Set(attempts.map((a) => a.pod.node))];
  await Promise.all(
    nodes.map(async (node) => {
      const agent = agents.get(node);
      if (agent === undefined) return;
      const mine = [...attempts.entries()].filter(([, a]) => a.pod.node === node);
      const answer = await kubectl(
        ['exec', '-i', '-n', SYSTEM_NAMESPACE, agent, '-c', 'agent', '--', 'bulkhead', 'node-probe'],
        JSON.stringify(mine.map(([, a]) => a)),
      );
      const got = JSON.parse(answer) as (Outcome | null)[];
      for (const [i, [index]] of mine.entries()) outcomes[index] = got[i] ?? undefined;
      done += mine.length;
      onProgress(done);
    }),
  );
  return outcomes;
}

/** The agent of each node, by the node's name. */
async function agentsOf(list: (r: Resource) => Promise<KubeList>): Promise<Map<string, string>> {
  const agents = new Map<string, string>();
  for (const pod of (await list(core('pods'))).items) {
    if (pod.metadata.labels?.['app.kubernetes.io/name'] !== 'bulkhead-agent') continue;
    const node = (pod['spec'] as { nodeName?: string } | undefined)?.nodeName;
    if (node !== undefined && pod.metadata.deletionTimestamp === undefined) agents.set(node, pod.metadata.name);
  }
  return agents;
}

/** So many agents are asked at a time. */
const AT_ONCE = 16;

/** Each agent is asked for the addresses of its node. */
async function addressesByAgents({
  list,
  kubectl,
}: {
  readonly list: (r: Resource) => Promise<KubeList>;
  readonly kubectl: (args: readonly string[]) => Promise<string>;
}): Promise<Map<string, LinkAddress[]>> {
  const waiting = [...(await agentsOf(list))];
  const found = new Map<string, LinkAddress[]>();
  const next = async (): Promise<void> => {
    for (let one = waiting.pop(); one; one = waiting.pop()) {
      const [node, agent] = one;
      const args = ['exec', '-n', SYSTEM_NAMESPACE, agent, '-c', 'agent', '--', 'bulkhead', 'node-addresses'];
      found.set(node, JSON.parse(await kubectl(args)) as LinkAddress[]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  return found;
}
