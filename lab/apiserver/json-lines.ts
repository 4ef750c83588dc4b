import type { ServerResponse } from 'node:http';

/** What may wait for a client that does not read. A real API server drops such a watcher too. */
const MAX_WAITING_BYTES = 32 << 20;

/**
 * An answer that is written line by line. It is over when it is ended here, when the client is gone, or when the client reads too
 * slowly; from then on writing does nothing. Its caller asks `over`, or gives `onOver`.
 */
export class JsonLines {
  readonly #raw: ServerResponse;
  readonly #maxWaiting: number;
  readonly #listeners: (() => void)[] = [];
  #over = false;

  constructor(raw: ServerResponse, { maxWaitingBytes = MAX_WAITING_BYTES } = {}) {
    this.#raw = raw;
    this.#maxWaiting = maxWaitingBytes;
    // A reset of the connection, or a write that raced it. 'close' follows, and no reader is left.
    raw.on('error', () => this.#finish());
    raw.on('close', () => this.#finish());
    if (raw.destroyed || raw.writableEnded) {
      this.#finish();
      return;
    }
    raw.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' });
    raw.flushHeaders();
  }

  get over(): boolean {
    return this.#over;
  }

  /** Called once, when the answer is over; at once when it is already. */
  onOver(listener: () => void): void {
    if (this.#over) listener();
    else this.#listeners.push(listener);
  }

  write(value: object): void {
    if (this.#over) return;
    this.#raw.write(`${JSON.stringify(value)}\n`);
    if (this.#raw.writableLength > this.#maxWaiting) {
      this.#finish();
      this.#raw.destroy();
    }
  }

  /** Ends the answer in good order, after what was written. */
  end(): void {
    if (this.#over) return;
    this.#finish();
    this.#raw.end();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    for (const listener of this.#listeners.splice(0)) listener();
  }
}
