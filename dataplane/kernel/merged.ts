import type { DeltaTracker } from '../../lib/reconcile/delta-tracker.ts';

/** Who wants a key: nearly always one alone, and there are hundreds of thousands of keys. */
type Wanted<V> = { readonly owner: string; readonly value: V } | Shared<V>;

/** Thousands of ports may lead to one backend. The newest gives the value. */
type Shared<V> = { readonly owners: Map<string, V>; newest: string };

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
    if (known === undefined || ('owner' in known && known.owner === owner)) {
      this.#wanted.set(key, { owner, value });
      return;
    }
    const shared = 'owner' in known ? { owners: new Map([[known.owner, known.value]]), newest: owner } : known;
    shared.owners.delete(owner); // to the end: the newest wish counts
    shared.owners.set(owner, value);
    shared.newest = owner;
    this.#wanted.set(key, shared);
  }

  #drop(owner: string, key: string): void {
    const known = this.#wanted.get(key);
    if (known === undefined) return;
    if ('owner' in known) {
      if (known.owner !== owner) return;
      this.#wanted.delete(key);
      this.#tracker.release(key);
      return;
    }
    known.owners.delete(owner);
    // Those that wished first go first, as a rule: only then is there no walk over all the others.
    if (known.newest === owner) known.newest = [...known.owners.keys()].at(-1) ?? '';
    const value = known.owners.get(known.newest) as V;
    if (known.owners.size === 1) this.#wanted.set(key, { owner: known.newest, value });
    this.#tracker.desire(key, value);
  }
}
