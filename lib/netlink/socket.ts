import { closeSync } from 'node:fs';
import { checked, errnoName, lastErrno, libc, receiveElsewhere, sendElsewhere } from '../netns/libc.ts';
import { moveHigh } from '../netns/files.ts';
import { inNetns } from '../netns/netns.ts';
import { NetlinkError } from './error.ts';
import { type Message, MessageWriter, readAttributes, readMessages } from './message.ts';

export const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0x80000;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;

/** Protocol of nftables, conntrack and packet logs. */
export const NETLINK_NETFILTER = 12;
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;

/** Of all sockets: calls are synchronous, so only one reads at a time. What outlives the next call is copied. */
const RECEIVED = Buffer.alloc(1 << 18);

/** A request and how to name it in an error. */
export type Request = { readonly what: string; readonly writer: MessageWriter };

/** A synchronous rtnetlink socket, bound for life to the network namespace in which it was opened. */
export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  #open = true;
  #sequence = 1;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** @param netns path of a namespace; this process's own when not given */
  static open(netns?: string, protocol = 0): NetlinkSocket {
    const open = (): number => checked('socket(AF_NETLINK)', libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol));
    const fd = moveHigh(netns === undefined ? open() : inNetns<number>(netns, open));
    try {
      prepare(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return new NetlinkSocket(fd);
  }

  /** Those on which something waits to be read; asked in one system call. */
  static readable(sockets: readonly NetlinkSocket[]): NetlinkSocket[] {
    const SIZE = 8; // struct pollfd: number, events, what is there
    const entries = Buffer.alloc(sockets.length * SIZE);
    for (const [i, socket] of sockets.entries()) {
      entries.writeInt32LE(socket.#fd, i * SIZE);
      entries.writeInt16LE(POLLIN, i * SIZE + 4);
    }
    if (sockets.length === 0 || libc.poll(entries, sockets.length, 0) <= 0) return [];
    return sockets.filter((_, i) => entries.readInt16LE(i * SIZE + 6) !== 0);
  }

  /**
   * Sends requests in one system call and reads an acknowledgement for each.
   *
   * Returns one entry per request, in order: undefined for success, or the error. The kernel goes on after a failed one.
   */
  send(requests: readonly Request[]): (NetlinkError | undefined)[] {
    const results: (NetlinkError | undefined)[] = [];
    // A socket buffer holds some hundred acknowledgements; 64 leave room for long error texts.
    for (let start = 0; start < requests.length; start += 64)
      results.push(...this.#sendBatch(requests.slice(start, start + 64)));
    return results;
  }

  /** One request; throws its error. */
  request(what: string, writer: MessageWriter): void {
    const [error] = this.send([{ what, writer }]);
    if (error) throw error;
  }

  /** A dump, tried again when the kernel says that the list changed while it was read. */
  dump(what: string, make: () => MessageWriter): Message[] {
    for (let attempt = 0; ; attempt++) {
      const messages: Message[] = [];
      const sequence = this.#sequence++;
      const bytes = make().finish(sequence);
      checked(`send ${what}`, libc.send(this.#fd, bytes, bytes.length, 0));
      const interrupted = this.#readUntilDone(what, sequence, messages);
      if (!interrupted || attempt >= 5) return messages;
    }
  }

  /**
   * A dump that does not hold up the thread: the kernel works elsewhere, and `take` gets the messages in portions. No other call on this
   * socket meanwhile. Throws when the kernel refuses, or when the list changed under way: ask again.
   */
  async dumpAside(what: string, writer: MessageWriter, take: (messages: Message[]) => void): Promise<void> {
    const sequence = this.#sequence++;
    const bytes = writer.finish(sequence);
    if ((await sendElsewhere(this.#fd, bytes)) < 0) throw new NetlinkError('EIO', `send ${what}`);
    const received = Buffer.alloc(1 << 16);
    let interrupted = false;
    for (;;) {
      const length = await receiveElsewhere(this.#fd, received);
      if (length < 0) throw new NetlinkError('EIO', `receive ${what}`);
      const messages = [...readMessages(received.subarray(0, length))].filter((m) => m.sequence === sequence);
      const end = messages.find((m) => m.type === NLMSG_DONE || m.type === NLMSG_ERROR);
      const error = end?.type === NLMSG_ERROR ? errorOf(what, end) : undefined;
      if (error) throw error;
      interrupted ||= messages.some((m) => (m.flags & NLM_F_DUMP_INTR) !== 0);
      take(messages.filter((m) => m !== end));
      if (end && interrupted) throw new NetlinkError('EAGAIN', what, 'the list changed while it was read');
      if (end) return;
    }
  }

  /** What has come by itself, without waiting. `lost`: the kernel could not keep all of it (ENOBUFS). */
  poll(): { readonly messages: Message[]; readonly lost: boolean } {
    const messages: Message[] = [];
    let lost = false;
    for (;;) {
      const length = libc.recv(this.#fd, RECEIVED, RECEIVED.length, MSG_DONTWAIT);
      if (length >= 0) {
        messages.push(...readMessages(Buffer.from(RECEIVED.subarray(0, length))));
        continue;
      }
      const code = errnoName(lastErrno());
      if (code === 'EAGAIN') return { messages, lost };
      if (code === 'ENOBUFS') lost = true;
      else if (code !== 'EINTR') throw new NetlinkError(code, 'recv(AF_NETLINK)');
    }
  }

  [Symbol.dispose](): void {
    // Twice would close whatever has the number by then.
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  /**
   * Sends requests of one nfnetlink subsystem that the kernel does all or none of (NFNL_MSG_BATCH_BEGIN). Throws the first error.
   *
   * @param subsystem NFNL_SUBSYS_* of linux/netfilter/nfnetlink.h
   */
  transaction(subsystem: number, requests: readonly Request[]): void {
    const edge = (type: number): MessageWriter =>
      new MessageWriter(type, NLM_F_REQUEST).fixed(Buffer.of(0, 0, subsystem >> 8, subsystem & 255));
    const first = this.#sequence;
    this.#sequence += requests.length + 2;
    const writers = [edge(NFNL_MSG_BATCH_BEGIN), ...requests.map((r) => r.writer), edge(NFNL_MSG_BATCH_END)];
    const data = Buffer.concat(writers.map((w, i) => w.finish(first + i)));
    checked('send(AF_NETLINK)', libc.send(this.#fd, data, data.length, 0));
    let failed: NetlinkError | undefined;
    for (let missing = requests.length; missing > 0; ) {
      for (const message of readMessages(this.#receive())) {
        const index = message.sequence - first - 1;
        if (message.type !== NLMSG_ERROR || index < -1 || index > requests.length) continue;
        const request = requests[index];
        const error = errorOf(request?.what ?? 'transaction', message);
        failed ??= error;
        if (request) missing--;
        else if (error) missing = 0; // of the whole: nothing else will come
      }
    }
    if (failed) throw failed;
  }

  #sendBatch(requests: readonly Request[]): (NetlinkError | undefined)[] {
    const first = this.#sequence;
    this.#sequence += requests.length;
    const data = Buffer.concat(requests.map((r, i) => r.writer.finish(first + i)));
    checked('send(AF_NETLINK)', libc.send(this.#fd, data, data.length, 0));
    const results: (NetlinkError | undefined)[] = Array.from({ length: requests.length });
    let missing = requests.length;
    while (missing > 0) {
      for (const message of readMessages(this.#receive())) {
        const index = message.sequence - first;
        const request = requests[index];
        if (message.type !== NLMSG_ERROR || !request) continue;
        results[index] = errorOf(request.what, message);
        missing--;
      }
    }
    return results;
  }

  #readUntilDone(what: string, sequence: number, into: Message[]): boolean {
    let interrupted = false;
    for (;;) {
      for (const message of readMessages(Buffer.from(this.#receive()))) {
        if (message.sequence !== sequence) continue;
        if (message.flags & NLM_F_DUMP_INTR) interrupted = true;
        if (message.type === NLMSG_DONE) return interrupted;
        if (message.type === NLMSG_ERROR) {
          const error = errorOf(what, message);
          if (error) throw error;
          return interrupted;
        }
        into.push(message);
      }
    }
  }

  #receive(): Buffer {
    for (;;) {
      const length = libc.recv(this.#fd, RECEIVED, RECEIVED.length, 0);
      if (length >= 0) return RECEIVED.subarray(0, length);
      const errno = lastErrno();
      if (errnoName(errno) !== 'EINTR') throw new NetlinkError(errnoName(errno), 'recv(AF_NETLINK)');
    }
  }
}

function prepare(fd: number): void {
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK, 0);
  checked('bind(AF_NETLINK)', libc.bind(fd, address, 12));
  const one = Buffer.from([1, 0, 0, 0]);
  for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
    libc.setsockopt(fd, SOL_NETLINK, option, one, 4); // older kernels miss some: then errors carry no text
  }
  const size = Buffer.alloc(4);
  size.writeInt32LE(4 << 20);
  for (const option of [SO_RCVBUFFORCE, SO_SNDBUFFORCE]) libc.setsockopt(fd, SOL_SOCKET, option, size, 4);
}

function errorOf(what: string, message: Message): NetlinkError | undefined {
  const errno = -message.payload.readInt32LE(0);
  if (errno === 0) return undefined;
  const NLM_F_ACK_TLVS = 0x200;
  // With NETLINK_CAP_ACK the echoed request is only its header (16 bytes).
  const text = message.flags & NLM_F_ACK_TLVS ? readAttributes(message.payload.subarray(4 + 16)).get(1) : undefined;
  return new NetlinkError(errnoName(errno), what, text?.toString().replace(/\0.*$/, ''));
}
