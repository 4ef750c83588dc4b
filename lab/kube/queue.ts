import type { Operations } from '../apiserver/operations.ts';
import type { StoredObject } from '../apiserver/store.ts';

/** Keys that wait for their reconciler. A key that comes again while it waits is one key. */
export class Queue {
  readonly #reconcile: (key: string) => void;
  readonly #onError: (key: string, error: unknown) => void;
  readonly #keys = new Set<string>();
  readonly #failures = new Map<string, number>();
  #scheduled = false;

  constructor(reconcile: (key: string) => void, onError: (key: string, error: unknown) => void) {
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
      try {
        this.#reconcile(key);
        this.#failures.delete(key);
      } catch (error) {
        const n = (this.#failures.get(key) ?? 0) + 1;
        this.#failures.set(key, n);
        this.#onError(key, error);
        this.addLater(key, Math.min(50 * 2 ** n, 5_000));
      }
    }
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
