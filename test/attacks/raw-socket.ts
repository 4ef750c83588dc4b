import { closeSync } from 'node:fs';
import { openNetlink } from '../../lib/netlink/netlink.ts';
import { checked, errnoName, lastErrno, libc } from '../../lib/netns/libc.ts';
import { sockaddr } from '../../lib/netns/listen.ts';
import { inNetns } from '../../lib/netns/netns.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_DGRAM_CLOEXEC = 2 | 0x80000;
const SOCK_RAW_CLOEXEC = 3 | 0x80000;
const ETH_P_ALL = 3;
const IPPROTO_RAW = 255;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_BROADCAST = 6;
const SO_RCVBUFFORCE = 33;
const MSG_DONTWAIT = 0x40;

/** A packet socket on one device of a network namespace: sends frames as they are, and keeps what the device has seen since. */
export class RawSocket implements Disposable {
  /** Hardware address of the device. */
  readonly mac: string;
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(1 << 16);

  constructor(netns: string, dev: string) {
    using netlink = openNetlink(netns);
    const link = netlink.links().find((l) => l.name === dev);
    if (!link) throw new Error(`no device ${dev} in ${netns}`);
    this.mac = link.mac;
    this.#fd = inNetns<number>(netns, () => checked('socket', libc.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0)));
    const size = Buffer.alloc(4);
    size.writeInt32LE(4 << 20);
    libc.setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, size, 4);
    const address = Buffer.alloc(20); // sockaddr_ll
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(ETH_P_ALL, 2);
    address.writeInt32LE(link.index, 4);
    checked('bind', libc.bind(this.#fd, address, address.length));
  }

  send(frame: Uint8Array): void {
    checked('send', libc.send(this.#fd, frame, frame.length, 0));
  }

  /** Frames that the device has received or sent since the last call. */
  received(): Buffer[] {
    const frames: Buffer[] = [];
    for (;;) {
      const length = libc.recv(this.#fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT);
      if (length < 0) {
        if (errnoName(lastErrno()) === 'EAGAIN') return frames;
        throw new Error(`recv: ${errnoName(lastErrno())}`);
      }
      frames.push(Buffer.from(this.#buffer.subarray(0, length)));
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Sends one IPv4 packet as it is, out of a namespace by its output hook. Returns the error's name when that refuses it. */
export function sendPacket(netns: string, destination: string, packet: Uint8Array): string | undefined {
  return inNetns<string | undefined>(netns, () => {
    const fd = checked('socket', libc.socket(AF_INET, SOCK_RAW_CLOEXEC, IPPROTO_RAW));
    try {
      const address = sockaddr(destination, 0);
      checked('connect', libc.connect(fd, address, address.length));
      return libc.send(fd, packet, packet.length, 0) < 0 ? errnoName(lastErrno()) : undefined;
    } finally {
      closeSync(fd);
    }
  });
}

/**
 * Sends one datagram from a plain UDP socket in a namespace, as any program may without a capability. Returns the error's name
 * when the kernel of the sender refuses it.
 */
export function sendDatagram(
  netns: string,
  to: { readonly address: string; readonly port: number },
  payload: Uint8Array,
  from?: { readonly address: string; readonly port: number },
): string | undefined {
  return inNetns<string | undefined>(netns, () => {
    const family = to.address.includes(':') ? AF_INET6 : AF_INET;
    const fd = checked('socket', libc.socket(family, SOCK_DGRAM_CLOEXEC, 0));
    try {
      const one = Buffer.of(1, 0, 0, 0);
      for (const option of [SO_REUSEADDR, SO_BROADCAST]) libc.setsockopt(fd, SOL_SOCKET, option, one, 4);
      const name = (result: number): string | undefined => (result < 0 ? errnoName(lastErrno()) : undefined);
      if (from) {
        const own = sockaddr(from.address, from.port);
        const error = name(libc.bind(fd, own, own.length));
        if (error !== undefined) return error;
      }
      const address = sockaddr(to.address, to.port);
      return name(libc.connect(fd, address, address.length)) ?? name(libc.send(fd, payload, payload.length, 0));
    } finally {
      closeSync(fd);
    }
  });
}
