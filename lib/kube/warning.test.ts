import fc from 'fast-check';
import { expect, test } from 'vitest';
import { warningHeader } from '../../lab/apiserver/admission/warning.ts';
import { readWarnings } from './warning.ts';

test('what the lab warns of is read as it was, in one header or in several', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 50 }).map((t) => t.replaceAll(/[\p{Cc}\p{Cs}]/gu, ' '));
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 3 }), (texts) => {
      const headers = texts.map(warningHeader);
      expect(readWarnings(headers)).toEqual(texts);
      expect(readWarnings(headers.join(', '))).toEqual(texts);
    }),
  );
});

test('whatever a header holds, it is read without an error', () => {
  fc.assert(fc.property(fc.string(), (header) => void readWarnings(header)));
  expect(readWarnings(undefined)).toEqual([]);
  expect(readWarnings('299 - "a", 299 kube "b \\"c\\""')).toEqual(['a', 'b "c"']);
});

test('a warning is one line of a header, and not too long', () => {
  expect(warningHeader('a\r\nSet-Cookie: x')).toBe('299 - "a Set-Cookie: x"');
  expect(warningHeader('x'.repeat(10_000)).length).toBeLessThan(4_200);
});
