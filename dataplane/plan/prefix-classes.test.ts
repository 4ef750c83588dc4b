import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { GroupItem } from '../../api/nodeconfig.ts';
import { groupsOf } from '../../core/policy/profile.ts';
import { formatIp } from '../../lib/ip/address.ts';
import { formatPrefix, lastOf, mustPrefix, parsePrefix } from '../../lib/ip/prefix.ts';
import { PrefixClasses, rangeOf } from './prefix-classes.ts';

const prefix = fc
  .tuple(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0, max: 20 }), fc.boolean())
  .map(([n, length, six]) => {
    const text = six ? `${n.toString(16)}::/${length}` : `${n >> 8}.${n & 255}.0.0/${length}`;
    return formatPrefix(parsePrefix(text, { loose: true }) ?? mustPrefix('0.0.0.0/0'));
  });

describe('prefixes of groups, cut into classes', () => {
  test('pieces are apart, and every address is in the groups that hold it', () => {
    fc.assert(
      fc.property(fc.array(fc.array(prefix, { maxLength: 5 }), { maxLength: 6 }), (lists) => {
        const groups = new Map(lists.map((prefixes, i): [string, GroupItem] => [`g${i}`, { addresses: [], prefixes }]));
        const classes = new PrefixClasses(groups);
        const { pieces } = classes;
        for (const [i, a] of pieces.entries()) {
          const b = pieces[i + 1];
          expect(a.first <= a.last && (!b || a.family < b.family || a.last < b.first)).toBe(true);
        }
        expect(pieces.length).toBeLessThanOrEqual(2 * new Set(lists.flat()).size);
        const asked = lists.flat().flatMap((text) => {
          const p = mustPrefix(text);
          return [p.first, lastOf(p), lastOf(p) + 1n].flatMap((value) =>
            value < 2n ** (p.family === 4 ? 32n : 128n) ? formatIp({ family: p.family, value }) : [],
          );
        });
        for (const ip of asked) expect([ip, new Set(classes.groupsOf(ip))]).toEqual([ip, groupsOf(groups, ip)]);
      }),
      { numRuns: 300 },
    );
  });

  test('what is left around a few addresses is a range between each two of them', () => {
    const holes = Array.from({ length: 1_000 }, (_, i) => `fd00::${(i * 50).toString(16)}/128`);
    const classes = new PrefixClasses([
      ['all', { addresses: [], prefixes: ['::/0'] }],
      ['some', { addresses: [], prefixes: holes }],
    ]);
    expect(classes.pieces).toHaveLength(2_001);
    expect(classes.pieces.slice(0, 2).map(rangeOf)).toEqual(['::-fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'fd00::']);
  });

  test('neighbours in the same groups are one range', () => {
    const prefixes = Array.from({ length: 256 }, (_, i) => `10.0.${i}.0/24`);
    const { pieces } = new PrefixClasses([['g', { addresses: [], prefixes: [...prefixes, '10.2.0.0/16'] }]]);
    expect(pieces.map(rangeOf)).toEqual(['10.0.0.0-10.0.255.255', '10.2.0.0-10.2.255.255']);
  });
});
