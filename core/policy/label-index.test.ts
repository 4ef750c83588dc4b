import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import { matches } from '../cluster/selector.ts';
import { LabelIndex } from './label-index.ts';

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
