/** Resolves when work may go on. */
export type Breath = () => Promise<void>;

/**
 * For work that is done in steps on a thread that has other things to do: between two steps, it lets all that waits have its turn, once
 * the work has gone on for some time.
 */
export function breathing(ms: number, now: () => number = () => performance.now()): Breath {
  let since = now();
  return async () => {
    if (now() - since < ms) return;
    await new Promise<void>((resolve) => setImmediate(resolve));
    since = now();
  };
}
