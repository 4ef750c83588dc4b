import type { Server, Socket } from 'node:net';
import { type Rate, TokenBuckets } from './token-bucket.ts';

/** How many connections a server takes of callers that have not shown who they are. */
export type ConnectionLimits = {
  readonly total: number;
  readonly perAddress: number;
  /** New ones from one address: each costs a TLS handshake. */
  readonly opening: Rate;
};

type End = Pick<Socket, 'remoteAddress' | 'remotePort'>;
type Open = { readonly socket: Socket; readonly address: string; caller: string };

/**
 * Shares a server's connections between the addresses that call it. An address that has its share loses its oldest connection for each
 * new one; when all are taken, the address that holds the most loses one. So a newcomer always gets in, even from the address of an
 * attacker: behind one address there may be a node's pods and its agent. A caller that has shown who it is loses nothing any more.
 */
export class ConnectionShare {
  readonly #limits: ConnectionLimits;
  readonly #opening: TokenBuckets;
  /** Callers without a name, by address and in the order in which they came. */
  readonly #strangers = new Map<string, Set<Open>>();
  readonly #byEnd = new Map<string, Open>();
  /** How many each caller has that has shown who it is. */
  readonly #callers = new Map<string, number>();
  #count = 0;
  #cut = 0;

  constructor(server: Server, limits: ConnectionLimits) {
    this.#limits = limits;
    this.#opening = new TokenBuckets(limits.opening);
    server.on('connection', (socket: Socket) => this.#opened(socket));
  }

  /** Connections that were closed to keep the shares, since the start. */
  get cut(): number {
    return this.#cut;
  }

  /** Connections of callers that have not shown who they are. */
  get strangers(): number {
    return this.#count;
  }

  /** The other end of this connection has shown who it is. What a caller opens beyond `most` stays a stranger's. */
  recognize(socket: End, caller: string, most: number): void {
    const open = this.#byEnd.get(endOf(socket));
    const theirs = this.#callers.get(caller) ?? 0;
    if (!open || open.caller !== '' || theirs >= most) return;
    this.#forget(open);
    open.caller = caller;
    this.#callers.set(caller, theirs + 1);
  }

  #opened(socket: Socket): void {
    const address = addressOf(socket);
    if (!this.#opening.take(address)) {
      this.#cut++;
      socket.destroy();
      return;
    }
    const mine = this.#strangers.get(address);
    if (mine && mine.size >= this.#limits.perAddress) this.#cutOldest(mine);
    else if (this.#count >= this.#limits.total) this.#cutOldest(this.#largest());
    const open: Open = { socket, address, caller: '' };
    const end = endOf(socket);
    this.#strangers.set(address, (this.#strangers.get(address) ?? new Set()).add(open));
    this.#byEnd.set(end, open);
    this.#count++;
    socket.once('close', () => {
      this.#forget(open);
      if (this.#byEnd.get(end) === open) this.#byEnd.delete(end);
      if (open.caller === '') return;
      const left = (this.#callers.get(open.caller) ?? 1) - 1;
      if (left > 0) this.#callers.set(open.caller, left);
      else this.#callers.delete(open.caller);
    });
  }

  #largest(): ReadonlySet<Open> {
    let most: ReadonlySet<Open> = new Set();
    for (const list of this.#strangers.values()) if (list.size > most.size) most = list;
    return most;
  }

  #cutOldest(list: ReadonlySet<Open>): void {
    const [oldest] = list;
    if (!oldest) return;
    this.#cut++;
    this.#forget(oldest);
    oldest.socket.destroy();
  }

  #forget(open: Open): void {
    const list = this.#strangers.get(open.address);
    if (!list?.delete(open)) return;
    this.#count--;
    if (list.size === 0) this.#strangers.delete(open.address);
  }
}

/** The address of the other end; IPv4 in its own form. */
export const addressOf = ({ remoteAddress = '' }: Pick<Socket, 'remoteAddress'>): string =>
  remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '');

const endOf = (socket: End): string => `${addressOf(socket)} ${socket.remotePort ?? 0}`;
