import { closeSync } from 'node:fs';
import { ipToBytes, mustIp } from '../ip/address.ts';
import { checked, libc } from './libc.ts';
import { inNetns } from './netns.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK = { tcp: 1, udp: 2 } as const;
const NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

/** Bytes of a sockaddr_in or sockaddr_in6. */
export function sockaddr(ip: string, port: number): Buffer {
  const address = mustIp(ip);
  const bytes = ipToBytes(address);
  const b = Buffer.alloc(address.family === 4 ? 16 : 28);
  b.writeUInt16LE(address.family === 4 ? AF_INET : AF_INET6, 0);
  b.writeUInt16BE(port, 2);
  b.set(bytes, address.family === 4 ? 4 : 8);
  return b;
}

/**
 * A bound socket in another network namespace, or in the own one for undefined, as a file descriptor for `server.listen({ fd })` or a datagram socket's
 * `bind({ fd })`. A TCP socket listens already. "::" takes both families.
 */
export function listenIn(netns: string | undefined, kind: 'tcp' | 'udp', ip: string, port: number): number {
  const open = (): number => {
    const address = sockaddr(ip, port);
    const fd = checked('socket', libc.socket(ip.includes(':') ? AF_INET6 : AF_INET, SOCK[kind] | NONBLOCK_CLOEXEC, 0));
    try {
      const one = Buffer.from([1, 0, 0, 0]);
      libc.setsockopt(fd, 1, 2, one, 4); // SO_REUSEADDR
      if (ip.includes(':')) libc.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, Buffer.alloc(4), 4);
      checked(`bind ${ip} port ${port}`, libc.bind(fd, address, address.length));
      if (kind === 'tcp') checked('listen', libc.listen(fd, 512));
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  };
  return netns === undefined ? open() : inNetns<number>(netns, open);
}
