/**
 * Things that hold a file each, the least recently used first. Only so many are kept: the oldest is closed to make room, and opened
 * again when it is asked for. So the number of files does not depend on the number of keys.
 */
export class KeptOpen<K, V extends Disposable> {
  readonly #most: number;
  readonly #open = new Map<K, V>();

  constructor(most: number) {
    this.#most = most;
  }

  /** What is open for the key; else opened now. Throws what `open` throws, when closing others does not help. */
  get(key: K, open: () => V): V {
    const known = this.#open.get(key);
    this.#open.delete(key);
    const value = known ?? this.#openNew(open);
    this.#open.set(key, value);
    return value;
  }

  close(key: K): void {
    const value = this.#open.get(key);
    this.#open.delete(key);
    value?.[Symbol.dispose]();
  }

  #openNew(open: () => V): V {
    while (this.#open.size >= this.#most) this.#closeOldest();
    for (;;) {
      try {
        return open();
      } catch (error) {
        // Out of files: what others hold here is given up first.
        if ((error as NodeJS.ErrnoException).code !== 'EMFILE' || this.#open.size === 0) throw error;
        this.#closeOldest();
      }
    }
  }

  #closeOldest(): void {
    for (const [key] of this.#open) {
      this.close(key);
      return;
    }
  }
}
