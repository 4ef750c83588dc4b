import { type ChildProcess, spawn } from 'node:child_process';

/** Which of a held connection's protocols still get answers. */
export type Alive = { readonly tcp: boolean; readonly udp: boolean; readonly icmp: boolean };

/** A TCP stream on port 8080, a UDP socket with one source port to 5353, and an endless ping: all of them stay the same flows. */
export class HeldConnection {
  readonly #client: ChildProcess;
  readonly #ping: ChildProcess;
  #answers = 0;
  #text = '';

  constructor(netns: string, address: string, udpPort = 5353, tcpPort = 8080) {
    const enter = [`--net=${netns}`, '--'];
    this.#client = spawn(
      'nsenter',
      [...enter, process.execPath, '-e', CLIENT, address, String(tcpPort), String(udpPort)],
      {
        stdio: ['pipe', 'pipe', 'ignore'],
      },
    );
    this.#client.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#text += text));
    this.#ping = spawn('nsenter', [...enter, 'ping', '-n', '-i', '0.1', address], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#ping.stdout?.setEncoding('utf8').on('data', (text: string) => {
      if (text.includes('bytes from')) this.#answers++;
    });
  }

  /**
   * Sends something on each, again every half second, and says which were answered. Nothing at once is not yet nothing: a machine may
   * stand still for a second.
   */
  async alive(patienceMs = 3_000): Promise<Alive> {
    const before = this.#answers;
    this.#text = '';
    const end = performance.now() + patienceMs;
    for (;;) {
      this.#client.stdin?.write('ask\n');
      await new Promise((resolve) => setTimeout(resolve, 500));
      const alive = {
        tcp: this.#text.includes('tcp'),
        udp: this.#text.includes('udp'),
        icmp: this.#answers > before + 2,
      };
      if ((alive.tcp && alive.udp && alive.icmp) || performance.now() > end) return alive;
    }
  }

  end(): void {
    this.#client.kill();
    this.#ping.kill();
  }
}

const CLIENT = `
const [address, tcpPort, udpPort] = process.argv.slice(1);
const tcp = require('node:net').connect(Number(tcpPort), address);
tcp.on('error', () => {}).on('data', () => console.log('tcp'));
const udp = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
udp.on('error', () => {}).on('message', () => console.log('udp'));
udp.bind(40123);
process.stdin.on('data', () => { tcp.write('x'); udp.send('x', Number(udpPort), address, () => {}); }).on('end', () => process.exit());
`;
