import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DepthError, isDeepValue, parseJson } from './json.ts';

const nested = (depth: number, [open, close]: readonly [string, string], inside = '1'): string =>
  open.repeat(depth) + inside + close.repeat(depth);
const FORMS = [
  ['[', ']'],
  ['{"a":', '}'],
  ['[{"[":', '}]'],
] as const;

describe('parseJson', () => {
  test.each(FORMS)('%s: up to the bound, and not beyond', (...form) => {
    const levels = form[0].startsWith('[{') ? 2 : 1;
    expect(() => parseJson(nested(10 / levels, form), 10)).not.toThrow();
    expect(() => parseJson(nested(10 / levels, form, '[1]'), 10)).toThrow(DepthError);
    for (const depth of [200, 200_000, 2_000_000]) expect(() => parseJson(nested(depth, form))).toThrow(DepthError);
    expect(() => parseJson(form[0].repeat(1_000_000))).toThrow(DepthError);
  });

  test('what is no JSON is a SyntaxError, whatever its quotes', () => {
    for (const text of ['', '"', '"\\', '[', '{"a":"\\"}', ']'.repeat(1_000), 'null null']) {
      expect(() => parseJson(text)).toThrow(SyntaxError);
    }
  });

  test('brackets in strings are text', () => {
    const text = JSON.stringify([`${'['.repeat(1_000)}"\\`, { [`\\"${'{'.repeat(1_000)}`]: ']' }]);
    expect(parseJson(text, 2)).toEqual(JSON.parse(text));
  });

  test('as JSON.parse, for any value; its depth is that of the value', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8, stringUnit: 'binary' }), fc.integer({ min: 0, max: 8 }), (text, most) => {
        const value: unknown = JSON.parse(text);
        if (isDeepValue(value, most)) expect(() => parseJson(text, most)).toThrow(DepthError);
        else expect(parseJson(text, most)).toEqual(value);
      }),
      { numRuns: 2_000 },
    );
  });

  test('a value that holds itself, and one that names another many times', () => {
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    expect(isDeepValue(circle)).toBe(true);
    let wide: unknown = 'x';
    for (let i = 0; i < 100; i++) wide = Array.from({ length: 10 }, () => wide);
    expect(isDeepValue(wide)).toBe(false);
    expect(isDeepValue([wide, [[[wide]]]], 102)).toBe(true);
  });
});
