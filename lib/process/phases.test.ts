import { describe, expect, test } from 'vitest';
import { type Phase, runPhases } from './phases.ts';

/** A program that notes its phases, and ends when `until` is reached. */
function program(o: { stay?: string; until?: string; fails?: string } = {}) {
  const end = new AbortController();
  const done: string[] = [];
  const phase =
    (name: string): Phase =>
    async () => {
      await Promise.resolve();
      done.push(name);
      if (o.fails === name) throw new Error(`${name} failed`);
      if (o.until === name) end.abort();
      return o.stay === name ? 'stay' : 'go on';
    };
  const stop = async (): Promise<void> => void (await phase('stop')(end.signal));
  const phases = ['follow', 'open', 'serve'].map(phase);
  return { done, run: () => runPhases(phases, { stop, signal: end.signal }) };
}

describe('the phases of a program', () => {
  test('come one after the other, and stop comes when the signal fires', async () => {
    const { done, run } = program({ until: 'serve' });
    await run();
    expect(done).toEqual(['follow', 'open', 'serve', 'stop']);
  });

  test.each(['follow', 'open'])('a signal during %s ends it there', async (until) => {
    const { done, run } = program({ until });
    await run();
    expect(done).toEqual(until === 'follow' ? ['follow', 'stop'] : ['follow', 'open', 'stop']);
  });

  test('one that stays opens nothing more, until the signal', async () => {
    const { done, run } = program({ stay: 'follow' });
    const ended = run().then(() => 'ended');
    expect(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 20, 'stays'))])).toBe('stays');
    expect(done).toEqual(['follow']);
  });

  test.each(['follow', 'open', 'serve'])('when %s fails, all is let go, and the error goes on', async (fails) => {
    const { done, run } = program({ fails });
    await expect(run()).rejects.toThrow(`${fails} failed`);
    expect(done.slice(-2)).toEqual([fails, 'stop']);
  });
});
