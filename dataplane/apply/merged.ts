import type { DeltaTracker } from '../../lib/reconcile/delta-tracker.ts';

/**
 * One kind of thing, wanted by several owners. A key is desired as long as one owner wants it; the last to say so
 * gives the value.
 */
export class Merged<V> {
  readonly #tracker: DeltaTracker<V>;
  readonly #wanted = new Map<string, Map<string, V>>();
  readonly #byOwner = new Map<string, Set<string>>();

  constructor(tracker: DeltaTracker<V>) {
    this.#tracker = tracker;
  }

  /** From now on `owner` wants exactly these. */
  set(owner: string, values: ReadonlyMap<string, V>): void {
    const before = this.#byOwner.get(owner);
    for (const [key, value] of values) {
      const owners = this.#wanted.get(key) ?? new Map<string, V>();
      owners.delete(owner); // to the end: the newest wish counts
      owners.set(owner, value);
      this.#wanted.set(key, owners);
      this.#tracker.desire(key, value);
    }
    for (const key of before ?? []) if (!values.has(key)) this.#drop(owner, key);
    if (values.size > 0) this.#byOwner.set(owner, new Set(values.keys()));
    else this.#byOwner.delete(owner);
  }

  #drop(owner: string, key: string): void {
    const owners = this.#wanted.get(key);
    owners?.delete(owner);
    const last = owners && [...owners.values()].at(-1);
    if (last === undefined) {
      this.#wanted.delete(key);
      this.#tracker.release(key);
    } else {
      this.#tracker.desire(key, last);
    }
  }
}
