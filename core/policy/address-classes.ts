import type { GroupItem } from '../../api/nodeconfig.ts';
import { bitsOf, type Family, mustIp } from '../../lib/ip/address.ts';
import { lastOf, mustPrefix } from '../../lib/ip/prefix.ts';

type Groups = ReadonlyMap<string, GroupItem>;

/**
 * Every set of groups that some address is in: addresses of one class are the same to all rules that name these groups. A group
 * without any address yet is a class of its own, since pods may come.
 *
 * Large groups are shared by many profiles ("every pod"), small ones are not: what addresses the large ones have in common is worked
 * out once for all profiles that have the same ones, and then only the small ones are walked.
 */
export class AddressClasses {
  readonly #crowds = new Map<string, Crowds>();

  of(groups: Groups): ReadonlySet<string>[] {
    const classes = new Map<string, ReadonlySet<string>>();
    const note = (...keys: readonly string[]): void => {
      const sorted = [...new Set(keys)].sort();
      const text = sorted.join('\n');
      if (!classes.has(text)) classes.set(text, new Set(sorted));
    };
    for (const [key, { addresses, prefixes }] of groups) if (addresses.length + prefixes.length === 0) note(key);
    const intervals = [...intervalsOf(groups, 4), ...intervalsOf(groups, 6)];
    const entries = [...groups];
    const crowds = this.#crowdsOf(entries.filter(([, g]) => g.addresses.length > SMALL));
    /** Addresses that are walked, by interval and by what large groups they are in. */
    const walked = new Map<Interval, Map<Crowd | undefined, number>>();
    for (const [address, keys] of keysByAddress(entries.filter(([, g]) => g.addresses.length <= SMALL))) {
      const interval = intervalAt(intervals, address);
      const crowd = crowds.at.get(address);
      const counts = walked.get(interval) ?? new Map<Crowd | undefined, number>();
      walked.set(interval, counts.set(crowd, (counts.get(crowd) ?? 0) + 1));
      note(...keys, ...(crowd?.keys ?? []), ...interval.keys);
    }
    for (const interval of intervals) {
      const counts = walked.get(interval);
      let known = counts?.get(undefined) ?? 0;
      for (const crowd of crowds.all) {
        const there = countIn(crowd, interval);
        known += there;
        if (there > (counts?.get(crowd) ?? 0)) note(...crowd.keys, ...interval.keys);
      }
      // Where every address is one of a group's own, none is left that only prefixes hold.
      if (interval.last - interval.first >= known) note(...interval.keys);
    }
    return [...classes.values()];
  }

  #crowdsOf(large: readonly (readonly [string, GroupItem])[]): Crowds {
    const sorted = large.map(([key]) => key).sort();
    const text = sorted.join('\n');
    const known = this.#crowds.get(text) ?? crowdsOf(large);
    this.#crowds.set(text, known);
    return known;
  }
}

/** Addresses of a group that are walked one by one. */
const SMALL = 32;

/** Addresses that are in the same large groups, in order. */
type Crowd = { readonly keys: readonly string[]; readonly values: ReadonlyMap<Family, readonly bigint[]> };
type Crowds = { readonly all: readonly Crowd[]; readonly at: ReadonlyMap<string, Crowd> };

function crowdsOf(groups: readonly (readonly [string, GroupItem])[]): Crowds {
  const byKeys = Map.groupBy(keysByAddress(groups), ([, keys]) => keys.join('\n'));
  const at = new Map<string, Crowd>();
  const all = [...byKeys.values()].map((members): Crowd => {
    const ips = Map.groupBy(
      members.map(([address]) => mustIp(address)),
      (ip) => ip.family,
    );
    const crowd = {
      keys: members[0]?.[1] ?? [],
      values: new Map([...ips].map(([f, some]) => [f, some.map((ip) => ip.value).sort(byValue)])),
    };
    for (const [address] of members) at.set(address, crowd);
    return crowd;
  });
  return { all, at };
}

const byValue = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/** Addresses between two edges of prefixes, and the groups whose prefixes hold them. */
type Interval = {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
  readonly keys: readonly string[];
};

/** All addresses of a family, cut wherever a prefix begins or ends. */
function intervalsOf(groups: Groups, family: Family): Interval[] {
  const edges: { readonly at: bigint; readonly key: string; readonly begins: boolean }[] = [];
  for (const [key, { prefixes }] of groups)
    for (const text of prefixes) {
      const prefix = mustPrefix(text);
      if (prefix.family !== family) continue;
      edges.push({ at: prefix.first, key, begins: true }, { at: lastOf(prefix) + 1n, key, begins: false });
    }
  // The prefixes of one group are apart from each other: it ends before it begins again.
  edges.sort((a, b) => byValue(a.at, b.at) || Number(a.begins) - Number(b.begins));
  const end = 1n << BigInt(bitsOf(family));
  const inside = new Set<string>();
  const found: Interval[] = [];
  let first = 0n;
  for (const { at, key, begins } of [...edges, { at: end, key: '', begins: true }]) {
    if (at > first) found.push({ family, first, last: at - 1n, keys: [...inside] });
    first = at;
    if (begins) inside.add(key);
    else inside.delete(key);
  }
  return found;
}

function intervalAt(intervals: readonly Interval[], address: string): Interval {
  // Without prefixes there is one of each family.
  if (intervals.length === 2) return intervals[address.includes(':') ? 1 : 0] as Interval;
  const { family, value } = mustIp(address);
  let [low, high] = [0, intervals.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    const { family: of, first } = intervals[middle] as Interval;
    if (of < family || (of === family && first <= value)) low = middle;
    else high = middle - 1;
  }
  return intervals[low] as Interval;
}

function keysByAddress(groups: readonly (readonly [string, GroupItem])[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [key, { addresses }] of groups)
    for (const address of addresses) {
      const keys = found.get(address);
      if (keys) keys.push(key);
      else found.set(address, [key]);
    }
  return found;
}

/** How many of a crowd's addresses are between two edges. */
function countIn({ values }: Crowd, { family, first, last }: Interval): number {
  const all = values.get(family) ?? [];
  return placeOf(all, last + 1n) - placeOf(all, first);
}

/** How many of sorted values are below one. */
function placeOf(sorted: readonly bigint[], value: bigint): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as bigint) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
