import { Command } from 'commander';
import { afterEach, expect, test } from 'vitest';
import { LOG_LEVEL_VARIABLE, LOG_LEVELS, openLog, takeLogLevel } from './log.ts';

afterEach(() => {
  delete process.env[LOG_LEVEL_VARIABLE];
});

/** The level that a program with these arguments has when its action runs. */
async function levelOf(...argv: string[]): Promise<string> {
  const log = openLog('test');
  const program = new Command('test').exitOverride().configureOutput({ writeErr: () => undefined });
  takeLogLevel(program, log);
  let level = '';
  const note = (): void => {
    level = log.level;
  };
  program.action(note);
  program.command('sub').action(note);
  await program.parseAsync(argv, { from: 'user' });
  return level;
}

test('the flag counts before the variable, the variable before the default, in subcommands too', async () => {
  expect(await levelOf()).toBe('info');
  for (const level of LOG_LEVELS) expect(await levelOf('--log-level', level, 'sub')).toBe(level);
  process.env[LOG_LEVEL_VARIABLE] = 'debug';
  expect(await levelOf('sub')).toBe('debug');
  expect(await levelOf('--log-level', 'warn')).toBe('warn');
});

test('a word that is no level is refused, from either place', async () => {
  await expect(levelOf('--log-level', 'loud')).rejects.toThrow(/silent, fatal, error, warn, info, debug, trace/);
  process.env[LOG_LEVEL_VARIABLE] = 'loud';
  await expect(levelOf()).rejects.toThrow(/BULKHEAD_LOG_LEVEL/);
});
