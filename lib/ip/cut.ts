import { covers, lastOf, type Prefix } from './prefix.ts';

/** What is left of a prefix when others are cut out of it, as disjoint prefixes. Holes that are not inside it mean nothing. */
export function cut(outer: Prefix, holes: readonly Prefix[]): Prefix[] {
  if (holes.some((h) => covers(h, outer))) return [];
  const inside = holes.filter((h) => covers(outer, h));
  if (inside.length === 0) return [outer];
  const length = outer.length + 1;
  const lower: Prefix = { ...outer, length };
  const upper: Prefix = { ...outer, length, first: lastOf(lower) + 1n };
  return [...cut(lower, inside), ...cut(upper, inside)];
}
