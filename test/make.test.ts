import { execFileSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const make = (...words: string[]): string =>
  execFileSync('make', ['--no-print-directory', ...words], { cwd: root, encoding: 'utf8' });

test('make prints every word with what it does, grouped', () => {
  const [, phony = ''] = /^\.PHONY:((?:.*\\\n)*.*)$/m.exec(readFileSync(join(root, 'Makefile'), 'utf8')) ?? [];
  const words = phony.split(/[\s\\]+/).filter((w) => w !== '');
  expect(words.length).toBeGreaterThan(20);
  const help = make();
  expect(help).toBe(make('help'));
  const told = [...help.matchAll(/^ {2}make (\S+) +\S/gm)].map(([, word = '']) => word);
  expect(told.sort()).toEqual(words.sort());
  expect(help.match(/^\S.*$/gm)?.length).toBeGreaterThan(3);
});

test('every script that a word calls is there and can be run', () => {
  for (const [, script = ''] of readFileSync(join(root, 'Makefile'), 'utf8').matchAll(/\b(hack\/[\w/-]+\.sh)/g))
    accessSync(join(root, script), constants.X_OK);
});
