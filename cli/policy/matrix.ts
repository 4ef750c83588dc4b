import { familyOf } from '../../lib/ip/address.ts';
import type { Policy } from '../../core/cluster/policy.ts';
import { keyOf, type Pod } from '../../core/cluster/state.ts';
import { ipsOf } from '../../core/decide/by-networks.ts';
import { decideFrom, type Source } from '../../core/decide/decide.ts';
import type { Decision, Target } from '../../core/decide/decision.ts';
import { type AskOptions, outsideAddresses } from '../../core/decide/ends.ts';
import { policiesOf } from '../../core/view/policies.ts';
import { networkOf, type View } from '../../core/view/view.ts';

/** One cell of the matrix. */
export type Pair = {
  readonly from: string;
  readonly to: string;
  /** 0: ICMP, which is asked about where a pod declares no port. */
  readonly port: number;
  readonly protocol: Target['protocol'];
  /** Accept when every family is accepted. */
  readonly verdict: 'Accept' | 'Deny';
  /** Only where they differ. */
  readonly families?: Readonly<Record<string, 'Accept' | 'Deny'>>;
  /** What decides: the rules that accept on each side, or what denies. */
  readonly why: string;
};

export type MatrixOptions = {
  readonly families: readonly (4 | 6)[];
  readonly outside: NonNullable<AskOptions['outside']>;
  /** Only pairs with a pod of this namespace on one side. */
  readonly namespace?: string;
};

type Row = { readonly name: string; readonly namespace: string; readonly sources: ReadonlyMap<4 | 6, Source> };
type Column = {
  readonly name: string;
  readonly namespace: string;
  readonly pod?: Pod;
  readonly addresses: ReadonlyMap<4 | 6, string>;
  readonly ports: readonly Pick<Target, 'port' | 'protocol'>[];
};

/**
 * Every pod, each node and the outside, to every declared port of every pod, to each node and to the outside. Pods are asked about
 * themselves, too.
 */
export function matrix(view: View, options: MatrixOptions): Pair[] {
  const pods = [...view.state.pods.values()]
    .filter((p) => !p.finished && p.ips.length > 0)
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const rows = [...pods.map((p) => podRow(view, p)), ...nodeRows(view), outsideRow(options)];
  const columns = [...pods.map((p) => podColumn(view, p)), ...nodeColumns(view), outsideColumn(options)];
  const ask = asker(view, options.families);
  return rows.flatMap((from) =>
    columns
      .filter((to) => isAsked(from, to, options.namespace))
      .flatMap((to) => to.ports.flatMap((port) => ask(from, to, port) ?? [])),
  );
}

/** Between two ends that are no pods nothing is asked. */
function isAsked(from: Row, to: Column, namespace: string | undefined): boolean {
  if (from.namespace === '' && to.namespace === '') return false;
  return namespace === undefined || from.namespace === namespace || to.namespace === namespace;
}

/** KUBELET: what nodes answer on in every cluster. */
const ON_NODES = [{ port: 10_250, protocol: 'TCP' }] as const;
const OUTSIDE = [{ port: 443, protocol: 'TCP' }] as const;
const REST = { port: 0, protocol: 'ICMP' } as const;

const byFamily = <T>(ips: readonly string[], value: (ip: string) => T): Map<4 | 6, T> =>
  new Map(ips.toReversed().map((ip) => [familyOf(ip), value(ip)]));

const podRow = (view: View, pod: Pod): Row => ({
  name: keyOf(pod),
  namespace: pod.namespace,
  sources: byFamily(ipsOf(view, pod), () => ({ kind: 'Pod', pod })),
});

function podColumn(view: View, pod: Pod): Column {
  const declared = new Map(pod.ports.map((p) => [`${p.port}/${p.protocol}`, p]));
  return {
    name: keyOf(pod),
    namespace: pod.namespace,
    pod,
    addresses: byFamily(ipsOf(view, pod), (ip) => ip),
    ports: declared.size > 0 ? [...declared.values()].map(({ port, protocol }) => ({ port, protocol })) : [REST],
  };
}

const nodeRows = ({ state }: View): Row[] =>
  [...state.nodes.values()].map(({ name, addresses }) => ({
    name: `node/${name}`,
    namespace: '',
    sources: byFamily(addresses, () => ({ kind: 'Node', node: name, ips: addresses })),
  }));

const nodeColumns = ({ state }: View): Column[] =>
  [...state.nodes.values()].map(({ name, addresses }) => ({
    name: `node/${name}`,
    namespace: '',
    addresses: byFamily(addresses, (ip) => ip),
    ports: ON_NODES,
  }));

const outsideRow = (options: AskOptions): Row => ({
  name: 'internet',
  namespace: '',
  sources: byFamily(outsideAddresses(options), (ip) => ({ kind: 'Outside', ip })),
});

const outsideColumn = (options: MatrixOptions): Column => ({
  name: 'internet',
  namespace: '',
  addresses: byFamily(outsideAddresses(options), (ip) => ip),
  ports: options.outside[0] ? [options.outside[0]] : OUTSIDE,
});

type Ask = (from: Row, to: Column, port: Pick<Target, 'port' | 'protocol'>) => Pair | undefined;

function asker(view: View, families: readonly (4 | 6)[]): Ask {
  const whys = new Map<string, string>();
  const same = sameInEveryFamily(view);
  return (from, to, { port, protocol }) => {
    const verdicts: Record<string, 'Accept' | 'Deny'> = {};
    let told: Decision | undefined;
    for (const family of families) {
      const [source, address] = [from.sources.get(family), to.addresses.get(family)];
      if (!source || address === undefined) continue;
      const decision = decideFrom(view, source, { address, port, protocol });
      verdicts[`IPv${family}`] = decision.verdict === 'open' ? 'Accept' : 'Deny';
      if (!told || (told.verdict === 'open' && decision.verdict !== 'open')) told = decision;
      if (same(source, to.pod)) break;
    }
    if (!told) return undefined;
    const why = reasonOf(told);
    const kept = whys.get(why) ?? why;
    whys.set(kept, kept);
    return {
      from: from.name,
      to: to.name,
      port,
      protocol,
      verdict: told.verdict === 'open' ? 'Accept' : 'Deny',
      ...(new Set(Object.values(verdicts)).size > 1 ? { families: verdicts } : {}),
      why: kept,
    };
  };
}

/** Whether one family answers for both: pods of one network, and no policy of either speaks of addresses. */
function sameInEveryFamily(view: View): (from: Source, to: Pod | undefined) => boolean {
  const { index } = policiesOf(view);
  const known = new Map<Pod, boolean>();
  const speaksOfAddresses = (p: Policy): boolean =>
    [...(p.ingress ?? []), ...(p.egress ?? [])].some(
      (r) => r.peers !== 'any' && r.peers.some((peer) => peer.kind === 'networks'),
    );
  const byAddress = (pod: Pod): boolean => {
    const found = known.get(pod) ?? index.selecting(pod).some(speaksOfAddresses);
    known.set(pod, found);
    return found;
  };
  return (from, to) => {
    if (from.kind !== 'Pod' || !to || from.pod.hostNetwork || to.hostNetwork) return false;
    return networkOf(view, from.pod) === networkOf(view, to) && !byAddress(from.pod) && !byAddress(to);
  };
}

/** The rules that decide on each side; where none does, what networks say. */
function reasonOf({ verdict, why, policies }: Decision): string {
  if (verdict !== 'open') return why;
  const accepted = policies.find((p) => p.verdict === 'Accept');
  const rules = [accepted?.egress, accepted?.ingress].flatMap((side) => {
    const step = side?.steps.findLast((s) => s.decides);
    return step && step.rule !== '' ? `${step.policy}, rule ${step.rule}` : [];
  });
  return rules.length > 0 ? rules.join('; ') : why;
}

/** Who reaches a port, and who does not, with the reasons: a line for each port of each pod, each node and the outside. */
export function matrixTable(pairs: readonly Pair[]): string[][] {
  const rows = Map.groupBy(pairs, (p) => `${p.to}${p.port === 0 ? ', ICMP' : `:${p.port}/${p.protocol}`}`);
  return [
    ['TO', 'ACCEPTED', 'DENIED', 'FROM', 'DENIED BY'],
    ...[...rows].map(([to, all]) => {
      const accepted = all.filter((p) => p.verdict === 'Accept');
      const denied = all.filter((p) => p.verdict === 'Deny');
      const from = denied.length === 0 ? 'everybody' : accepted.map((p) => p.from).join(' ');
      const split = new Set(denied.filter((p) => p.families).map((p) => p.from));
      const why = [...Map.groupBy(denied, (p) => p.why)].map(([text, some]) => `${text} (${some.length})`);
      const families = split.size > 0 ? [`in one family only: ${[...split].join(' ')}`] : [];
      return [to, String(accepted.length), String(denied.length), from || '–', [...why, ...families].join('; ') || '–'];
    }),
  ];
}
