import type { GroupItem } from '../../api/nodeconfig.ts';
import { type Family, formatIp, mustIp } from '../../lib/ip/address.ts';
import { covers, lastOf, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';

/** Addresses that are in the same groups. */
export type Piece = {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
  readonly groups: ReadonlySet<string>;
};

/** "10.0.0.0-10.0.0.255": the key of a piece in a set of intervals. */
export const rangeOf = ({ family, first, last }: Piece): string => {
  const text = formatIp({ family, value: first });
  return first === last ? text : `${text}-${formatIp({ family, value: last })}`;
};

/**
 * The prefixes of all groups, cut into ranges so that each lies in the same groups as a whole. Ranges and not prefixes: what is left of one
 * prefix around another is two of those, and may be a hundred of these.
 */
export class PrefixClasses {
  readonly #pieces: Piece[] = [];

  constructor(groups: Iterable<readonly [string, GroupItem]>) {
    const steps = this.#fill(groups);
    while (!steps.next().done);
  }

  /** The same in steps, for many prefixes. */
  static *inSteps(groups: Iterable<readonly [string, GroupItem]>): Generator<'breath', PrefixClasses> {
    const made = new PrefixClasses([]);
    yield* made.#fill(groups);
    return made;
  }

  /** Disjoint, in order. */
  get pieces(): readonly Piece[] {
    return this.#pieces;
  }

  groupsOf(address: string): ReadonlySet<string> {
    if (this.#pieces.length === 0) return NONE;
    const { family, value } = mustIp(address);
    let [low, high] = [0, this.#pieces.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const piece = this.#pieces[middle] as Piece;
      if (piece.family < family || (piece.family === family && piece.last < value)) low = middle + 1;
      else if (piece.family > family || piece.first > value) high = middle - 1;
      else return piece.groups;
    }
    return NONE;
  }

  *#fill(groups: Iterable<readonly [string, GroupItem]>): Generator<'breath'> {
    const sorted = yield* distinctIn(groups);
    const union = unions();
    // Prefixes nest or are apart: sorted, those that hold one stand before it on a stack. All before `next` is in a piece.
    const stack: Member[] = [];
    let next = 0n;
    const close = (top: Member): void => {
      this.#add(top, next, lastOf(top.prefix));
      next = lastOf(top.prefix) + 1n;
    };
    let left = AT_ONCE;
    for (const { prefix, groups: own } of sorted) {
      for (let top = stack.at(-1); top && !covers(top.prefix, prefix); top = stack.at(-1)) {
        close(top);
        stack.pop();
      }
      const outer = stack.at(-1);
      if (outer) this.#add(outer, next, prefix.first - 1n);
      stack.push({ prefix, groups: outer ? union(outer.groups, own) : own });
      next = prefix.first;
      if (--left > 0) continue;
      left = AT_ONCE;
      yield 'breath';
    }
    for (let top = stack.pop(); top; top = stack.pop()) close(top);
  }

  #add({ prefix: { family }, groups }: Member, first: bigint, last: bigint): void {
    if (first > last) return;
    const before = this.#pieces.at(-1);
    if (before?.family === family && before.last + 1n === first && before.groups === groups)
      this.#pieces[this.#pieces.length - 1] = { ...before, last };
    else this.#pieces.push({ family, first, last, groups });
  }
}

type Member = { readonly prefix: Prefix; readonly groups: ReadonlySet<string> };

/** Each prefix once, with all groups that name it, in order. Thousands are in the same group: they share the set that says so. */
function* distinctIn(groups: Iterable<readonly [string, GroupItem]>): Generator<'breath', Member[]> {
  const distinct = new Map<string, Member>();
  const union = unions();
  for (const [group, { prefixes }] of groups) {
    const alone: ReadonlySet<string> = new Set([group]);
    for (const text of prefixes) {
      const known = distinct.get(text);
      distinct.set(
        text,
        known ? { ...known, groups: union(known.groups, alone) } : { prefix: mustPrefix(text), groups: alone },
      );
      if (distinct.size % AT_ONCE === 0) yield 'breath';
    }
  }
  const sorted = [...distinct.values()].sort((a, b) => compare(a.prefix, b.prefix));
  yield 'breath';
  return sorted;
}

/** Makes unions of sets, the same one for the same two. */
function unions(): (a: ReadonlySet<string>, b: ReadonlySet<string>) => ReadonlySet<string> {
  const made = new Map<ReadonlySet<string>, Map<ReadonlySet<string>, ReadonlySet<string>>>();
  return (a, b) => {
    const of = made.get(a) ?? new Map<ReadonlySet<string>, ReadonlySet<string>>();
    made.set(a, of);
    const union = of.get(b) ?? new Set([...a, ...b]);
    of.set(b, union);
    return union;
  };
}

/** Prefixes of one step. */
const AT_ONCE = 256;

const NONE: ReadonlySet<string> = new Set();

function compare(a: Prefix, b: Prefix): number {
  return a.family - b.family || (a.first < b.first ? -1 : a.first > b.first ? 1 : a.length - b.length);
}
