/** What each source has, and what it is to have at most: only those that have more. */
export type Excess = ReadonlyMap<string, number>;

export type ShareLimits = {
  /** For one source, whatever room there is. */
  readonly source: number;
  /** For one owner of several sources. */
  readonly owner: number;
  /** For all together. */
  readonly all: number;
};

/**
 * Sources that have more than their share, each with how much more. Those that have little keep it, however many others there are:
 * what is too much in all is taken from the owners that have most, and from their sources that have most.
 *
 * @param ownerOf undefined: a source that shares are not for; what it has is left to it, and is not there for the others
 */
export function excessOf(
  counts: ReadonlyMap<string, number>,
  ownerOf: (source: string) => string | undefined,
  limits: ShareLimits,
): Excess {
  const owners = new Map<string, Map<string, number>>();
  let others = 0;
  for (const [source, count] of counts) {
    const owner = ownerOf(source);
    if (owner === undefined) others += count;
    else owners.set(owner, (owners.get(owner) ?? new Map<string, number>()).set(source, count));
  }
  const totals = [...owners.values()].map((sources) => sum(capped(sources.values(), limits.source)));
  // What the node itself does never leaves less than half to its pods.
  const room = Math.max(limits.all - others, limits.all / 2);
  const forOwner = Math.min(limits.owner, fairLevel(totals, room));
  const excess = new Map<string, number>();
  for (const sources of owners.values()) {
    const level = Math.floor(Math.min(limits.source, fairLevel(capped(sources.values(), limits.source), forOwner)));
    for (const [source, count] of sources) if (count > level) excess.set(source, count - level);
  }
  return excess;
}

/** The most that each may have so that all fit: who has less is left as it is. Infinity when all fit as they are. */
export function fairLevel(counts: readonly number[], room: number): number {
  const sorted = [...counts].sort((a, b) => a - b);
  let left = room;
  for (const [i, count] of sorted.entries()) {
    const others = sorted.length - i;
    if (count * others > left) return Math.max(0, left / others);
    left -= count;
  }
  return Number.POSITIVE_INFINITY;
}

const capped = (counts: Iterable<number>, most: number): number[] => [...counts].map((n) => Math.min(n, most));
const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
