import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { format, forTerminal, jsonText, paint, tableText, yamlText } from './output.ts';

const evil = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom(
    '\u001b[2J',
    '\u001b]0;title\u0007',
    '\u009b31m',
    '\r',
    '\u202egnp.exe',
    'a\nb',
    '\u0000',
    '\u2028',
    '\\x41',
    '\\\\x9b',
    '\ue0007.0\ue001',
  ),
);
// oxlint-disable-next-line no-control-regex
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

describe('what reaches a terminal', () => {
  test('nothing of what users wrote moves or colours anything', () => {
    fc.assert(
      fc.property(evil, evil, (a, b) => {
        expect(forTerminal(`${a}${b}`)).not.toMatch(UNSAFE);
        expect(
          forTerminal(
            tableText([
              [a, b],
              ['x', a],
            ]),
          ).split('\n'),
        ).toHaveLength(2);
      }),
      { numRuns: 2_000 },
    );
  });

  test('our own colours do, where there are colours', () => {
    vi.stubEnv('FORCE_COLOR', '1');
    try {
      const text = forTerminal(paint('red', 'a\u001b[2Jb'));
      // oxlint-disable-next-line no-control-regex
      expect(text.replace(/^\u001b\[31m/, '').replace(/\u001b\[39m$/, '')).toBe('a\\x1b[2Jb');
      const width = tableText([
        [paint('green', 'ab'), 'c'],
        ['abcd', 'd'],
      ]).split('\n')[1];
      expect(width).toBe('abcd  d');
    } finally {
      vi.unstubAllEnvs();
    }
  });

  test('YAML stays YAML, and says the same', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), evil, fc.dictionary(evil, evil)), (value) => {
        const text = yamlText(value);
        expect(text).not.toMatch(UNSAFE);
        expect(parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
      { numRuns: 1_000 },
    );
  });

  test('JSON stays JSON, and says the same', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), evil), (value) => {
        const text = jsonText(value);
        expect(text).not.toMatch(UNSAFE);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
      { numRuns: 2_000 },
    );
  });
});

test('-o takes the formats of the command, and names them', () => {
  expect([format('yaml'), format('sarif', 'sarif')]).toEqual(['yaml', 'sarif']);
  expect(() => format('sarif')).toThrow('-o sarif: write text, json or yaml');
  expect(() => format('xml', 'sarif')).toThrow('-o xml: write text, json, yaml or sarif');
});
