import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EXIT, EXIT_MEANINGS } from './terminal/exit-codes.ts';
import { makeProgram, run } from './program.ts';

let printed = '';
beforeEach(() => {
  printed = '';
  for (const stream of [process.stdout, process.stderr])
    vi.spyOn(stream, 'write').mockImplementation((text) => {
      printed += String(text);
      return true;
    });
});
afterEach(() => vi.restoreAllMocks());

/** "lab up", "explain", …: every command that there is. */
const all = (command: Command, words: readonly string[] = []): string[][] => [
  [...words],
  ...command.commands.flatMap((c) => all(c, [...words, c.name()])),
];
const COMMANDS = all(makeProgram(() => undefined));

describe('every command ends by one table of exit codes', () => {
  test.each(COMMANDS.map((words) => [words.join(' ')]))(
    'bulkhead %s --help: 0, and it shows the table',
    async (line) => {
      expect(await run([...line.split(' ').filter((w) => w !== ''), '--help'])).toBe(EXIT.yes);
      expect(printed).toMatch(/Exit codes:\n {2}0 {2}.*\n {2}1 {2}.*\n {2}2 {2}.*\n {2}3 {2}/);
    },
  );

  test.each(COMMANDS.map((words) => [words.join(' ')]))('bulkhead %s --no-such-option: 2', async (line) => {
    const words = line.split(' ').filter((w) => w !== '');
    // What follows the pod of `lab exec` is the command's own.
    expect(await run([...words, '--no-such-option', ...(line === 'lab exec' ? ['a/b'] : [])])).toBe(EXIT.usage);
  });

  test.each([
    [['dance'], /unknown command dance/],
    [['dance', '--help'], /unknown command dance/],
    [['--help', 'dance'], /Usage: bulkhead/],
    [['lab', 'dance', '-h'], /unknown command dance.*up, down/s],
    [['policy', 'dance', '--help'], /unknown command dance.*lint/],
    [['help', 'dance'], /unknown command dance/],
  ])('%j', async (words, message) => {
    expect(await run(words)).toBe(words[0] === '--help' ? EXIT.yes : EXIT.usage);
    expect(printed).toMatch(message);
  });

  test('no cluster and no lab: 1, as nothing was asked', async () => {
    expect(await run(['reach', '--name', 'there-is-no-such-lab'])).toBe(EXIT.failed);
    expect(await run(['trace', 'a/b', 'c/d', '--kubeconfig', '/nonexistent'])).toBe(EXIT.failed);
    vi.stubEnv('KUBECONFIG', '');
    vi.stubEnv('KUBERNETES_SERVICE_HOST', undefined);
    vi.stubEnv('HOME', '/nonexistent');
    vi.stubEnv('BULKHEAD_LAB', 'there-is-no-such-lab');
    try {
      for (const words of [['status'], ['explain', '--all'], ['policy', 'lint']])
        expect(await run(words)).toBe(EXIT.failed);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

test('docs/reference/exit-codes.md is the table of the help', () => {
  const rows = [
    ...readFileSync(join(import.meta.dirname, '../docs/reference/exit-codes.md'), 'utf8').matchAll(
      /^\| (\d) \| (.*) \|$/gm,
    ),
  ];
  expect(rows.map(([, code, meaning]) => [Number(code), meaning])).toEqual(EXIT_MEANINGS);
});

test('--log-level stands before the command, and refuses what is no level', async () => {
  expect(await run(['--log-level', 'debug', 'nonsense'])).toBe(EXIT.usage);
  expect(printed).toContain('unknown command nonsense');
  expect(await run(['--log-level', 'loud', 'status'])).toBe(EXIT.usage);
  expect(printed).toContain('silent, fatal, error, warn, info, debug, trace');
});
