import fc from 'fast-check';
import { expect, test } from 'vitest';
import { contains, covers, overlaps, type Prefix } from './prefix.ts';
import { PrefixSet } from './prefix-set.ts';

const prefix: fc.Arbitrary<Prefix> = fc.oneof(
  fc
    .record({ length: fc.integer({ min: 24, max: 32 }), host: fc.integer({ min: 0, max: 255 }) })
    .map(({ length, host }) => {
      const bits = BigInt(32 - length);
      return { family: 4 as const, length, first: ((0x0a000000n + BigInt(host)) >> bits) << bits };
    }),
  fc
    .record({ length: fc.integer({ min: 118, max: 128 }), host: fc.integer({ min: 0, max: 1023 }) })
    .map(({ length, host }) => {
      const bits = BigInt(128 - length);
      return { family: 6 as const, length, first: (((0xfdn << 120n) + BigInt(host)) >> bits) << bits };
    }),
);

test('answers as a look at each prefix would', () => {
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 12 }), prefix, (all, asked) => {
      const set = new PrefixSet(all);
      const ip = { family: asked.family, value: asked.first };
      expect(set.contains(ip)).toBe(all.some((p) => contains(p, ip)));
      expect(set.covers(asked)).toBe(all.some((p) => covers(p, asked)));
      expect(set.overlaps(asked)).toBe(all.some((p) => overlaps(p, asked)));
    }),
    { numRuns: 2_000 },
  );
});
