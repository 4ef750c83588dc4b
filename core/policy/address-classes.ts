import type { GroupItem } from '../../api/nodeconfig.ts';
import { bitsOf, type Family, mustIp } from '../../lib/ip/address.ts';
import { lastOf, mustPrefix } from '../../lib/ip/prefix.ts';

/**
 * Every set of groups that some address is in: addresses of one class are the same to all rules that name these groups. A group
 * without any address yet is a class of its own, since pods may come.
 *
 * The largest group is never walked: with many policies that name every pod, and each a few more, that is what keeps it cheap.
 */
export function addressClasses(groups: ReadonlyMap<string, GroupItem>): ReadonlySet<string>[] {
  const classes = new Map<string, ReadonlySet<string>>();
  const note = (keys: readonly string[]): void => {
    const sorted = keys.toSorted();
    classes.set(sorted.join('\n'), new Set(sorted));
  };
  for (const [key, { addresses, prefixes }] of groups) if (addresses.length + prefixes.length === 0) note([key]);
  const intervals = [...intervalsOf(groups, 4), ...intervalsOf(groups, 6)];
  const [largest, ...others] = [...groups].sort((a, b) => b[1].addresses.length - a[1].addresses.length);
  const inLargest = largest ? setOf(largest[1]) : new Set<string>();
  const keysOf = keysByAddress(others);
  const walked = new Map<Interval, { alone: number; both: number }>();
  for (const [address, keys] of keysOf) {
    const interval = intervalAt(intervals, address);
    const both = inLargest.has(address);
    const count = walked.get(interval) ?? { alone: 0, both: 0 };
    if (both) count.both++;
    else count.alone++;
    walked.set(interval, count);
    note([...new Set([...keys, ...(both && largest ? [largest[0]] : []), ...interval.keys])]);
  }
  for (const interval of intervals) {
    const { alone, both } = walked.get(interval) ?? { alone: 0, both: 0 };
    const there = largest ? countIn(largest[1], interval) : 0;
    if (largest && there > both) note([...new Set([largest[0], ...interval.keys])]);
    // Where every address is one of a group's own, none is left that only prefixes hold.
    if (interval.last - interval.first >= alone + there) note(interval.keys);
  }
  return [...classes.values()];
}

/** Addresses between two edges of prefixes, and the groups whose prefixes hold them. */
type Interval = {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
  readonly keys: readonly string[];
};

/** All addresses of a family, cut wherever a prefix begins or ends. */
function intervalsOf(groups: ReadonlyMap<string, GroupItem>, family: Family): Interval[] {
  const edges: { readonly at: bigint; readonly key: string; readonly begins: boolean }[] = [];
  for (const [key, { prefixes }] of groups)
    for (const text of prefixes) {
      const prefix = mustPrefix(text);
      if (prefix.family !== family) continue;
      edges.push({ at: prefix.first, key, begins: true }, { at: lastOf(prefix) + 1n, key, begins: false });
    }
  // The prefixes of one group are apart from each other: it ends before it begins again.
  edges.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : Number(a.begins) - Number(b.begins)));
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

function setOf(item: GroupItem): ReadonlySet<string> {
  const known = sets.get(item) ?? new Set(item.addresses);
  sets.set(item, known);
  return known;
}

/** How many of a group's addresses are between two edges. */
function countIn(item: GroupItem, { family, first, last }: Interval): number {
  const all = valuesOf(item).get(family) ?? [];
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

function valuesOf(item: GroupItem): ReadonlyMap<Family, readonly bigint[]> {
  const known = values.get(item);
  if (known) return known;
  const made = Map.groupBy(item.addresses.map(mustIp), (ip) => ip.family);
  const sorted = new Map([...made].map(([f, ips]) => [f, ips.map((ip) => ip.value).sort((a, b) => (a < b ? -1 : 1))]));
  values.set(item, sorted);
  return sorted;
}

/** Groups never change: each is looked through once. */
const sets = new WeakMap<GroupItem, ReadonlySet<string>>();
const values = new WeakMap<GroupItem, ReadonlyMap<Family, readonly bigint[]>>();
