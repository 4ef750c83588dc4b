import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Clock } from './clock.ts';
import { breathing } from './breathing.ts';
import { DeltaTracker } from './delta-tracker.ts';
import { Runner } from './runner.ts';

describe('DeltaTracker', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd');
  const value = fc.nat(2);
  const step = fc.oneof(
    fc.record({ do: fc.constant('desire' as const), key, value }),
    fc.record({ do: fc.constant('release' as const), key }),
    fc.record({ do: fc.constant('observed' as const), key, value }),
    fc.record({ do: fc.constant('gone' as const), key }),
    fc.record({
      do: fc.constant('replace' as const),
      entries: fc.uniqueArray(fc.tuple(key, value), { selector: ([k]) => k }),
    }),
  );

  test('from any history, pending is exactly what differs, and writing it reaches the desired state', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const tracker = new DeltaTracker<number>((a, b) => a === b);
        const desired = new Map<string, number>();
        let real = new Map<string, number>();
        for (const s of steps) {
          if (s.do === 'desire') desired.set(s.key, s.value), tracker.desire(s.key, s.value);
          if (s.do === 'release') desired.delete(s.key), tracker.release(s.key);
          if (s.do === 'observed') real.set(s.key, s.value), tracker.observed(s.key, s.value);
          if (s.do === 'gone') real.delete(s.key), tracker.gone(s.key);
          if (s.do === 'replace') (real = new Map(s.entries)), tracker.replaceReal(s.entries);
          const updates = new Set([...tracker.pendingUpdates()].map((u) => u.key));
          const deletions = new Set([...tracker.pendingDeletions()].map((d) => d.key));
          expect(updates).toEqual(new Set([...desired].filter(([k, v]) => real.get(k) !== v).map(([k]) => k)));
          expect(deletions).toEqual(new Set([...real.keys()].filter((k) => !desired.has(k))));
        }
        for (const { key: k, value: v } of tracker.pendingUpdates()) tracker.observed(k, v);
        for (const { key: k } of tracker.pendingDeletions()) tracker.gone(k);
        expect(tracker.pending).toBe(0);
        expect(new Map(tracker.real)).toEqual(desired);
      }),
    );
  });
});

/** Time that moves when it is told to. */
class FakeClock implements Clock {
  #now = 0;
  readonly #sleepers: { at: number; wake: () => void }[] = [];
  now(): number {
    return this.#now;
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#sleepers.push({ at: this.#now + ms, wake: resolve });
      signal?.addEventListener('abort', () => resolve());
    });
  }
  async advance(ms: number): Promise<void> {
    this.#now += ms;
    for (const s of this.#sleepers.splice(0)) {
      if (s.at <= this.#now) s.wake();
      else this.#sleepers.push(s);
    }
    await settle();
  }
}
const settle = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

describe('Runner', () => {
  test('joins requests, keeps its distance, and tries again after a failure', async () => {
    const clock = new FakeClock();
    const runs: number[] = [];
    let fail = false;
    const runner = new Runner(
      () => {
        runs.push(clock.now());
        if (fail) throw new Error('no');
      },
      { minIntervalMs: 100, retryMs: 1000, maxRetryMs: 4000, clock },
    ).start();
    await settle();
    expect(runs).toEqual([]);
    for (let i = 0; i < 5; i++) runner.request();
    await settle();
    expect(runs).toEqual([0]);
    runner.request();
    await settle();
    expect(runs).toEqual([0]);
    await clock.advance(100);
    expect(runs).toEqual([0, 100]);
    await clock.advance(1000);
    fail = true;
    runner.request();
    await settle();
    expect(runs).toEqual([0, 100, 1100]);
    await clock.advance(1000);
    expect(runs).toEqual([0, 100, 1100, 2100]);
    fail = false;
    await clock.advance(2000);
    expect(runs).toEqual([0, 100, 1100, 2100, 4100]);
    await clock.advance(10_000);
    expect(runs).toHaveLength(5);
    await runner[Symbol.asyncDispose]();
  });
});

describe('breathing', () => {
  test('what is urgent goes on until it is done, and no longer than it may', async () => {
    let now = 0;
    let left = 3;
    let asked = 0;
    const urgent = (): boolean => {
      asked++;
      now += 10;
      return --left > 0;
    };
    const breath = breathing(10, { urgent, mostMs: 1_000, now: () => now });
    await breath();
    expect(asked).toBe(0); // too little has been done for a pause
    now = 20;
    await breath();
    expect([asked, left]).toEqual([3, 0]);
    left = 1_000;
    now += 20;
    await breath();
    expect(asked).toBeLessThan(110);
  });
});
