import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bitsOf, type Ip } from './address.ts';
import { contains, formatPrefix, type Prefix } from './prefix.ts';
import { PrefixMap } from './prefix-map.ts';

const family = fc.constantFrom(4 as const, 6 as const);
const ip = family.chain((f) =>
  fc.bigInt(0n, 255n).map((low): Ip => ({ family: f, value: (0x0an << BigInt(bitsOf(f) - 8)) + low })),
);
const prefix = fc.tuple(ip, fc.integer({ min: 0, max: 8 })).map(([{ family: f, value }, host]): Prefix => {
  const bits = BigInt(host);
  return { family: f, length: bitsOf(f) - host, first: (value >> bits) << bits };
});

test('a map of prefixes finds what a search through all of them finds', () => {
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 20 }), ip, (prefixes, address) => {
      const map = new PrefixMap(prefixes.map((p) => [p, formatPrefix(p)] as const));
      const holding = [...new Map(prefixes.map((p) => [formatPrefix(p), p])).values()]
        .filter((p) => contains(p, address))
        .sort((a, b) => b.length - a.length)
        .map(formatPrefix);
      expect([...map.all(address)]).toEqual(holding);
      expect(map.get(address)).toBe(holding[0]);
      expect(map.has(address)).toBe(holding.length > 0);
      for (const p of prefixes) expect(map.at(p)).toBe(formatPrefix(p));
    }),
    { numRuns: 2_000 },
  );
});
