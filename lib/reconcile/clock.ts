import { setTimeout as sleepFor } from 'node:timers/promises';

/** Time as a dependency, so that tests can own it. Monotonic: never jumps with the wall clock. */
export type Clock = {
  /** Milliseconds since an arbitrary start. */
  now(): number;
  /** Resolves after `ms`, or at once when the signal fires. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
};

export const systemClock: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) => sleepFor(ms, undefined, signal ? { signal } : {}).catch(() => undefined),
};
