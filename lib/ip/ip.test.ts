import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, test } from 'vitest';
import { bitsOf, canonicalIp, formatIp, type Ip, ipFromBytes, ipToBytes, parseIp } from './address.ts';
import {
  contains,
  covers,
  firstFree,
  formatPrefix,
  lastOf,
  mustPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
  sizeOf,
} from './prefix.ts';

const anyIp: fc.Arbitrary<Ip> = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 32n) - 1n }).map((value): Ip => ({ family: 4, value })),
  fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value): Ip => ({ family: 6, value })),
  // Long runs of zeros are where "::" goes wrong.
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 0xffff), { minLength: 8, maxLength: 8 })
    .map((g): Ip => ({ family: 6, value: g.reduce((v, x) => (v << 16n) | BigInt(x), 0n) })),
);
const anyPrefix: fc.Arbitrary<Prefix> = fc.tuple(anyIp, fc.nat(128)).map(([ip, n]) => {
  const length = n % (bitsOf(ip.family) + 1);
  const host = BigInt(bitsOf(ip.family) - length);
  return { family: ip.family, first: (ip.value >> host) << host, length };
});

describe('addresses', () => {
  test('text and back, and as the oracle writes it', () => {
    fc.assert(
      fc.property(anyIp, (ip) => {
        const text = formatIp(ip);
        expect(parseIp(text)).toEqual(ip);
        expect(ipaddr.parse(text).toString()).toBe(ip.family === 6 ? ipaddr.parse(text).toString() : text);
        expect(ipFromBytes(Uint8Array.from(ipaddr.parse(text).toByteArray()))).toEqual(ip);
        expect(ipFromBytes(ipToBytes(ip))).toEqual(ip);
      }),
    );
  });

  test('whatever text comes, it never throws, and takes only what the oracle takes', () => {
    const nearly = fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f:.]{0,40}$/), fc.stringMatching(/^[0-9.]{0,16}$/));
    fc.assert(
      fc.property(nearly, (text) => {
        if (parseIp(text)) expect(ipaddr.isValid(text)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['2001:DB8:0:0:0:0:0:10', '2001:db8::10'],
    ['::ffff:1.2.3.4', '::ffff:102:304'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['10.0.0.1', '10.0.0.1'],
  ])('%s is written %s', (text, canonical) => {
    expect(canonicalIp(text)).toBe(canonical);
  });

  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '01.2.3.4',
    '1::2::3',
    ':1',
    '12345::',
    '1:2:3:4:5:6:7:8:9',
    'fe80::1%eth0',
  ])('%s is no address', (text) => {
    expect(parseIp(text)).toBeUndefined();
  });
});

describe('prefixes', () => {
  test('hold what the oracle says that they hold', () => {
    fc.assert(
      fc.property(anyPrefix, anyIp, (prefix, ip) => {
        const text = formatPrefix(prefix);
        expect(parsePrefix(text)).toEqual(prefix);
        const address = ipaddr.parse(formatIp(ip));
        const [network, length] = ipaddr.parseCIDR(text);
        const oracle = address.kind() === network.kind() && address.match(network, length);
        expect(contains(prefix, ip)).toBe(oracle);
      }),
    );
  });

  test('overlap is symmetric, and is containment one way or the other', () => {
    fc.assert(
      fc.property(anyPrefix, anyPrefix, (a, b) => {
        expect(overlaps(a, b)).toBe(overlaps(b, a));
        expect(overlaps(a, b)).toBe(covers(a, b) || covers(b, a));
      }),
    );
  });

  test('firstFree gives an aligned, free prefix inside, or nothing when there is none', () => {
    const outer = mustPrefix('10.0.0.0/24');
    const taken = fc.array(fc.tuple(fc.nat(255), fc.integer({ min: 26, max: 32 }))).map((list) =>
      list.map(([host, length]): Prefix => {
        const bits = BigInt(32 - length);
        return { family: 4, first: ((outer.first + BigInt(host)) >> bits) << bits, length };
      }),
    );
    fc.assert(
      fc.property(taken, fc.integer({ min: 24, max: 32 }), (used, length) => {
        const found = firstFree(outer, length, used);
        if (found) {
          expect(covers(outer, found)).toBe(true);
          expect((found.first - outer.first) % sizeOf(found)).toBe(0n);
          expect(used.some((u) => overlaps(u, found))).toBe(false);
          return;
        }
        for (let first = outer.first; first <= lastOf(outer); first += 1n << BigInt(32 - length)) {
          expect(used.some((u) => overlaps(u, { family: 4, first, length }))).toBe(true);
        }
      }),
    );
  });

  test.each(['10.0.0.1/24', '10.0.0.0/33', '10.0.0.0', '::/129', '10.0.0.0/-1', '10.0.0.0/08'])(
    '%s is no prefix',
    (text) => {
      expect(parsePrefix(text)).toBeUndefined();
    },
  );
});
