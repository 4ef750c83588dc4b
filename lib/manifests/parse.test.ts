import { describe, expect, test } from 'vitest';
import { parseManifestText } from './parse.ts';

const values = (text: string): unknown[] => {
  const { documents, problems } = parseManifestText(text);
  expect(problems).toEqual([]);
  return documents.map(({ value }) => value);
};

// What stands on the right is what `kubectl label --local -o json` makes of the text on the left.
test.each<[name: string, text: string, value: unknown]>([
  ['words of YAML 1.1 for true and false', 'a: [yes, on, y, off, No]', { a: [true, true, true, false, false] }],
  ['dates are text', 'a: 2024-01-01T00:00:00Z\nb: 2024-01-01', { a: '2024-01-01T00:00:00Z', b: '2024-01-01' }],
  ['numbers to the base of 60 are text', 'a: 22:22', { a: '22:22' }],
  ['octal numbers, and separators', 'a: 0120\nb: 8_080', { a: 80, b: 8080 }],
  [
    'merge keys',
    'a: &x {b: 1}\nc: {<<: *x, d: 2}\ne: {<<: [*x, {f: 3}]}',
    { a: { b: 1 }, c: { b: 1, d: 2 }, e: { b: 1, f: 3 } },
  ],
  ['two merge keys', 'a: &x {b: 1}\nc:\n  <<: *x\n  <<: {d: 2}', { a: { b: 1 }, c: { b: 1, d: 2 } }],
  ['own keys win over merged ones', 'a: &x {b: 1}\nc: {b: 2, <<: *x}', { a: { b: 1 }, c: { b: 2 } }],
  ['CRLF and a byte order mark', '\ufeffa: b\r\nc:\r\n- d\r\n', { a: 'b', c: ['d'] }],
  [
    'tabs inside flow collections',
    'a: {\n\t"b": "c",\n\td: e}\nf: [\n\t{g: h}]',
    { a: { b: 'c', d: 'e' }, f: [{ g: 'h' }] },
  ],
  ['a tab before one item of many', 'a: [\n  b,\n \tc,\n  d\n  ]\ne: 1', { a: ['b', 'c', 'd'], e: 1 }],
  ['a tab in a quoted scalar', 'a:\n  b: "c\n\td"', { a: { b: 'c d' } }],
  ['tabs between tokens', 'a:\tb\nc: d\t# e', { a: 'b', c: 'd' }],
  ['tabs in a literal are text', 'a: |\n  x\n  \ty\nb: [\n\tc]', { a: 'x\n\ty\n', b: ['c'] }],
  ['keys that are no text', '{1: a, true: b}: c'.slice(0, 15), { 1: 'a', true: 'b' }],
])('%s', (_, text, value) => {
  expect(values(text)).toEqual([value]);
});

test.each<[name: string, text: string, problem: RegExp]>([
  ['a tab as indentation', 'a:\n- b: c\n\td: e', /^3: /],
  ['a tab after a dash', 'a:\n-\tb: c\n  \td: e', /Tabs/],
  ['an anchor that holds itself', 'a: &x\n  b: *x', /^2: anchor x holds itself/],
  [
    'an alias of an anchor of another document',
    'a: &x b\n---\nc: d\ne: *x',
    /^4: no anchor x stands before this alias/,
  ],
  ['an alias before its anchor', 'a: *x\nb: &x c', /^1: no anchor x/],
  ['a template', 'a:\n  b: {{ c }}', /^2: .*template/],
  ['very deep', `a: ${'['.repeat(50_000)}`, /nested too deep/],
  ['very deep JSON', `{"a": ${'['.repeat(300_000)}${']'.repeat(300_000)}}`, /^1: is nested too deep/],
  ['very deep, in blocks', '- '.repeat(50_000), /nested too deep/],
])('%s is a problem', (_, text, problem) => {
  expect(parseManifestText(text).problems.join('\n')).toMatch(problem);
});

describe('aliases', () => {
  test('hundreds of aliases of one anchor are no bomb', () => {
    const uses = Array.from({ length: 500 }, (_, i) => `k${i}: {<<: *x}`);
    expect(Object.keys(values(['x: &x {a: b}', ...uses].join('\n'))[0] as object)).toHaveLength(501);
  });

  test.each([
    [
      'lists',
      'a: &a [x,x,x,x,x,x,x,x,x,x]',
      (last: string) => `[${Array.from({ length: 10 }, () => `*${last}`).join(',')}]`,
    ],
    [
      'merges of a large map',
      `a: &a {${Array.from({ length: 10 }, (_, i) => `a${i}: 1`).join(', ')}}`,
      (last: string, next: string) =>
        `{${Array.from({ length: 10 }, (_, i) => `${next}${i}: {<<: *${last}}`).join(', ')}}`,
    ],
  ])('%s that multiply each other are refused at once', (_, first, make) => {
    const lines = [first];
    for (const [last = '', next = ''] of ['ab', 'bc', 'cd', 'de', 'ef', 'fg', 'gh', 'hi', 'ij'])
      lines.push(`${next}: &${next} ${make(last, next)}`);
    expect(parseManifestText(lines.join('\n')).problems.join()).toMatch(/Excessive alias count/);
  });
});

test('of equal keys the last counts, as for kubectl, and a warning says so', () => {
  const { documents, warnings } = parseManifestText('a: 1\nb: 2\na: 3\n');
  expect(documents.map((d) => d.value)).toEqual([{ a: 3, b: 2 }]);
  expect(warnings).toEqual([expect.stringMatching(/^3: /)]);
});

test('JSON values in a row, with their lines', () => {
  const { documents } = parseManifestText('{"a": "}{"}\n{"b": ["]", {}]}\n\n{"c":1}\n');
  expect(documents.map(({ value, lineOf }) => [value, lineOf([])])).toEqual([
    [{ a: '}{' }, 1],
    [{ b: [']', {}] }, 2],
    [{ c: 1 }, 4],
  ]);
});

test('a YAML flow mapping in braces is YAML', () => {
  expect(values('{a: b, # c\n d: e}')).toEqual([{ a: 'b', d: 'e' }]);
});

test('lines of parts', () => {
  const [document] = parseManifestText('# c\nkind: List\nitems:\n- a: 1\n\n- b: 2\n').documents;
  expect([document?.lineOf([]), document?.lineOf(['items', 0]), document?.lineOf(['items', 1])]).toEqual([2, 4, 6]);
});
