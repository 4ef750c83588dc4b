import { printable } from '../text/printable.ts';
import { core, type KubeClient, timestamp } from './client.ts';
import { isKube } from './error.ts';

/** What an event is about. */
export type Regarding = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  readonly uid: string;
};

/**
 * Posts events (core/v1, as `kubectl describe` reads them). The same event about the same object is counted up, not posted
 * again; a burst is cut off. Never throws: an event is a courtesy.
 */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #component: string;
  readonly #known = new Map<string, { name: string; count: number; at: number }>();
  readonly #onTrouble: (error: unknown) => void;

  constructor(client: KubeClient, component: string, onTrouble: (error: unknown) => void = () => undefined) {
    this.#client = client;
    this.#component = component;
    this.#onTrouble = onTrouble;
  }

  async record(about: Regarding, type: 'Normal' | 'Warning', reason: string, message: string): Promise<void> {
    const text = printable(message.slice(0, 1024)).slice(0, 1024);
    const key = `${about.uid} ${reason} ${text}`;
    const now = Date.now();
    const known = this.#known.get(key);
    if (known && now - known.at < 5_000) return;
    if (this.#known.size > 5_000) this.#known.clear();
    const time = timestamp(now);
    const namespace = about.namespace ?? 'default';
    try {
      if (known) {
        known.at = now;
        known.count++;
        await this.#client.patch(core('events'), known.name, namespace, { count: known.count, lastTimestamp: time });
        return;
      }
      const name = `${about.name.slice(0, 200)}.${now.toString(16)}${Math.floor(Math.random() * 0xffff).toString(16)}`;
      this.#known.set(key, { name, count: 1, at: now });
      await this.#client.create(core('events'), {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name, namespace },
        involvedObject: about,
        type,
        reason,
        message: text,
        source: { component: this.#component },
        reportingComponent: this.#component,
        firstTimestamp: time,
        lastTimestamp: time,
        count: 1,
      });
    } catch (error) {
      if (isKube(error, 'NotFound')) this.#known.delete(key);
      else this.#onTrouble(error);
    }
  }
}
