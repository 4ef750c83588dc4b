import koffi from 'koffi';
import { getSystemErrorName } from 'node:util';

const lib = koffi.load('libc.so.6');

/** A system call said no. `code` is the errno's name, for example "ENOENT". */
export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  readonly code: string;
  constructor(call: string, errno: number) {
    const code = errnoName(errno);
    super(`${call}: ${code}`);
    this.code = code;
  }
}

/** "ENOENT" for 2. */
export function errnoName(errno: number): string {
  if (errno === 115) return 'EINPROGRESS'; // libuv has no name for it
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `E${errno}`;
  }
}

/** errno of the last call on this thread. Read it before anything else runs. */
export const lastErrno = (): number => koffi.errno();

/** Throws {@link SyscallError} when `result` is negative, else gives it back. */
export function checked(call: string, result: number): number {
  if (result < 0) throw new SyscallError(call, lastErrno());
  return result;
}

/**
 * `recv` on another thread, for calls in which the kernel works for long. The buffer must not be used meanwhile. A negative result
 * has no errno: that belongs to the other thread.
 */
export function receiveElsewhere(fd: number, buffer: Uint8Array): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  receive.async(fd, buffer, buffer.length, 0, (error: Error | null, length: number) => {
    if (error) reject(error);
    else resolve(length);
  });
  return promise;
}

/** As {@link receiveElsewhere}: the kernel begins a dump while it takes the request. */
export function sendElsewhere(fd: number, bytes: Uint8Array): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  transmit.async(fd, bytes, bytes.length, 0, (error: Error | null, length: number) => {
    if (error) reject(error);
    else resolve(length);
  });
  return promise;
}

const transmit = lib.func('long send(int fd, const void* buf, size_t len, int flags)');
const receive = lib.func('long recv(int fd, _Out_ void* buf, size_t len, int flags)');

/** The system calls that Node does not offer. All synchronous, all on the calling thread. */
export const libc = {
  setns: lib.func('int setns(int fd, int nstype)') as (fd: number, type: number) => number,
  unshare: lib.func('int unshare(int flags)') as (flags: number) => number,
  mount: lib.func(
    'int mount(const char* src, const char* target, const char* type, unsigned long flags, const char* data)',
  ) as (source: string, target: string, type: string | null, flags: number, data: string | null) => number,
  umount2: lib.func('int umount2(const char* target, int flags)') as (target: string, flags: number) => number,
  socket: lib.func('int socket(int domain, int type, int protocol)') as (d: number, t: number, p: number) => number,
  bind: lib.func('int bind(int fd, const void* addr, uint len)') as (
    fd: number,
    addr: Uint8Array,
    len: number,
  ) => number,
  listen: lib.func('int listen(int fd, int backlog)') as (fd: number, backlog: number) => number,
  connect: lib.func('int connect(int fd, const void* addr, uint len)') as (
    fd: number,
    addr: Uint8Array,
    len: number,
  ) => number,
  setsockopt: lib.func('int setsockopt(int fd, int level, int name, const void* val, uint len)') as (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number,
  ) => number,
  getsockopt: lib.func('int getsockopt(int fd, int level, int name, _Out_ void* val, _Inout_ uint* len)') as (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: [number],
  ) => number,
  send: transmit as (fd: number, buf: Uint8Array, len: number, flags: number) => number,
  recv: receive as (fd: number, buf: Uint8Array, len: number, flags: number) => number,
  fcntl: lib.func('int fcntl(int fd, int cmd, int arg)') as (fd: number, cmd: number, arg: number) => number,
  prlimit: lib.func('int prlimit64(int pid, int resource, const void* next, _Out_ void* before)') as (
    pid: number,
    resource: number,
    next: Uint8Array | null,
    before: Uint8Array | null,
  ) => number,
  poll: lib.func('int poll(_Inout_ void* fds, unsigned long n, int timeout)') as (
    fds: Uint8Array,
    n: number,
    timeout: number,
  ) => number,
};

export const CLONE_NEWNET = 0x4000_0000;
export const MS_BIND = 4096;
export const MNT_DETACH = 2;
