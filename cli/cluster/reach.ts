import { viewOf } from '../../core/view/view.ts';
import { expectedReach, type ExpectedProbe, probeKey } from '../../core/decide/reach.ts';
import type { Outcome } from '../../lib/connect/connect.ts';
import { KUBELET_PORT } from '../../lib/kube/kubelet-port.ts';
import { loadState } from './state.ts';
import type { ClusterTarget, PodAttempt } from '../target/target.ts';

/** One measured question. */
export type ReachProbe = {
  readonly from: { readonly namespace: string; readonly pod: string; readonly node: string };
  readonly to: {
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
    readonly address: string;
    readonly port: number;
    readonly protocol: string;
  };
  readonly verdict: Outcome['verdict'];
  readonly expected: Outcome['verdict'];
  readonly why: string;
  readonly ms: number;
  /** Whether it is as expected, and the right one answered. */
  readonly match: boolean;
};

/** Connects every pod to everything, and compares the answers with what the objects say. */
export async function measureReach(
  target: ClusterTarget,
  progress: (text: string) => void,
  select: (p: ExpectedProbe) => boolean = () => true,
): Promise<ReachProbe[]> {
  const asked = async (): Promise<ExpectedProbe[]> =>
    expectedReach(viewOf(await loadState(target, { nodeAddresses: true })), {
      nodePort: KUBELET_PORT,
      outside: target.outside,
    }).filter(select);
  const first = await asked();
  const probes = await run(target, first, 1_000, (done) => progress(`probing: ${done} of ${first.length}`));
  // A busy machine can lose a connection or be slow, and a pod can become unready meanwhile: what differs is asked again, with
  // patience, and held against the cluster as it is by then.
  for (let round = 1; round <= ROUNDS; round++) {
    const differ = new Map(first.flatMap((e, i): [string, number][] => (probes[i]?.match ? [] : [[probeKey(e), i]])));
    if (differ.size === 0) break;
    progress(`asking ${differ.size} again`);
    const again = (await asked()).filter((e) => differ.has(probeKey(e)));
    const answers = await run(target, again, 3_000, () => undefined);
    for (const [k, e] of again.entries()) {
      const answer = answers[k];
      if (answer) probes[differ.get(probeKey(e)) ?? -1] = answer;
    }
  }
  progress('');
  return probes;
}

const ROUNDS = 3;

async function run(
  target: ClusterTarget,
  expected: readonly ExpectedProbe[],
  timeoutMs: number,
  progress: (done: number) => void,
): Promise<ReachProbe[]> {
  const attempts = expected.map(
    (e): PodAttempt => ({
      pod: { uid: e.from.uid, node: e.from.node },
      address: e.to.address,
      port: e.to.port,
      protocol: e.to.protocol,
      timeoutMs,
      identify: target.identify && e.answers.length > 0 && e.to.protocol === 'TCP' && e.to.port !== 53,
    }),
  );
  const outcomes = attempts.length > 0 ? await target.connect(attempts, progress) : [];
  return expected.map((e, i) => {
    const outcome: Outcome = outcomes[i] ?? {
      verdict: 'closed',
      ms: 0,
      by: undefined,
      error: 'the pod has no network that an agent knows of',
    };
    const stranger =
      outcome.verdict === 'open' && outcome.by !== undefined && e.answers.length > 0 && !e.answers.includes(outcome.by);
    return {
      from: { namespace: e.from.namespace, pod: e.from.name, node: e.from.node },
      to: {
        kind: e.to.kind,
        namespace: e.to.namespace,
        name: e.to.name,
        address: e.to.address,
        port: e.to.port,
        protocol: e.to.protocol,
      },
      verdict: outcome.verdict,
      expected: e.expected,
      why: stranger ? `${outcome.by} answered, but ${e.answers.join(' or ')} should` : e.why,
      ms: Math.round(outcome.ms * 100) / 100,
      match: outcome.verdict === e.expected && !stranger,
    };
  });
}

/** Sums probes up: a row per source namespace, a column per kind of target. */
export function reachTable(
  probes: readonly ReachProbe[],
  paint: (style: 'green' | 'red' | 'yellow' | 'dim', text: string) => string,
): string[][] {
  const columnOf = (p: ReachProbe): string =>
    p.to.kind === 'Pod'
      ? `pods ${p.to.namespace}`
      : p.to.kind === 'Service'
        ? `svc ${p.to.namespace}`
        : p.to.kind === 'External'
          ? 'internet'
          : p.to.kind === 'Node'
            ? 'nodes'
            : 'API';
  const rows = [...new Set(probes.map((p) => p.from.namespace))].sort();
  const rank = (c: string): string =>
    `${['pods', 'svc', 'nodes', 'API', 'internet'].findIndex((k) => c.startsWith(k))}${c}`;
  const columns = [...new Set(probes.map(columnOf))].sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
  const cell = (row: string, column: string): string => {
    const mine = probes.filter((p) => p.from.namespace === row && columnOf(p) === column);
    if (mine.length === 0) return paint('dim', '–');
    const count = (v: string): number => mine.filter((p) => p.verdict === v).length;
    const parts = (['open', 'rejected', 'closed'] as const)
      .filter((v) => count(v) > 0)
      .map((v) => paint(v === 'open' ? 'green' : 'yellow', `${v} ${count(v)}`));
    const wrong = mine.filter((p) => !p.match).length;
    return `${parts.join(', ')}${wrong > 0 ? paint('red', ` (${wrong} WRONG)`) : ''}`;
  };
  return [['from \\ to', ...columns], ...rows.map((r) => [r, ...columns.map((c) => cell(r, c))])];
}

export const describe = (p: ReachProbe): string =>
  `${p.from.namespace}/${p.from.pod} (${p.from.node}) → ${p.to.kind} ${p.to.namespace === '' ? '' : `${p.to.namespace}/`}${p.to.name} ${p.to.address}${p.to.port === 0 ? '' : ` port ${p.to.port}`} ${p.to.protocol}: measured ${p.verdict}, expected ${p.expected}: ${p.why}`;
