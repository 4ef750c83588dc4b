import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { GroupItem } from '../../api/nodeconfig.ts';
import { AddressClasses } from './address-classes.ts';
import { groupsOf } from './profile.ts';

const address = fc.constantFrom(
  '10.0.0.0',
  '10.0.0.1',
  '10.0.0.2',
  '10.0.0.3',
  '10.0.0.128',
  '10.0.1.0',
  'fd00::1',
  'fd00::2',
);
// Prefixes of one group are apart from each other, as groups.ts makes them.
const prefixes = fc.constantFrom(
  [],
  ['10.0.0.0/8'],
  ['10.0.0.0/31'],
  ['10.0.0.1/32', '10.0.0.128/25'],
  ['0.0.0.0/0', '::/0'],
  ['10.0.0.0/24', 'fd00::/64'],
);
/** Beyond what is walked one by one. */
const many = Array.from({ length: 40 }, (_, i) => `10.0.0.${i}`);
const group: fc.Arbitrary<GroupItem> = fc
  .tuple(fc.uniqueArray(address), fc.constantFrom([], many, many.slice(2)), prefixes)
  .map(([few, more, some]) => ({ addresses: [...new Set([...few, ...more])].sort(), prefixes: some }));
/** Each address by hand, and one in every place where a prefix begins or ends. */
const ALL = [
  ...[
    '0.0.0.0',
    '9.255.255.255',
    '10.0.0.0',
    '10.0.0.1',
    '10.0.0.2',
    '10.0.0.3',
    '10.0.0.4',
    '10.0.0.127',
    '10.0.0.128',
  ],
  ...['10.0.0.129', '10.0.0.255', '10.0.1.0', '10.0.1.1', '10.255.255.255', '11.0.0.0', '255.255.255.255'],
  ...['::', 'fd00::', 'fd00::1', 'fd00::2', 'fd00::3', 'fd00:0:0:1::', 'ffff::'],
];

test('the classes are those of all addresses, one by one', () => {
  fc.assert(
    fc.property(fc.array(group, { maxLength: 5 }), (items) => {
      const groups = new Map(items.map((item, i) => [`g${i}`, item]));
      const text = (keys: Iterable<string>): string => [...keys].sort().join(' ');
      const empty = [...groups].flatMap(([k, g]) => (g.addresses.length + g.prefixes.length === 0 ? [k] : []));
      const byHand = new Set([...ALL.map((a) => text(groupsOf(groups, a))), ...empty]);
      expect(new Set(new AddressClasses().of(groups).map(text))).toEqual(byHand);
    }),
    { numRuns: 500 },
  );
});
