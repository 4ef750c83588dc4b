import { type Clock, systemClock } from './clock.ts';

/** When a {@link Runner} runs. All in milliseconds. */
export type RunnerOptions = {
  /** At least this long between the starts of two runs; requests in between are joined. */
  readonly minIntervalMs: number;
  /** At most this part of the time is spent in runs that take long: the rest belongs to everything else on this thread. 1 when not given. */
  readonly share?: number;
  /** First pause after a failed run; doubles up to `maxRetryMs`. */
  readonly retryMs?: number;
  readonly maxRetryMs?: number;
  /** Run at least this often, asked or not; asked for before each pause when it changes. */
  readonly maxIntervalMs?: number | (() => number);
  readonly clock?: Clock;
  readonly onError?: (error: unknown) => void;
};

/**
 * Bounded-frequency runner: any number of `request()` calls become few runs, never two at once, and a failed run is
 * tried again until one succeeds.
 */
export class Runner {
  readonly #work: () => Promise<void> | void;
  readonly #options: Required<Omit<RunnerOptions, 'maxIntervalMs' | 'onError' | 'share'>> & RunnerOptions;
  readonly #stop = new AbortController();
  #wake: (() => void) | undefined;
  #wanted = false;
  #loop: Promise<void> | undefined;

  constructor(work: () => Promise<void> | void, options: RunnerOptions) {
    this.#work = work;
    this.#options = { retryMs: 100, maxRetryMs: 10_000, clock: systemClock, ...options };
  }

  /** Starts the loop. Nothing runs before the first request. */
  start(): this {
    this.#loop ??= this.#run();
    return this;
  }

  /** Asks for a run, soon. */
  request(): void {
    this.#wanted = true;
    this.#wake?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#wake?.();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const { clock, minIntervalMs, retryMs, maxRetryMs, maxIntervalMs, onError, share = 1 } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      if (!this.#wanted) await this.#nextRequest(maxIntervalMs);
      if (signal.aborted) return;
      this.#wanted = false;
      const started = clock.now();
      try {
        await this.#work();
        failures = 0;
      } catch (error) {
        failures++;
        this.#wanted = true;
        onError?.(error);
      }
      const took = clock.now() - started;
      const rest = Math.max(minIntervalMs - took, took * (1 / share - 1));
      const pause = failures > 0 ? Math.min(retryMs * 2 ** (failures - 1), maxRetryMs) : rest;
      if (pause > 0) await clock.sleep(pause, signal);
    }
  }

  async #nextRequest(maxIntervalMs: RunnerOptions['maxIntervalMs']): Promise<void> {
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    if (maxIntervalMs === undefined) return await woken;
    const cancel = new AbortController();
    await Promise.race([
      woken,
      this.#options.clock.sleep(
        typeof maxIntervalMs === 'function' ? maxIntervalMs() : maxIntervalMs,
        AbortSignal.any([cancel.signal, this.#stop.signal]),
      ),
    ]);
    cancel.abort();
  }
}
