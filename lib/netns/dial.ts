import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { checked, errnoName, lastErrno, libc, SyscallError } from './libc.ts';
import { sockaddr } from './listen.ts';
import { inNetns } from './netns.ts';

const AF = { 4: 2, 6: 10 } as const;
const STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const POLLOUT = 4;

/**
 * A TCP connection that is made inside another network namespace, from one of its addresses when `from` names it. Rejects with
 * {@link SyscallError} when there is none in time.
 */
export async function dialIn(
  netns: string,
  { ip, port, from }: { readonly ip: string; readonly port: number; readonly from?: string },
  timeoutMs: number,
): Promise<Socket> {
  const address = sockaddr(ip, port);
  const call = `connect ${ip} port ${port}`;
  const { fd, pending } = inNetns<{ fd: number; pending: boolean }>(netns, () => {
    const opened = checked('socket', libc.socket(AF[ip.includes(':') ? 6 : 4], STREAM_NONBLOCK_CLOEXEC, 0));
    const source = from === undefined ? undefined : sockaddr(from, 0);
    if (source && libc.bind(opened, source, source.length) !== 0) {
      const refused = lastErrno();
      closeSync(opened);
      throw new SyscallError(`bind ${from}`, refused);
    }
    if (libc.connect(opened, address, address.length) === 0) return { fd: opened, pending: false };
    const errno = lastErrno();
    if (errnoName(errno) === 'EINPROGRESS') return { fd: opened, pending: true };
    closeSync(opened);
    throw new SyscallError(call, errno);
  });
  try {
    if (pending) await connected(fd, call, timeoutMs);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return new Socket({ fd, readable: true, writable: true });
}

async function connected(fd: number, call: string, timeoutMs: number): Promise<void> {
  const end = performance.now() + timeoutMs;
  const request = Buffer.alloc(8);
  for (;;) {
    request.writeInt32LE(fd, 0);
    request.writeInt16LE(POLLOUT, 4);
    if (libc.poll(request, 1, 0) > 0) break;
    if (performance.now() > end) throw new SyscallError(call, ETIMEDOUT);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const error = Buffer.alloc(4);
  libc.getsockopt(fd, 1, 4, error, [4]); // SO_ERROR
  if (error.readInt32LE(0) !== 0) throw new SyscallError(call, error.readInt32LE(0));
}

const ETIMEDOUT = 110;
