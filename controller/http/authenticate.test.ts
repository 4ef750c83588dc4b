import fc from 'fast-check';
import { expect, test } from 'vitest';
import { podOf } from './authenticate.ts';

test('the pod of a token, whatever text it is', () => {
  const token = (claims: unknown): string => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;
  expect(podOf(token({ 'kubernetes.io': { pod: { name: 'p', uid: 'u-1' } } }))).toBe('u-1');
  fc.assert(fc.property(fc.oneof(fc.string(), fc.jsonValue().map(token)), (text) => podOf(text) === undefined));
  fc.assert(fc.property(fc.jsonValue(), (v) => podOf(token({ 'kubernetes.io': v })) === undefined));
});
