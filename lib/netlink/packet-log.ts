import { MessageWriter, readAttributes } from './message.ts';
import { NETLINK_NETFILTER, NetlinkSocket, NLM_F_ACK, NLM_F_REQUEST } from './socket.ts';

/** NFNL_SUBSYS_ULOG with NFULNL_MSG_PACKET and NFULNL_MSG_CONFIG. */
const PACKET = (4 << 8) | 0;
const CONFIG = (4 << 8) | 1;
const CFG = { cmd: 1, mode: 2, timeout: 4, threshold: 5 } as const;
const NFULA = { payload: 9, prefix: 10 } as const;
const CMD_BIND = 1;
const COPY_PACKET = 2;

/** A packet that a rule with `log group` has seen. */
export type LoggedPacket = {
  readonly prefix: string;
  /** From the IP header on, as much as the rule says. */
  readonly payload: Buffer;
};

/** What rules with `log group N` send, in one network namespace. */
export class PacketLog implements Disposable {
  readonly #socket: NetlinkSocket;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** Those that have something to be read; asked in one system call, however many there are. */
  static waiting(logs: readonly PacketLog[]): PacketLog[] {
    const ready = new Set(NetlinkSocket.readable(logs.map((l) => l.#socket)));
    return logs.filter((l) => ready.has(l.#socket));
  }

  /** All that has come since. `lost`: some did not fit, and are gone. */
  read(): { readonly packets: LoggedPacket[]; readonly lost: boolean } {
    const { messages, lost } = this.#socket.poll();
    const packets = messages.flatMap((m): LoggedPacket[] => {
      if (m.type !== PACKET) return [];
      const attributes = readAttributes(m.payload.subarray(4));
      const payload = attributes.get(NFULA.payload);
      const prefix = attributes.get(NFULA.prefix)?.toString().replace(/\0.*$/, '') ?? '';
      return payload ? [{ prefix, payload }] : [];
    });
    return { packets, lost };
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** Opens the group in the namespace at `netns`, or in this process's own. Only one program can have a group there. */
export function openPacketLog(group: number, netns?: string): PacketLog {
  const socket = NetlinkSocket.open(netns, NETLINK_NETFILTER);
  const header = Buffer.from([0, 0, group >> 8, group & 255]);
  const configure = (what: string, fill: (w: MessageWriter) => MessageWriter): void =>
    socket.request(what, fill(new MessageWriter(CONFIG, NLM_F_REQUEST | NLM_F_ACK).fixed(header)));
  try {
    configure('bind log group', (w) => w.u8(CFG.cmd, CMD_BIND));
    const mode = Buffer.from([0, 0, 0, 128, COPY_PACKET, 0]);
    // In hundredths of a second: the kernel reports a packet soon, and a burst of packets in one message.
    configure('set log mode', (w) =>
      w.bytes(CFG.mode, mode).bytes(CFG.timeout, bigEndian(2)).bytes(CFG.threshold, bigEndian(32)),
    );
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
  return new PacketLog(socket);
}

function bigEndian(value: number): Buffer {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(value);
  return b;
}
