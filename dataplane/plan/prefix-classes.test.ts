import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { GroupItem } from '../../api/nodeconfig.ts';
import { groupsOf } from '../../core/policy/profile.ts';
import { formatIp } from '../../lib/ip/address.ts';
import { formatPrefix, lastOf, mustPrefix, overlaps, parsePrefix } from '../../lib/ip/prefix.ts';
import { PrefixClasses } from './prefix-classes.ts';

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
        const pieces = classes.pieces.map((p) => mustPrefix(p.prefix));
        for (const [i, a] of pieces.entries()) for (const b of pieces.slice(i + 1)) expect(overlaps(a, b)).toBe(false);
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
});
