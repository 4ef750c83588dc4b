import { emptyNodeConfig, type NodeConfig, type StreamEvent } from '../../api/nodeconfig.ts';
import { compile, diffConfig } from '../../core/node-config/compile.ts';
import type { View } from '../../core/view/view.ts';

/** Where a session's lines go. `write` returns false when the other side does not keep up. */
export type Sink = { readonly write: (text: string) => boolean; readonly end: () => void };

type Session = { readonly node: string; readonly sink: Sink; sent: NodeConfig; revision: number };

/** The open streams to agents. One per node: a new one ends the old. */
export class Sessions {
  readonly #epoch: number;
  readonly #sessions = new Map<string, Session>();
  #revision = 0;

  constructor(epoch: number) {
    this.#epoch = epoch;
  }

  /** The last revision that was sent. */
  get revision(): number {
    return this.#revision;
  }

  get nodes(): string[] {
    return [...this.#sessions.keys()];
  }

  /** Begins a stream: hello, everything, sync. Returns how to end it. */
  open(node: string, sink: Sink, view: View): () => void {
    this.#sessions.get(node)?.sink.end();
    const session: Session = { node, sink, sent: emptyNodeConfig(), revision: 0 };
    this.#sessions.set(node, session);
    send(session, [{ type: 'hello', epoch: this.#epoch, node }]);
    this.#update(session, view, true);
    return () => {
      if (this.#sessions.get(node) === session) this.#sessions.delete(node);
    };
  }

  /** Sends every node what is new for it. */
  distribute(view: View): void {
    this.#revision++;
    for (const session of this.#sessions.values()) this.#update(session, view, false);
  }

  /** A sign of life, so that a silent stream is known to be dead. */
  ping(): void {
    for (const session of this.#sessions.values()) send(session, [{ type: 'ping' }]);
  }

  endAll(): void {
    for (const { sink } of this.#sessions.values()) sink.end();
    this.#sessions.clear();
  }

  #update(session: Session, view: View, always: boolean): void {
    const config = compile(view, session.node);
    const events = diffConfig(session.sent, config);
    session.sent = config;
    if (events.length > 0 || always) send(session, [...events, { type: 'sync', revision: this.#revision }]);
  }
}

/** An agent that does not read for so long that the buffer fills is cut off: it comes back and gets a snapshot. */
function send(session: Session, events: readonly StreamEvent[]): void {
  const text = events.map((e) => `${JSON.stringify(e)}\n`).join('');
  if (!session.sink.write(text)) session.sink.end();
}
