import { familyOf } from '../../lib/ip/address.ts';
import { keyOf, type Pod } from '../../core/cluster/state.ts';
import { ipsOf } from '../../core/decide/by-networks.ts';
import { decideFrom, type Source } from '../../core/decide/decide.ts';
import { PodPairs } from '../../core/decide/pod-pairs.ts';
import type { Decision, Target } from '../../core/decide/decision.ts';
import { type AskOptions, outsideAddresses } from '../../core/decide/ends.ts';
import type { View } from '../../core/view/view.ts';

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

type AskedPort = Pick<Target, 'port' | 'protocol'>;
type Row = { readonly name: string; readonly namespace: string; readonly sources: ReadonlyMap<4 | 6, Source> };
type Column = {
  readonly name: string;
  readonly namespace: string;
  readonly pod?: Pod;
  readonly addresses: ReadonlyMap<4 | 6, string>;
  readonly ports: readonly AskedPort[];
};

/**
 * Every pod, each node and the outside, to every declared port of every pod, to each node and to the outside. Pods are asked about
 * themselves, too. Pairs come sender by sender, so that a large cluster's need not all be there at once.
 */
export function* matrix(view: View, options: MatrixOptions): Generator<Pair[]> {
  const { rows, columns, asker } = endsOf(view, options);
  for (const from of rows)
    yield columns
      .filter((to) => isAsked(from, to, options.namespace))
      .flatMap((to) =>
        to.ports.flatMap((port): Pair[] => {
          const told = asker.ask(from, to, port);
          if (!told) return [];
          const families = told.families ? { families: told.families } : {};
          const why = asker.why(told, from, to, port);
          return [{ from: from.name, to: to.name, ...port, verdict: verdictOf(told), ...families, why }];
        }),
      );
}

function endsOf(view: View, options: MatrixOptions) {
  const pods = [...view.state.pods.values()]
    .filter((p) => !p.finished && p.ips.length > 0)
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return {
    rows: [...pods.map((p) => podRow(view, p)), ...nodeRows(view), outsideRow(options)],
    columns: [...pods.map((p) => podColumn(view, p)), ...nodeColumns(view), outsideColumn(options)],
    asker: new Asker(view, options.families),
  };
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

/** A verdict; equal ones of pods are one object. */
type Told = {
  readonly open: boolean;
  /** Verdicts by family, where they differ. */
  readonly families?: Readonly<Record<string, 'Accept' | 'Deny'>>;
  /** What says so; of two pods that may connect it is worked out when it is asked for. */
  readonly decision?: Decision;
};
const OPEN: Told = { open: true };

/** Asks about pairs of ends, in every family that both have. */
class Asker {
  readonly #view: View;
  readonly #families: readonly (4 | 6)[];
  readonly #pairs: PodPairs;
  readonly #told = new WeakMap<Decision, Told>();
  readonly #whys = new WeakMap<Decision, string>();

  constructor(view: View, families: readonly (4 | 6)[]) {
    this.#view = view;
    this.#families = families;
    this.#pairs = new PodPairs(view);
  }

  ask(from: Row, to: Column, port: AskedPort): Told | undefined {
    let told: Told | undefined;
    for (const family of this.#families) {
      const [source, address] = [from.sources.get(family), to.addresses.get(family)];
      if (!source || address === undefined) continue;
      const other = this.#askOne(source, to, address, port);
      if (!told) told = other;
      else if (told.open !== other.open) {
        const verdicts = [told, other].map((t, i) => [`IPv${this.#families[i]}`, verdictOf(t)] as const);
        return { ...(told.open ? other : told), families: Object.fromEntries(verdicts) };
      }
      if (source.kind === 'Pod' && to.pod && this.#pairs.sameInEveryFamily(source.pod, to.pod)) break;
    }
    return told;
  }

  why({ decision }: Told, from: Row, to: Column, port: AskedPort): string {
    const family = this.#families.find((f) => from.sources.has(f) && to.addresses.has(f)) ?? 4;
    const source = from.sources.get(family);
    const pair = !decision && source?.kind === 'Pod' && to.pod ? { from: source.pod, to: to.pod } : undefined;
    const address = to.addresses.get(family) ?? '';
    const said = decision ?? (pair && this.#pairs.opened(pair.from, { pod: pair.to, address }, port));
    if (!said) return '';
    const why = this.#whys.get(said) ?? reasonOf(said);
    if (decision) this.#whys.set(said, why);
    return why;
  }

  #askOne(source: Source, to: Column, address: string, port: AskedPort): Told {
    const said =
      source.kind === 'Pod' && to.pod ? this.#pairs.ask(source.pod, { pod: to.pod, address }, port) : undefined;
    if (said === 'open') return OPEN;
    const decision = said ?? decideFrom(this.#view, source, { address, ...port });
    const known = this.#told.get(decision) ?? { open: decision.verdict === 'open', decision };
    if (said) this.#told.set(decision, known);
    return known;
  }
}

const verdictOf = ({ open }: Told): 'Accept' | 'Deny' => (open ? 'Accept' : 'Deny');

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
export function matrixTable(view: View, options: MatrixOptions): string[][] {
  const { rows, columns, asker } = endsOf(view, options);
  const lines = columns.flatMap((to) => to.ports.flatMap((port) => lineOf(to, port, { rows, asker, options })));
  return [['TO', 'ACCEPTED', 'DENIED', 'DENIED BY', 'FROM'], ...lines];
}

function lineOf(
  to: Column,
  port: AskedPort,
  { rows, asker, options }: { readonly rows: readonly Row[]; readonly asker: Asker; readonly options: MatrixOptions },
): string[][] {
  const accepted: string[] = [];
  const split: string[] = [];
  const reasons = new Map<string, number>();
  let denied = 0;
  for (const from of rows) {
    const told = isAsked(from, to, options.namespace) ? asker.ask(from, to, port) : undefined;
    if (!told) continue;
    if (told.open) accepted.push(from.name);
    else {
      denied++;
      const why = asker.why(told, from, to, port);
      reasons.set(why, (reasons.get(why) ?? 0) + 1);
      if (told.families) split.push(from.name);
    }
  }
  if (accepted.length + denied === 0) return [];
  const families = split.length > 0 ? [`in one family only: ${some(split, ' ', 'more')}`] : [];
  const by = [...reasons].sort((a, b) => b[1] - a[1]).map(([why, count]) => `${why} (${count})`);
  return [
    [
      `${to.name}${port.port === 0 ? ', ICMP' : `:${port.port}/${port.protocol}`}`,
      String(accepted.length),
      String(denied),
      [...(by.length > 0 ? [some(by, '; ', 'more reasons')] : []), ...families].join('; ') || '–',
      denied === 0 ? 'every sender' : accepted.join(' ') || '–',
    ],
  ];
}

/** The first few, and how many more there are. */
function some(all: readonly string[], between: string, more: string): string {
  const rest = all.length - MOST_TOLD;
  return [...all.slice(0, MOST_TOLD), ...(rest > 0 ? [`${rest} ${more}`] : [])].join(between);
}

const MOST_TOLD = 3;
