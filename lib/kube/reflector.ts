import { type Clock, systemClock } from '../reconcile/clock.ts';
import { type KubeClient, type KubeList, type KubeObject, pathOf, type Resource } from './client.ts';
import { KubeError } from './error.ts';

/** What a reflector tells. Both are called from its loop, one after the other; they must not throw. */
export type ReflectorHandlers<T> = {
  /** A whole new truth: everything not in it is gone. */
  readonly onReplace: (items: ReadonlyMap<string, T>) => void;
  /** One object came, changed (value) or went (undefined). */
  readonly onEvent: (key: string, value: T | undefined) => void;
  /** Something went wrong and will be tried again. */
  readonly onTrouble?: (trouble: {
    readonly what: string;
    readonly error: unknown;
    readonly retryInMs: number;
  }) => void;
};

export type ReflectorOptions<T> = ReflectorHandlers<T> & {
  readonly client: KubeClient;
  readonly resource: Resource;
  /** From an API object to what is kept of it. Objects are big: keep little. */
  readonly read: (object: KubeObject) => T;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  readonly clock?: Clock;
  /** A watch without any sign of life for this long is taken for dead. Bookmarks come about once a minute. */
  readonly silenceMs?: number;
  readonly random?: () => number;
};

/** Figures of one reflector since it began. */
export type ReflectorStats = { relists: number; watches: number; events: number; bookmarks: number; failures: number };

/**
 * Keeps a copy of a resource true: paged list, then watch with bookmarks; again from where it stopped after every cut, and
 * from a new list after 410. A relist is told as "replace all", never as a gap.
 */
export class Reflector<T> implements AsyncDisposable {
  readonly #options: ReflectorOptions<T>;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #stop = new AbortController();
  readonly stats: ReflectorStats = { relists: 0, watches: 0, events: 0, bookmarks: 0, failures: 0 };
  #loop: Promise<void> | undefined;
  #version = '';
  #synced = false;
  #onSynced: (() => void)[] = [];

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
  }

  start(): this {
    this.#loop ??= this.#run();
    return this;
  }

  /** Resolves after the first whole list. */
  synced(): Promise<void> {
    if (this.#synced) return Promise.resolve();
    return new Promise((resolve) => this.#onSynced.push(resolve));
  }

  get hasSynced(): boolean {
    return this.#synced;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      const what = this.#version === '' ? 'list' : 'watch';
      const told = this.stats.events + this.stats.bookmarks;
      try {
        if (what === 'list') await this.#list();
        else await this.#watch();
        failures = 0;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        // A stream that told something before it broke was a good one: only failures in a row make the pause longer.
        if (this.stats.events + this.stats.bookmarks > told) failures = 0;
        if (error instanceof KubeError && error.code === 'Gone') {
          this.#version = '';
          failures = Math.max(failures, 1);
        } else failures++;
        this.stats.failures++;
        const retryInMs = this.#backoff(failures, error);
        this.#options.onTrouble?.({ what: `${what} ${this.#options.resource.plural}`, error, retryInMs });
        await this.#clock.sleep(retryInMs, this.#stop.signal);
      }
    }
  }

  async #list(): Promise<void> {
    const items = new Map<string, T>();
    let continueToken: string | undefined;
    let version = '';
    do {
      const page: KubeList = await this.#options.client.json<KubeList>('GET', pathOf(this.#options.resource), {
        query: { limit: 500, continue: continueToken, ...this.#selectors() },
        signal: this.#stop.signal,
      });
      for (const object of page.items) {
        const value = this.#read(object);
        if (value !== undefined) items.set(keyOf(object), value);
      }
      continueToken = page.metadata.continue === '' ? undefined : page.metadata.continue;
      version = page.metadata.resourceVersion ?? '';
    } while (continueToken !== undefined);
    this.stats.relists++;
    this.#version = version;
    this.#options.onReplace(items);
    this.#synced = true;
    for (const resolve of this.#onSynced.splice(0)) resolve();
  }

  /** Until the server ends it or it falls silent. A normal end is no fault: the next watch goes on from here. */
  async #watch(): Promise<void> {
    const timeoutSeconds = Math.round(240 + this.#random() * 240);
    const silence = this.#options.silenceMs ?? 90_000;
    const cut = new AbortController();
    let lastLife = this.#clock.now();
    const done = new AbortController();
    const guard = (async () => {
      while (!done.signal.aborted) {
        const left = silence - (this.#clock.now() - lastLife);
        if (left <= 0) {
          cut.abort();
          return;
        }
        await this.#clock.sleep(left, done.signal);
      }
    })();
    this.stats.watches++;
    try {
      const lines = this.#options.client.lines(pathOf(this.#options.resource), {
        query: {
          watch: true,
          allowWatchBookmarks: true,
          resourceVersion: this.#version,
          timeoutSeconds,
          ...this.#selectors(),
        },
        signal: AbortSignal.any([this.#stop.signal, cut.signal]),
      });
      for await (const line of lines) {
        lastLife = this.#clock.now();
        this.#event(line);
      }
    } catch (error) {
      if (cut.signal.aborted)
        throw new KubeError(`watch of ${this.#options.resource.plural} was silent for ${silence} ms`, {
          status: 0,
          cause: error,
        });
      throw error;
    } finally {
      done.abort();
      await guard;
    }
    // A server that ends every watch at once must not be asked in a tight loop.
    if (this.#clock.now() - lastLife < 1000) await this.#clock.sleep(200 + this.#random() * 300, this.#stop.signal);
  }

  #event(line: string): void {
    let event: { type: string; object: KubeObject & { code?: number; message?: string } };
    try {
      event = JSON.parse(line) as typeof event;
    } catch (cause) {
      this.#version = ''; // what was in that line is lost: only a list can tell
      throw new KubeError(`watch of ${this.#options.resource.plural} sent a line that is not JSON`, {
        status: 0,
        cause,
      });
    }
    const { type, object } = event;
    if (type === 'ERROR')
      throw new KubeError(`watch of ${this.#options.resource.plural}: ${object.message ?? 'error'}`, {
        status: object.code ?? 500,
      });
    if (type === 'BOOKMARK') this.stats.bookmarks++;
    else {
      this.stats.events++;
      this.#options.onEvent(keyOf(object), type === 'DELETED' ? undefined : this.#read(object));
    }
    this.#version = object.metadata.resourceVersion ?? this.#version;
  }

  /** An object that cannot be read is left out: one of them must not keep all others from being seen. */
  #read(object: KubeObject): T | undefined {
    try {
      return this.#options.read(object);
    } catch (error) {
      this.stats.failures++;
      this.#options.onTrouble?.({
        what: `read ${this.#options.resource.plural} ${keyOf(object)}`,
        error,
        retryInMs: 0,
      });
      return undefined;
    }
  }

  #selectors(): { fieldSelector?: string; labelSelector?: string } {
    const { fieldSelector, labelSelector } = this.#options;
    return {
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
    };
  }

  /** 0.2 s doubling to 20 s, with jitter so that a thousand clients do not come back together. */
  #backoff(failures: number, error: unknown): number {
    const asked = error instanceof KubeError && error.retryAfter !== undefined ? error.retryAfter * 1000 : 0;
    const base = Math.min(200 * 2 ** (failures - 1), 20_000);
    return Math.max(asked, base * (0.5 + this.#random()));
  }
}

const keyOf = (o: KubeObject): string =>
  o.metadata.namespace === undefined ? o.metadata.name : `${o.metadata.namespace}/${o.metadata.name}`;
