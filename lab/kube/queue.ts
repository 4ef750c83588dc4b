import type { Operations } from '../apiserver/operations.ts';
import type { StoredObject } from '../apiserver/objects/store.ts';

/**
 * Keys that wait for their reconciler. A key that comes again while it waits is one key; one that comes while its reconciler is
 * still busy with it waits until that is done.
 */
export class Queue {
  readonly #reconcile: (key: string) => void | Promise<void>;
  readonly #onError: (key: string, error: unknown) => void;
  readonly #keys = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #busy = new Set<string>();
  readonly #again = new Set<string>();
  #scheduled = false;

  constructor(reconcile: (key: string) => void | Promise<void>, onError: (key: string, error: unknown) => void) {
    this.#reconcile = reconcile;
    this.#onError = onError;
  }

  add(key: string): void {
    this.#keys.add(key);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#drain());
  }

  addLater(key: string, ms: number): void {
    setTimeout(() => this.add(key), ms).unref();
  }

  #drain(): void {
    this.#scheduled = false;
    const keys = [...this.#keys];
    this.#keys.clear();
    for (const key of keys) {
      if (this.#busy.has(key)) this.#again.add(key);
      else this.#run(key);
    }
  }

  #run(key: string): void {
    try {
      const work = this.#reconcile(key);
      if (!work) {
        this.#failures.delete(key);
        return;
      }
      this.#busy.add(key);
      void work
        .then(
          () => this.#failures.delete(key),
          (error: unknown) => this.#failed(key, error),
        )
        .finally(() => {
          this.#busy.delete(key);
          if (this.#again.delete(key)) this.add(key);
        });
    } catch (error) {
      this.#failed(key, error);
    }
  }

  #failed(key: string, error: unknown): void {
    const n = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, n);
    this.#onError(key, error);
    this.addLater(key, Math.min(50 * 2 ** n, 5_000));
  }
}

/** Calls `onEvent` for each object of a kind: those there are, and each that changes. */
export function follow(
  ops: Operations,
  kind: string,
  group: string,
  onEvent: (object: StoredObject, gone: boolean) => void,
): void {
  const type = ops.resources.kind(kind, group);
  for (const o of ops.store.all(type)) onEvent(o, false);
  ops.store.subscribe(type, (e) => onEvent(e.object, e.type === 'DELETED'));
}

export const keyOf = (o: StoredObject): string => `${o.metadata.namespace ?? ''}/${o.metadata.name}`;
export const splitKey = (key: string): { namespace: string; name: string } => {
  const at = key.indexOf('/');
  return { namespace: key.slice(0, at), name: key.slice(at + 1) };
};
