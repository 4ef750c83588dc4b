import { createSocket, type Socket } from 'node:dgram';
import { listenIn } from '../../lib/netns/listen.ts';
import { WHO_ARE_YOU } from '../../lib/connect/who-are-you.ts';

/** A UDP client with one source port that never stops sending: ten datagrams a second, each asks who answers. */
export class UdpCaller {
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;
  #answers: string[] = [];
  #ended = false;

  constructor(netns: string, address: string, port: number, sourcePort: number) {
    const v6 = address.includes(':');
    this.#socket = createSocket(v6 ? 'udp6' : 'udp4');
    this.#socket.on('error', () => undefined);
    this.#socket.on('message', (m) => {
      const [, namespace = '', name = ''] = /"namespace":"([^"]*)","name":"([^"]*)"/.exec(m.toString()) ?? [];
      this.#answers.push(`${namespace}/${name}`);
    });
    this.#socket.bind({ fd: listenIn(netns, 'udp', v6 ? '::' : '0.0.0.0', sourcePort) });
    this.#timer = setInterval(() => this.#socket.send(WHO_ARE_YOU, port, address, () => undefined), 100);
  }

  /** Each that answers from now on within the time, in the order of their first answers. */
  async answerers(ms: number): Promise<string[]> {
    this.#answers = [];
    await new Promise((resolve) => setTimeout(resolve, ms));
    return [...new Set(this.#answers)];
  }

  /** The first that answers from now on; "nobody" when the patience is at its end. */
  async next(patienceMs = 10_000): Promise<string> {
    this.#answers = [];
    const end = performance.now() + patienceMs;
    while (this.#answers.length === 0 && performance.now() < end)
      await new Promise((resolve) => setTimeout(resolve, 20));
    return this.#answers[0] ?? 'nobody';
  }

  /** Twice does no harm. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    this.#socket.close();
  }
}
