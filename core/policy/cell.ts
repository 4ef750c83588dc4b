import { type PortSet, PROTOCOLS, type ProfileRule, type ProfileSide, type Protocol } from '../../api/nodeconfig.ts';
import { admits } from '../routers/ports.ts';
import { ALL_PORTS } from './model.ts';
import { type Step, walk } from './walk.ts';

/** What happens to a connection, and which rule says so. */
export type Outcome = { readonly verdict: 'Accept' | 'Deny' } & Pick<Step, 'tier' | 'policy' | 'rule'>;

/**
 * One side of a profile, seen from addresses that are in the same groups: every port has one outcome, all tiers taken together.
 * That is what the kernel looks up, with the class of the address, instead of asking rule by rule.
 */
export type Cell = {
  /** Where a protocol differs from `other`. */
  readonly protocols: ReadonlyMap<Protocol, Outcome>;
  /** Ports that differ from the rest of their protocol: disjoint, in order. */
  readonly ports: readonly {
    readonly protocol: Protocol;
    readonly first: number;
    readonly last: number;
    readonly outcome: Outcome;
  }[];
  /** ICMP, and every protocol without an entry. */
  readonly other: Outcome;
};

/**
 * @param groups all groups that the address at the other end is in
 * @param ownNode the other end is the pod's own node
 */
export function compileCell(
  side: ProfileSide,
  groups: ReadonlySet<string>,
  options: { readonly ownNode?: boolean } = {},
): Cell {
  const rules = side.rules.flatMap((rule): (ProfileRule & { readonly sets: readonly PortSet[] })[] => {
    const sets = rule.matches.flatMap((m) => (meets(m.peers, groups) ? [m.ports] : []));
    return sets.length > 0 ? [{ ...rule, sets }] : [];
  });
  const narrowed = { isolatedBy: side.isolatedBy, rules };
  const at = (protocol: Protocol | 'ICMP', port: number): Outcome => {
    const { verdict, steps } = walk(narrowed, ({ sets }) => sets.some((s) => admits(s, protocol, port)), options);
    const { tier, policy, rule } = steps.at(-1) as Step;
    return { verdict, tier, policy, rule };
  };
  const other = at('ICMP', 0);
  const protocols = new Map<Protocol, Outcome>();
  const ports: Cell['ports'][number][] = [];
  for (const protocol of PROTOCOLS) {
    const pieces = piecesOf(rules, protocol).map(([first, last]) => ({
      protocol,
      first,
      last,
      outcome: at(protocol, first),
    }));
    const usual = widest(pieces);
    if (!sameOutcome(usual, other)) protocols.set(protocol, usual);
    ports.push(...joined(pieces.filter((p) => !sameOutcome(p.outcome, usual))));
  }
  return { protocols, ports, other };
}

/** What a cell says of a port: as the kernel's lookups would find it. */
export function lookUp(cell: Cell, protocol: Protocol | 'ICMP', port: number): Outcome {
  if (protocol === 'ICMP') return cell.other;
  const special = cell.ports.find((p) => p.protocol === protocol && p.first <= port && port <= p.last);
  return special?.outcome ?? cell.protocols.get(protocol) ?? cell.other;
}

export const sameOutcome = (a: Outcome, b: Outcome): boolean =>
  a.verdict === b.verdict && a.tier === b.tier && a.policy === b.policy && a.rule === b.rule;

export const meets = (peers: 'any' | readonly string[], groups: ReadonlySet<string>): boolean =>
  peers === 'any' || peers.some((p) => groups.has(p));

/** The port numbers, cut wherever any rule begins or ends: within a piece no rule sees a difference. */
function piecesOf(rules: readonly { readonly sets: readonly PortSet[] }[], protocol: Protocol): [number, number][] {
  const starts = new Set<number>([ALL_PORTS.first]);
  for (const { sets } of rules)
    for (const set of sets)
      for (const range of set === 'any' ? [] : set)
        if (range.protocol === protocol) starts.add(range.first).add(range.last + 1);
  const sorted = [...starts].filter((s) => s <= ALL_PORTS.last).sort((a, b) => a - b);
  return sorted.map((first, i) => [first, (sorted[i + 1] ?? ALL_PORTS.last + 1) - 1]);
}

function widest(
  pieces: readonly { readonly first: number; readonly last: number; readonly outcome: Outcome }[],
): Outcome {
  const sizes = new Map<string, { outcome: Outcome; size: number }>();
  for (const { first, last, outcome } of pieces) {
    const key = JSON.stringify(outcome);
    const size = (sizes.get(key)?.size ?? 0) + last - first + 1;
    sizes.set(key, { outcome, size });
  }
  return [...sizes.values()].reduce((a, b) => (b.size > a.size ? b : a)).outcome;
}

/** Neighbours with one outcome as one entry. */
function joined(pieces: readonly Cell['ports'][number][]): Cell['ports'][number][] {
  const all: Cell['ports'][number][] = [];
  for (const piece of pieces) {
    const last = all.at(-1);
    if (
      last &&
      last.last + 1 === piece.first &&
      last.protocol === piece.protocol &&
      sameOutcome(last.outcome, piece.outcome)
    )
      all.splice(-1, 1, { ...last, last: piece.last });
    else all.push(piece);
  }
  return all;
}
