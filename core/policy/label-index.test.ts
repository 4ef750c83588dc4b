import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import { matches } from '../cluster/selector.ts';
import { LabelIndex, SelectorIndex } from './label-index.ts';

const key = fc.constantFrom('a', 'b', 'c');
const value = fc.constantFrom('1', '2', '3', '');
const labels = fc.dictionary(key, value);
const selector: fc.Arbitrary<LabelSelector> = fc.record(
  {
    matchLabels: labels,
    matchExpressions: fc.array(
      fc.oneof(
        fc.record({ key, operator: fc.constantFrom('In', 'NotIn'), values: fc.array(value, { minLength: 1 }) }),
        fc.record({ key, operator: fc.constantFrom('Exists', 'DoesNotExist') }),
      ),
      { maxLength: 3 },
    ),
  },
  { requiredKeys: [] },
);

test('whatever a selector matches is among those that it is compared with, once', () => {
  fc.assert(
    fc.property(fc.array(labels), selector, (all, wanted) => {
      const like = new LabelIndex(all, (l) => l).like(wanted);
      expect(new Set(like).size).toBe(like.length);
      const matching = (some: readonly Record<string, string>[]): unknown[] => some.filter((l) => matches(wanted, l));
      expect(new Set(matching(like))).toEqual(new Set(matching(all)));
    }),
  );
});

test('whatever selector matches labels is among those that they are compared with, once and in order', () => {
  fc.assert(
    fc.property(fc.array(selector), labels, (all, own) => {
      const numbered = all.map((one, at) => ({ one, at }));
      const like = new SelectorIndex(numbered, (n) => n.one).like(own);
      expect(like.map((n) => n.at)).toEqual([...new Set(like.map((n) => n.at))].sort((a, b) => a - b));
      const matching = (some: typeof numbered): unknown[] => some.filter((n) => matches(n.one, own));
      expect(matching([...like])).toEqual(matching(numbered));
    }),
  );
});
