import {
  POLICY_TIERS,
  type PortSet,
  PROTOCOLS,
  type ProfileRule,
  type ProfileSide,
  type Protocol,
} from '../../api/nodeconfig.ts';
import { ALL_PORTS } from '../cluster/policy.ts';
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
  const rules = narrowed(side.rules, groups);
  const outcomeOf = outcomes(rules, side.isolatedBy, options);
  const other = outcomeOf(firstOfTiers(rules.filter((r) => r.ports === 'any')));
  const protocols = new Map<Protocol, Outcome>();
  const ports: Cell['ports'][number][] = [];
  for (const protocol of PROTOCOLS) {
    const pieces = piecesOf(rules, protocol).map(({ first, last, hits }) => ({
      protocol,
      first,
      last,
      outcome: outcomeOf(hits),
    }));
    const usual = widest(pieces);
    if (!sameOutcome(usual, other)) protocols.set(protocol, usual);
    ports.push(...joined(pieces.filter((p) => !sameOutcome(p.outcome, usual))));
  }
  return { protocols, ports, other };
}

/**
 * The rules that have a say on any port, seen from addresses that are in the same groups: those that settle it, and those that pass
 * it on.
 */
export function speakingRules(
  side: ProfileSide,
  groups: ReadonlySet<string>,
  options: { readonly ownNode?: boolean } = {},
): Step[] {
  const rules = narrowed(side.rules, groups);
  const pieces = [
    firstOfTiers(rules.filter((r) => r.ports === 'any')),
    ...PROTOCOLS.flatMap((protocol) => piecesOf(rules, protocol).map((p) => p.hits)),
  ];
  return pieces.flatMap(
    (hits) => walk({ isolatedBy: side.isolatedBy, rules: hits }, () => true, options).steps as Step[],
  );
}

/** The rules that match any address of these groups, with the ports on which they do. */
function narrowed(rules: readonly ProfileRule[], groups: ReadonlySet<string>): NarrowedRule[] {
  return rules.flatMap((rule): NarrowedRule[] => {
    const sets = rule.matches.flatMap((m) => (meets(m.peers, groups) ? [m.ports] : []));
    const ports = sets.flatMap((s) => (s === 'any' ? [] : s));
    return sets.length > 0 ? [{ ...rule, ports: sets.includes('any') ? 'any' : ports }] : [];
  });
}

/**
 * What comes of the rules that match a port. Only the first of each tier has a say, and `walk` alone says what it is; equal outcomes
 * are one object, made once.
 */
function outcomes(
  rules: readonly NarrowedRule[],
  isolatedBy: readonly string[],
  options: { readonly ownNode?: boolean },
): (hits: readonly NarrowedRule[]) => Outcome {
  const numbers = new Map(rules.map((rule, i) => [rule, i]));
  const byHits = new Map<string, Outcome>();
  const distinct = new Map<string, Outcome>();
  return (hits) => {
    const key = hits.map((r) => numbers.get(r)).join();
    const known = byHits.get(key);
    if (known) return known;
    const { verdict, steps } = walk({ isolatedBy, rules: hits }, () => true, options);
    const { tier, policy, rule } = steps.at(-1) as Step;
    const text = JSON.stringify([verdict, tier, policy, rule]);
    const outcome = distinct.get(text) ?? { verdict, tier, policy, rule };
    distinct.set(text, outcome);
    byHits.set(key, outcome);
    return outcome;
  };
}

const firstOfTiers = (rules: readonly NarrowedRule[]): NarrowedRule[] =>
  POLICY_TIERS.flatMap((tier) => rules.find((r) => r.tier === tier) ?? []);

type NarrowedRule = ProfileRule & { readonly ports: PortSet };

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

type Piece = { readonly first: number; readonly last: number; readonly hits: NarrowedRule[] };

/**
 * The port numbers, cut wherever any rule begins or ends, so that within a piece no rule sees a difference; each with the first rule
 * of each tier that matches it, in order. Every rule paints the pieces that no earlier one of its tier has painted, and skips painted
 * ones in one step: with many rules and many ports the cost is that of sorting the ports.
 */
function piecesOf(rules: readonly NarrowedRule[], protocol: Protocol): Piece[] {
  const starts = new Set<number>([ALL_PORTS.first]);
  for (const { ports } of rules)
    for (const range of ports === 'any' ? [] : ports)
      if (range.protocol === protocol) starts.add(range.first).add(range.last + 1);
  const sorted = [...starts].filter((s) => s <= ALL_PORTS.last).sort((a, b) => a - b);
  const pieces = sorted.map(
    (first, i): Piece => ({ first, last: (sorted[i + 1] ?? ALL_PORTS.last + 1) - 1, hits: [] }),
  );
  const placeOf = new Map(sorted.map((first, i) => [first, i]));
  for (const tier of POLICY_TIERS) {
    const free = new FreePlaces(pieces.length);
    const paint = (rule: NarrowedRule, from: number, to: number): void => {
      for (let at = free.from(from); at < to; at = free.from(at)) {
        pieces[at]?.hits.push(rule);
        free.take(at);
      }
    };
    for (const rule of rules) {
      if (rule.tier !== tier) continue;
      if (rule.ports === 'any') {
        paint(rule, 0, pieces.length);
        break; // nothing is left for later rules
      }
      for (const range of rule.ports)
        if (range.protocol === protocol)
          paint(rule, placeOf.get(range.first) ?? 0, placeOf.get(range.last + 1) ?? pieces.length);
    }
  }
  return pieces;
}

/** Places 0 to n-1, which are taken one by one: the next free one is found without a walk over those that are taken. */
class FreePlaces {
  readonly #next: Int32Array;

  constructor(count: number) {
    this.#next = Int32Array.from({ length: count + 1 }, (_, i) => i);
  }

  /** The first free place at or behind this one. */
  from(place: number): number {
    const next = this.#next;
    let root = place;
    while (next[root] !== root) root = next[root] as number;
    for (let at = place; at !== root; ) {
      const after = next[at] as number;
      next[at] = root;
      at = after;
    }
    return root;
  }

  take(place: number): void {
    this.#next[place] = place + 1;
  }
}

function widest(
  pieces: readonly { readonly first: number; readonly last: number; readonly outcome: Outcome }[],
): Outcome {
  const sizes = new Map<Outcome, number>();
  for (const { first, last, outcome } of pieces) sizes.set(outcome, (sizes.get(outcome) ?? 0) + last - first + 1);
  return [...sizes].reduce((a, b) => (b[1] > a[1] ? b : a))[0];
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
      all[all.length - 1] = { ...last, last: piece.last };
    else all.push(piece);
  }
  return all;
}
