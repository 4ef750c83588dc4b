import type { DeltaTracker } from '../../lib/reconcile/delta-tracker.ts';

/** Who wants a key: nearly always one alone, and there are hundreds of thousands of keys. */
type Wanted<V> = { readonly owner: string; readonly value: V } | Map<string, V>;

/**
 * One kind of thing, wanted by several owners. A key is desired as long as one owner wants it; the last to say so
 * gives the value.
 */
export class Merged<V> {
  readonly #tracker: DeltaTracker<V>;
  readonly #wanted = new Map<string, Wanted<V>>();
  readonly #byOwner = new Map<string, readonly string[]>();

  constructor(tracker: DeltaTracker<V>) {
    this.#tracker = tracker;
  }

  /** From now on `owner` wants exactly these. */
  set(owner: string, values: ReadonlyMap<string, V>): void {
    const before = this.#byOwner.get(owner);
    for (const [key, value] of values) {
      this.#want(owner, key, value);
      this.#tracker.desire(key, value);
    }
    for (const key of before ?? []) if (!values.has(key)) this.#drop(owner, key);
    if (values.size > 0) this.#byOwner.set(owner, [...values.keys()]);
    else this.#byOwner.delete(owner);
  }

  #want(owner: string, key: string, value: V): void {
    const known = this.#wanted.get(key);
    if (known === undefined || (!(known instanceof Map) && known.owner === owner)) {
      this.#wanted.set(key, { owner, value });
      return;
    }
    const owners = known instanceof Map ? known : new Map([[known.owner, known.value]]);
    owners.delete(owner); // to the end: the newest wish counts
    this.#wanted.set(key, owners.set(owner, value));
  }

  #drop(owner: string, key: string): void {
    const known = this.#wanted.get(key);
    if (known instanceof Map) {
      known.delete(owner);
      const last = [...known].at(-1);
      if (last === undefined) this.#wanted.delete(key);
      else {
        if (known.size === 1) this.#wanted.set(key, { owner: last[0], value: last[1] });
        return this.#tracker.desire(key, last[1]);
      }
    } else if (known?.owner === owner) this.#wanted.delete(key);
    else return;
    this.#tracker.release(key);
  }
}
