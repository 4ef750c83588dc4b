import { randomUUID } from 'node:crypto';
import { ApiError, conflict, notFound } from '../model/error.ts';
import { timestamp } from '../../../lib/kube/client.ts';
import type { ResourceType } from './resources.ts';

/** An object as the API holds it. Never changed in place: every write makes a new one. */
export type StoredObject = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Meta;
  readonly [field: string]: unknown;
};
export type Meta = {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly creationTimestamp: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
  readonly deletionTimestamp?: string;
  readonly [field: string]: unknown;
};
export type OwnerReference = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
};

export type StoreEvent = {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: StoredObject;
  readonly version: number;
};

type Shelf = {
  readonly objects: Map<string, StoredObject>;
  readonly history: StoreEvent[];
  compactedTo: number;
  readonly watchers: Set<(e: StoreEvent) => void>;
};

/** Events kept per resource for watches that come back; older ones are answered with 410. */
const HISTORY = 5_000;

/** All objects, in memory, with one counter of versions. Every write is told to watchers in order, before it returns. */
export class Store {
  readonly #shelves = new Map<string, Shelf>();
  #version = 1;

  get version(): number {
    return this.#version;
  }

  get(type: ResourceType, namespace: string | undefined, name: string): StoredObject | undefined {
    return this.#shelf(type).objects.get(keyOf(namespace, name));
  }

  must(type: ResourceType, namespace: string | undefined, name: string): StoredObject {
    const found = this.get(type, namespace, name);
    if (!found) throw notFound(resourceName(type), name);
    return found;
  }

  /** Sorted by key, so that pages are stable. */
  list(type: ResourceType, namespace?: string): StoredObject[] {
    const all = [...this.#shelf(type).objects.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, o]) => o);
    return namespace === undefined ? all : all.filter((o) => o.metadata.namespace === namespace);
  }

  /** Unsorted and uncopied, for controllers. */
  all(type: ResourceType): Iterable<StoredObject> {
    return this.#shelf(type).objects.values();
  }

  create(type: ResourceType, object: { readonly metadata: object; readonly [field: string]: unknown }): StoredObject {
    const given = object.metadata as Partial<Meta> & { generateName?: string };
    const name = given.name ?? `${given.generateName ?? ''}${randomSuffix()}`;
    const key = keyOf(given.namespace, name);
    if (this.#shelf(type).objects.has(key))
      throw new ApiError(409, 'AlreadyExists', `${resourceName(type)} "${name}" already exists`);
    const metadata: Meta = {
      ...given,
      name,
      uid: randomUUID(),
      creationTimestamp: timestamp(),
      resourceVersion: '',
      generation: 1,
    };
    return this.#write(type, key, 'ADDED', { ...object, apiVersion: apiVersion(type), kind: type.kind, metadata });
  }

  /** Replaces an object. With a resourceVersion in it, only if that is still the present one. Writes nothing when nothing differs. */
  update(type: ResourceType, object: StoredObject): StoredObject {
    const { name, namespace, resourceVersion, uid } = object.metadata;
    const before = this.must(type, namespace, name);
    if (resourceVersion !== undefined && resourceVersion !== '' && resourceVersion !== before.metadata.resourceVersion)
      throw conflict(resourceName(type), name);
    if (uid !== undefined && uid !== '' && uid !== before.metadata.uid) throw conflict(resourceName(type), name);
    const { uid: keptUid, creationTimestamp, resourceVersion: version } = before.metadata;
    const specChanged = JSON.stringify(before['spec']) !== JSON.stringify(object['spec']);
    const generation = (before.metadata.generation ?? 1) + (specChanged ? 1 : 0);
    const next: StoredObject = {
      ...object,
      apiVersion: apiVersion(type),
      kind: type.kind,
      metadata: { ...object.metadata, uid: keptUid, creationTimestamp, resourceVersion: version, generation },
    };
    if (JSON.stringify(next) === JSON.stringify(before)) return before;
    const key = keyOf(namespace, name);
    // The last finalizer is gone from an object that waits for its end.
    if (
      next.metadata.deletionTimestamp !== undefined &&
      (next.metadata.finalizers ?? []).length === 0 &&
      !isGraceful(type, next)
    )
      return this.#remove(type, key, next);
    return this.#write(type, key, 'MODIFIED', next);
  }

  /** Removes now, whatever finalizers say. */
  remove(type: ResourceType, object: StoredObject): StoredObject {
    return this.#remove(type, keyOf(object.metadata.namespace, object.metadata.name), object);
  }

  /** Events after `since`, and then all that come. Throws 410 when the history does not reach back so far. */
  watch(type: ResourceType, since: number, onEvent: (e: StoreEvent) => void): () => void {
    const shelf = this.#shelf(type);
    if (since < shelf.compactedTo)
      throw new ApiError(410, 'Expired', `too old resource version: ${since} (${shelf.compactedTo})`);
    for (const event of shelf.history) if (event.version > since) onEvent(event);
    shelf.watchers.add(onEvent);
    return () => shelf.watchers.delete(onEvent);
  }

  /** Tells of each change from now on. */
  subscribe(type: ResourceType, onEvent: (e: StoreEvent) => void): () => void {
    return this.watch(type, this.#version, onEvent);
  }

  /** Forgets history, as a compaction does: watches that come back get 410. For tests of clients. */
  compact(): void {
    for (const shelf of this.#shelves.values()) {
      shelf.history.length = 0;
      shelf.compactedTo = this.#version;
    }
  }

  #shelf(type: ResourceType): Shelf {
    const id = `${type.group}/${type.plural}`;
    const found = this.#shelves.get(id);
    if (found) return found;
    const shelf: Shelf = { objects: new Map(), history: [], compactedTo: 0, watchers: new Set() };
    this.#shelves.set(id, shelf);
    return shelf;
  }

  #write(type: ResourceType, key: string, event: 'ADDED' | 'MODIFIED', object: StoredObject): StoredObject {
    const version = ++this.#version;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    this.#shelf(type).objects.set(key, stored);
    this.#tell(type, { type: event, object: stored, version });
    return stored;
  }

  #remove(type: ResourceType, key: string, object: StoredObject): StoredObject {
    const version = ++this.#version;
    const last = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    this.#shelf(type).objects.delete(key);
    this.#tell(type, { type: 'DELETED', object: last, version });
    return last;
  }

  #tell(type: ResourceType, event: StoreEvent): void {
    const shelf = this.#shelf(type);
    shelf.history.push(event);
    if (shelf.history.length > HISTORY) {
      const dropped = shelf.history.splice(0, HISTORY / 2);
      shelf.compactedTo = dropped.at(-1)?.version ?? shelf.compactedTo;
    }
    for (const watcher of [...shelf.watchers]) watcher(event);
  }
}

/** "deployments.apps" */
export const resourceName = (t: ResourceType): string => (t.group === '' ? t.plural : `${t.plural}.${t.group}`);
export const apiVersion = (t: ResourceType): string => (t.group === '' ? t.version : `${t.group}/${t.version}`);

const keyOf = (namespace: string | undefined, name: string): string =>
  namespace === undefined ? name : `${namespace}/${name}`;

/** A pod on a node ends when its kubelet says so. */
function isGraceful(type: ResourceType, object: StoredObject): boolean {
  return type.plural === 'pods' && type.group === '' && object.metadata['deletionGracePeriodSeconds'] !== 0;
}

const ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
/** Five characters without vowels, as generated names end. */
export function randomSuffix(): string {
  return Array.from({ length: 5 }, () => ALPHABET[Math.floor(Math.random() * ALPHABET.length)]).join('');
}
