import { expect, test } from 'vitest';
import { type Loop, Loops } from './loops.ts';

const table = {
  fast: { what: 'the fast one', log: 'warn', minIntervalMs: 0, maxIntervalMs: 60_000, retryMs: 1 },
  idle: { what: 'the idle one', log: 'debug', minIntervalMs: 0 },
} as const satisfies Record<string, Loop>;

const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
};

test('a loop runs when it is started, when it is asked for, and as often as its interval says', async () => {
  const runs = { fast: 0, idle: 0 };
  await using loops = new Loops(
    table,
    { fast: () => void runs.fast++, idle: () => void runs.idle++ },
    { onTrouble: () => undefined, maxIntervalMs: { fast: () => 1 } },
  );
  loops.request('idle');
  loops.start('fast');
  await until(() => runs.fast > 3);
  expect(runs.idle).toBe(0);
  loops.start('idle');
  await until(() => runs.idle === 1);
});

test('the same failure is told once, and again after a success', async () => {
  const told: string[] = [];
  const failures = ['x', 'x', 'y', '', 'y'];
  let runs = 0;
  await using loops = new Loops(
    table,
    {
      fast: () => {
        const failure = failures[runs++];
        if (failure) throw new Error(failure);
      },
      idle: () => undefined,
    },
    {
      onTrouble: ({ what }, error) => told.push(`${what}: ${(error as Error).message}`),
      maxIntervalMs: { fast: () => 1 },
    },
  );
  loops.start('fast');
  await until(() => runs > failures.length);
  expect(told).toEqual(['the fast one: x', 'the fast one: y', 'the fast one: y']);
});
