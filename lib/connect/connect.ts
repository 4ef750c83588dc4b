import { familyOf } from '../ip/address.ts';
import { closeSync } from 'node:fs';
import { errnoName, lastErrno, libc } from '../netns/libc.ts';
import { sockaddr } from '../netns/listen.ts';
import { inNetns } from '../netns/netns.ts';
import packet from 'dns-packet';
import { WHO_ARE_YOU } from './who-are-you.ts';

/** One connection to try, from inside a namespace. */
export type Attempt = {
  readonly netns: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP' | 'ICMP';
  /** How long to wait for an answer, in time that this process ran: see {@link OwnTime}. */
  readonly timeoutMs: number;
  /** Ask who answers, and wait for it: a connection that is made is open, so the name has {@link NAME_MS}, whatever the time-out. */
  readonly identify: boolean;
};

export type Outcome = {
  readonly verdict: 'open' | 'closed' | 'rejected';
  readonly ms: number;
  /** "namespace/name" of who answered, where it said so. */
  readonly by: string | undefined;
  /** errno's name of a rejection; ETIMEDOUT for an open connection that did not say who answers. */
  readonly error: string | undefined;
};

type Live = {
  readonly attempt: Attempt;
  readonly index: number;
  readonly fd: number;
  readonly started: number;
  /** When what it waits for began, in {@link OwnTime}. */
  since: number;
  state: 'connecting' | 'waiting';
  text: string;
  resent: boolean;
  readonly raw: boolean;
};

const AF = { 4: 2, 6: 10 } as const;
const POLLIN = 1;
const POLLOUT = 4;
const POLLERR = 8;
const POLLHUP = 16;
/** Sockets open at once: enough to overlap time-outs, few enough for one process. */
const WINDOW = 400;
/** How long a peer may take to say who it is. */
const NAME_MS = 10_000;
/** How it says that. */
const NAME = /"namespace":"([^"]*)","name":"([^"]*)"/;

/**
 * Time that this process ran. A busy machine halts a program, or all of them, for seconds: a peer that had no chance to answer
 * meanwhile is not late.
 */
class OwnTime {
  static readonly #MOST = 100;
  #seen = performance.now();
  now = 0;

  look(): number {
    const before = this.#seen;
    this.#seen = performance.now();
    this.now += Math.min(this.#seen - before, OwnTime.#MOST);
    return this.now;
  }
}

/** Tries all, many at once, with real sockets. Results in the order of the attempts. */
export async function connectAll(
  attempts: readonly Attempt[],
  onProgress: (done: number) => void = () => undefined,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = Array.from({ length: attempts.length });
  const live = new Set<Live>();
  const time = new OwnTime();
  let next = 0;
  let done = 0;
  const finish = (l: Live, verdict: Outcome['verdict'], error?: string): void => {
    closeSync(l.fd);
    live.delete(l);
    const by = NAME.exec(l.text);
    outcomes[l.index] = { verdict, ms: performance.now() - l.started, by: by ? `${by[1]}/${by[2]}` : undefined, error };
    done++;
  };
  while (next < attempts.length || live.size > 0) {
    for (let opened = 0; next < attempts.length && live.size < WINDOW && opened < 100; opened++, next++) {
      const attempt = attempts[next];
      if (!attempt) continue;
      const l = open(attempt, next, time.now);
      if ('verdict' in l) {
        outcomes[next] = l;
        done++;
      } else live.add(l);
    }
    step([...live], time, finish);
    onProgress(done);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return outcomes;
}

function open(attempt: Attempt, index: number, since: number): Live | Outcome {
  const started = performance.now();
  const family = familyOf(attempt.address);
  const protocol = attempt.protocol === 'ICMP' ? (family === 4 ? 1 : 58) : attempt.protocol === 'SCTP' ? 132 : 0;
  const flags = 0o4000 | 0o2000000; // non-blocking, closed on exec
  const type = (attempt.protocol === 'UDP' || attempt.protocol === 'ICMP' ? 2 : 1) | flags;
  const address = sockaddr(attempt.address, attempt.port);
  return inNetns<Live | Outcome>(attempt.netns, () => {
    let fd = libc.socket(AF[family], type, protocol);
    // Not every runtime lets a pod's groups open ping sockets (net.ipv4.ping_group_range); root may have a raw one.
    const raw = fd < 0 && attempt.protocol === 'ICMP';
    if (raw) fd = libc.socket(AF[family], 3 | flags, protocol);
    if (fd < 0) return { verdict: 'closed', ms: 0, by: undefined, error: errnoName(lastErrno()) };
    const live: Live = { attempt, index, fd, started, since, state: 'connecting', text: '', resent: false, raw };
    if (libc.connect(fd, address, address.length) !== 0) {
      const error = errnoName(lastErrno());
      if (error !== 'EINPROGRESS') {
        closeSync(fd);
        return { verdict: 'rejected', ms: performance.now() - started, by: undefined, error };
      }
    }
    if (attempt.protocol === 'UDP' || attempt.protocol === 'ICMP') {
      live.state = 'waiting';
      sendDatagram(live);
    }
    return live;
  });
}

type Finish = (l: Live, verdict: Outcome['verdict'], error?: string) => void;

function step(live: readonly Live[], time: OwnTime, finish: Finish): void {
  if (live.length === 0) return;
  const fds = Buffer.alloc(8 * live.length);
  for (const [i, l] of live.entries()) {
    fds.writeInt32LE(l.fd, 8 * i);
    fds.writeInt16LE(l.state === 'connecting' ? POLLOUT : POLLIN, 8 * i + 4);
  }
  libc.poll(fds, live.length, 3);
  const now = time.look();
  for (const [i, l] of live.entries()) {
    const { protocol, timeoutMs } = l.attempt;
    const revents = fds.readInt16LE(8 * i + 6);
    const named = l.state === 'waiting' && protocol === 'TCP';
    if (revents !== 0) ready(l, revents, now, finish);
    else if (now - l.since > (named ? NAME_MS : timeoutMs)) finish(l, named ? 'open' : 'closed', 'ETIMEDOUT');
    else if (!l.resent && l.state === 'waiting' && protocol !== 'TCP' && now - l.since > timeoutMs / 2) {
      l.resent = true; // a datagram may be lost on a busy machine; two are not
      sendDatagram(l);
    }
  }
}

function ready(l: Live, revents: number, now: number, finish: Finish): void {
  const error = socketError(l.fd);
  if (error !== undefined) return finish(l, REJECTIONS.has(error) ? 'rejected' : 'closed', error);
  if (l.state === 'connecting') {
    if (!l.attempt.identify) return finish(l, 'open');
    l.state = 'waiting';
    l.since = now;
    const ask = Buffer.from('GET /who HTTP/1.0\r\n\r\n');
    libc.send(l.fd, ask, ask.length, 0x4000);
    return;
  }
  if (!(revents & (POLLIN | POLLERR | POLLHUP))) return;
  const buffer = Buffer.alloc(4096);
  const n = libc.recv(l.fd, buffer, buffer.length, 0x40);
  if (n < 0) {
    const name = errnoName(lastErrno());
    if (name === 'EAGAIN') return;
    return finish(l, REJECTIONS.has(name) ? 'rejected' : 'closed', name);
  }
  // A raw socket hears every ICMP message of its peer: only the answer to the own request counts.
  if (l.raw && !isEchoReply(buffer.subarray(0, n), l)) return;
  l.text += buffer.toString('utf8', 0, n);
  if (n === 0 || l.attempt.protocol !== 'TCP' || NAME.test(l.text)) finish(l, 'open');
}

const REJECTIONS = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EACCES',
  'EPERM',
  'ENETDOWN',
  'EHOSTDOWN',
  'ECONNRESET',
  'EPROTO',
  'EOPNOTSUPP',
]);

function sendDatagram({ fd, attempt, index }: Live): void {
  const data =
    attempt.protocol === 'ICMP'
      ? echoRequest(attempt.address, index)
      : attempt.port === 53
        ? DNS_QUERY
        : Buffer.from(WHO_ARE_YOU);
  libc.send(fd, data, data.length, 0x4000);
}

/** A ping socket gets its own identifier and checksum from the kernel; a raw one sends these. */
function echoRequest(address: string, index: number): Buffer {
  const b = Buffer.alloc(16);
  b[0] = address.includes(':') ? 128 : 8;
  b.writeUInt16BE(index & 0xffff, 4);
  b.writeUInt16BE(1, 6);
  if (b[0] === 8) b.writeUInt16BE(checksum(b), 2);
  return b;
}

/** Of the Internet (RFC 1071). */
function checksum(data: Buffer): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += data.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function isEchoReply(data: Buffer, { attempt, index }: Live): boolean {
  const v6 = attempt.address.includes(':');
  const message = v6 ? data : data.subarray(((data[0] ?? 0) & 0xf) * 4); // raw IPv4 sockets get the IP header too
  return message.length >= 8 && message[0] === (v6 ? 129 : 0) && message.readUInt16BE(4) === (index & 0xffff);
}

const DNS_QUERY = packet.encode({
  id: 1,
  type: 'query',
  flags: 0x100,
  questions: [{ type: 'A', name: 'kubernetes.default.svc.cluster.local' }],
});

function socketError(fd: number): string | undefined {
  const value = Buffer.alloc(4);
  libc.getsockopt(fd, 1, 4, value, [4]);
  const errno = value.readInt32LE(0);
  return errno === 0 ? undefined : errnoName(errno);
}
