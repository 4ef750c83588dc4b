import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { HOLES } from './attacks/rows/holes.ts';
import { REFUSED } from './attacks/rows/refused.ts';
import { REPORTS } from './attacks/rows/reports.ts';

const root = join(import.meta.dirname, '..');
const ROWS = [...HOLES, ...REFUSED, ...REPORTS];
const all = ROWS.flatMap(({ row, shownBy }) =>
  shownBy.map((shown) => {
    const [file = '', title = ''] = shown.split(' › ');
    return { row, file, title };
  }),
);

test('every attack that is known has its tests, and they are there', () => {
  const sources = new Map<string, string>();
  const missing = all.filter(({ file, title }) => {
    const path = join(root, file);
    if (!existsSync(path)) return true;
    const source = sources.get(file) ?? readFileSync(path, 'utf8').replaceAll("\\'", "'");
    sources.set(file, source);
    return !source.includes(title);
  });
  expect(missing).toEqual([]);
});

test('no number is left out or used twice', () => {
  const numbers = (prefix: string, count: number, without: readonly number[] = []): string[] =>
    Array.from({ length: count }, (_, i) => i + 1)
      .filter((n) => !without.includes(n))
      .map((n) => `${prefix}${n}`);
  expect(ROWS.map((r) => r.row)).toEqual([
    ...numbers('V', 14),
    ...numbers('R', 23),
    ...numbers('N', 12, [8]),
    ...numbers('beside ', 3),
  ]);
});
