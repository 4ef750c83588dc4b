import type { GroupItem } from '../../api/nodeconfig.ts';
import { bitsOf, mustIp } from '../../lib/ip/address.ts';
import { cut } from '../../lib/ip/cut.ts';
import { covers, formatPrefix, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';

export type Piece = { readonly prefix: string; readonly groups: ReadonlySet<string> };

/** The prefixes of all groups, cut so that each piece lies in the same groups as a whole. */
export class PrefixClasses {
  readonly #pieces: Piece[] = [];
  /** By family and length, then by the first address. */
  readonly #index = new Map<string, Map<bigint, Piece>>();

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

  get pieces(): readonly Piece[] {
    return this.#pieces;
  }

  *#fill(groups: Iterable<readonly [string, GroupItem]>): Generator<'breath'> {
    const distinct = new Map<string, { prefix: Prefix; groups: Set<string> }>();
    for (const [group, { prefixes }] of groups)
      for (const text of prefixes) {
        const known = distinct.get(text) ?? { prefix: mustPrefix(text), groups: new Set() };
        known.groups.add(group);
        distinct.set(text, known);
        if (distinct.size % AT_ONCE === 0) yield 'breath';
      }
    // Prefixes nest or are apart: sorted, those that hold one stand before it on a stack.
    const sorted = [...distinct.values()].sort((a, b) => compare(a.prefix, b.prefix));
    yield 'breath';
    const stack: { prefix: Prefix; groups: ReadonlySet<string>; holes: Prefix[] }[] = [];
    const pop = (): void => {
      const top = stack.pop();
      if (top) for (const p of cut(top.prefix, top.holes)) this.#add(p, top.groups);
    };
    let left = AT_ONCE;
    for (const { prefix, groups: own } of sorted) {
      for (let top = stack.at(-1); top && !covers(top.prefix, prefix); top = stack.at(-1)) pop();
      const outer = stack.at(-1);
      outer?.holes.push(prefix);
      stack.push({ prefix, groups: outer ? new Set([...outer.groups, ...own]) : own, holes: [] });
      if (--left > 0) continue;
      left = AT_ONCE;
      yield 'breath';
    }
    while (stack.length > 0) pop();
  }

  groupsOf(address: string): ReadonlySet<string> {
    if (this.#index.size === 0) return NONE;
    const ip = mustIp(address);
    for (const [key, byFirst] of this.#index) {
      const [family, length] = key.split('/').map(Number);
      if (family !== ip.family) continue;
      const host = BigInt(bitsOf(ip.family) - (length ?? 0));
      const found = byFirst.get((ip.value >> host) << host);
      if (found) return found.groups;
    }
    return NONE;
  }

  #add(prefix: Prefix, groups: ReadonlySet<string>): void {
    const key = `${prefix.family}/${prefix.length}`;
    const piece = { prefix: formatPrefix(prefix), groups };
    const byFirst = this.#index.get(key) ?? new Map<bigint, Piece>();
    this.#index.set(key, byFirst.set(prefix.first, piece));
    this.#pieces.push(piece);
  }
}

/** Prefixes of one step. */
const AT_ONCE = 256;

const NONE: ReadonlySet<string> = new Set();

function compare(a: Prefix, b: Prefix): number {
  return a.family - b.family || (a.first < b.first ? -1 : a.first > b.first ? 1 : a.length - b.length);
}
