import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { excessOf, fairLevel } from './fair-shares.ts';

const limits = { source: 100, owner: 200, all: 600 };
const ownerOf = (source: string): string | undefined => (source.startsWith('node') ? undefined : source.split('/')[0]);
const excess = (counts: Record<string, number>): Record<string, number> =>
  Object.fromEntries(excessOf(new Map(Object.entries(counts)), ownerOf, limits));

describe('shares of a table', () => {
  test('who has little keeps it', () => {
    expect(excess({ 'a/1': 100, 'b/1': 1, node: 50 })).toEqual({});
  });
  test('one source has its own limit, one owner another', () => {
    expect(excess({ 'a/1': 140, 'b/1': 1 })).toEqual({ 'a/1': 40 });
    expect(excess({ 'a/1': 90, 'a/2': 90, 'a/3': 90, 'a/4': 5 })).toEqual({ 'a/1': 25, 'a/2': 25, 'a/3': 25 });
  });
  test('too much in all is taken from those that have most', () => {
    const many = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`o${i}/1`, 90]));
    expect(excess({ ...many, 'small/1': 10 })).toEqual(Object.fromEntries(Object.keys(many).map((k) => [k, 31])));
  });
  test('what the node itself has is never refused, and leaves half to the pods', () => {
    expect(excess({ node1: 5000, 'a/1': 100, 'b/1': 100, 'c/1': 100 })).toEqual({});
    expect(excess({ node1: 5000, 'a/1': 100, 'b/1': 100, 'c/1': 100, 'd/1': 100 })).toEqual({
      'a/1': 25,
      'b/1': 25,
      'c/1': 25,
      'd/1': 25,
    });
  });

  const world = fc.dictionary(
    fc.tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.nat(9)).map(([o, n]) => `${o}/${n}`),
    fc.nat(300),
  );
  test('all fits afterwards, and nothing is taken from a source for the sake of one that has more', () => {
    fc.assert(
      fc.property(world, (counts) => {
        const over = excess(counts);
        const kept = Object.entries(counts).map(([s, n]) => [s, n - (over[s] ?? 0)] as const);
        expect(kept.reduce((a, [, n]) => a + n, 0)).toBeLessThanOrEqual(limits.all);
        for (const [, n] of kept) expect(n).toBeLessThanOrEqual(limits.source);
        for (const owner of new Set(kept.map(([s]) => ownerOf(s)))) {
          const own = kept.filter(([s]) => ownerOf(s) === owner);
          expect(own.reduce((a, [, n]) => a + n, 0)).toBeLessThanOrEqual(limits.owner);
          // In one owner, all that were cut have the same left, and no other has more.
          const cut = own.filter(([s]) => over[s] !== undefined).map(([, n]) => n);
          expect(new Set(cut).size).toBeLessThanOrEqual(1);
          if (cut[0] !== undefined) for (const [, n] of own) expect(n).toBeLessThanOrEqual(cut[0]);
        }
      }),
    );
  });
  test('the level is as high as it can be', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { minLength: 1, maxLength: 20 }), fc.nat(5000), (counts, room) => {
        const level = fairLevel(counts, room);
        const used = counts.reduce((a, n) => a + Math.min(n, level), 0);
        if (level === Number.POSITIVE_INFINITY) expect(used).toBeLessThanOrEqual(room);
        else expect(used).toBeCloseTo(room, 6);
      }),
    );
  });
});
