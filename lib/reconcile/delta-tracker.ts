/**
 * Desired against real, for one kind of thing.
 *
 * The owner says what should be (`desire`, `release`), the driver says what is (`observed`, `gone`, `replaceReal`),
 * and `pendingUpdates` / `pendingDeletions` are exactly what differs. They are kept up to date on every call, so asking
 * costs nothing and a batch costs only its own size.
 *
 * Invariants: a key is in at most one of the two pending sets; with both empty, desired equals real.
 */
export class DeltaTracker<V> {
  readonly #desired = new Map<string, V>();
  readonly #real = new Map<string, V>();
  readonly #updates = new Set<string>();
  readonly #deletions = new Set<string>();
  readonly #equal: (a: V, b: V) => boolean;

  /** @param equal whether the kernel's value needs no change to be the desired one */
  constructor(equal: (a: V, b: V) => boolean) {
    this.#equal = equal;
  }

  /** From now on `key` should have this value. */
  desire(key: string, value: V): void {
    this.#desired.set(key, value);
    this.#judge(key);
  }

  /** From now on `key` should not exist. */
  release(key: string): void {
    this.#desired.delete(key);
    this.#judge(key);
  }

  /** The driver wrote or saw this value. */
  observed(key: string, value: V): void {
    this.#real.set(key, value);
    this.#judge(key);
  }

  /** The driver removed the key, or saw that it is not there. */
  gone(key: string): void {
    this.#real.delete(key);
    this.#judge(key);
  }

  /** A fresh dump: all that really is. */
  replaceReal(real: Iterable<readonly [string, V]>): void {
    const before = [...this.#real.keys()];
    this.#real.clear();
    for (const [key, value] of real) this.#real.set(key, value);
    for (const key of new Set([...before, ...this.#real.keys(), ...this.#desired.keys()])) this.#judge(key);
  }

  /** What must be written, in the order in which it was desired. */
  *pendingUpdates(): Generator<{ readonly key: string; readonly value: V; readonly real: V | undefined }> {
    for (const key of [...this.#updates]) {
      const value = this.#desired.get(key);
      if (value !== undefined) yield { key, value, real: this.#real.get(key) };
    }
  }

  /** What must be removed. */
  *pendingDeletions(): Generator<{ readonly key: string; readonly real: V }> {
    for (const key of [...this.#deletions]) {
      const real = this.#real.get(key);
      if (real !== undefined) yield { key, real };
    }
  }

  /** What should be, in the order in which it was desired. */
  get desired(): ReadonlyMap<string, V> {
    return this.#desired;
  }

  /** What is, for all that is known. */
  get real(): ReadonlyMap<string, V> {
    return this.#real;
  }

  /** How many keys differ; 0: desired equals real. */
  get pending(): number {
    return this.#updates.size + this.#deletions.size;
  }

  #judge(key: string): void {
    const desired = this.#desired.get(key);
    const real = this.#real.get(key);
    if (this.#updates.size > 0) this.#updates.delete(key);
    if (this.#deletions.size > 0) this.#deletions.delete(key);
    if (desired === undefined) {
      if (real !== undefined) this.#deletions.add(key);
    } else if (real === undefined || (desired !== real && !this.#equal(desired, real))) {
      this.#updates.add(key);
    }
  }
}
