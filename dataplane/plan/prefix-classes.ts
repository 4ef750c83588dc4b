import type { GroupItem } from '../../api/nodeconfig.ts';
import { bitsOf, mustIp } from '../../lib/ip/address.ts';
import { cut } from '../../lib/ip/cut.ts';
import { covers, formatPrefix, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';

export type Piece = { readonly prefix: string; readonly groups: ReadonlySet<string> };

/** The prefixes of all groups, cut so that each piece lies in the same groups as a whole. */
export class PrefixClasses {
  readonly pieces: readonly Piece[];
  /** By family and length, then by the first address. */
  readonly #index = new Map<string, Map<bigint, Piece>>();

  constructor(groups: Iterable<readonly [string, GroupItem]>) {
    const named = [...groups].flatMap(([group, { prefixes }]) =>
      prefixes.map((p) => ({ group, prefix: mustPrefix(p) })),
    );
    const distinct = new Map<string, { prefix: Prefix; groups: Set<string> }>();
    for (const { group, prefix } of named) {
      const key = formatPrefix(prefix);
      const known = distinct.get(key) ?? { prefix, groups: new Set() };
      known.groups.add(group);
      distinct.set(key, known);
    }
    // Prefixes nest or are apart: sorted, those that hold one stand before it on a stack.
    const sorted = [...distinct.values()].sort((a, b) => compare(a.prefix, b.prefix));
    const stack: { prefix: Prefix; groups: ReadonlySet<string>; holes: Prefix[] }[] = [];
    const pieces: Piece[] = [];
    const pop = (): void => {
      const top = stack.pop();
      if (top) for (const p of cut(top.prefix, top.holes)) pieces.push(this.#add(p, top.groups));
    };
    for (const { prefix, groups: own } of sorted) {
      for (let top = stack.at(-1); top && !covers(top.prefix, prefix); top = stack.at(-1)) pop();
      const outer = stack.at(-1);
      outer?.holes.push(prefix);
      stack.push({ prefix, groups: new Set([...(outer?.groups ?? []), ...own]), holes: [] });
    }
    while (stack.length > 0) pop();
    this.pieces = pieces;
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

  #add(prefix: Prefix, groups: ReadonlySet<string>): Piece {
    const key = `${prefix.family}/${prefix.length}`;
    const piece = { prefix: formatPrefix(prefix), groups };
    const byFirst = this.#index.get(key) ?? new Map<bigint, Piece>();
    this.#index.set(key, byFirst.set(prefix.first, piece));
    return piece;
  }
}

const NONE: ReadonlySet<string> = new Set();

function compare(a: Prefix, b: Prefix): number {
  return a.family - b.family || (a.first < b.first ? -1 : a.first > b.first ? 1 : a.length - b.length);
}
