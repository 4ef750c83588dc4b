/** Resolves when work may go on. */
export type Breath = () => Promise<void>;

/** Who goes first where work is done in steps. */
export type Breathing = {
  /** Whether something is under way that is not to wait; it has its turn until it is done, but no longer than `mostMs`. */
  readonly urgent?: () => boolean;
  readonly mostMs?: number;
  readonly now?: () => number;
};

/**
 * For work that is done in steps on a thread that has other things to do: between two steps, it lets all that waits have its turn, once
 * the work has gone on for some time. What is urgent has as many turns as it needs: each of its own steps would else wait for one of these.
 */
export function breathing(ms: number, options: Breathing = {}): Breath {
  const { urgent = () => false, mostMs = 50, now = () => performance.now() } = options;
  let since = now();
  return async () => {
    if (now() - since < ms) return;
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (const until = now() + mostMs; urgent() && now() < until; )
      await new Promise<void>((resolve) => setTimeout(resolve, 1));
    since = now();
  };
}
