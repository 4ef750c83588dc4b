import { closeSync, openSync } from 'node:fs';
import { libc } from './libc.ts';

/** FD_SETSIZE: select() takes file numbers below it, and glibc ends the process that gives it another. */
export const SELECT_END = 1024;

const RLIMIT_NOFILE = 7;
const F_DUPFD_CLOEXEC = 1030;
/** fs.nr_open by default: no limit can be above it. */
const MOST_FILES = 1n << 20n;

/** How many files this process may have open. Raises the limit as far as it may before it answers. */
export function raiseFileLimit(): number {
  const limits = Buffer.alloc(16);
  if (libc.prlimit(0, RLIMIT_NOFILE, null, limits) !== 0) return SELECT_END;
  const [soft, hard] = [limits.readBigUInt64LE(0), limits.readBigUInt64LE(8)];
  for (const wanted of [MOST_FILES, hard]) {
    if (soft >= wanted) break;
    const next = Buffer.alloc(16);
    next.writeBigUInt64LE(wanted, 0);
    next.writeBigUInt64LE(wanted > hard ? wanted : hard, 8);
    // Above the hard limit only with CAP_SYS_RESOURCE.
    if (libc.prlimit(0, RLIMIT_NOFILE, next, null) === 0) return Number(wanted);
  }
  return Number(soft < MOST_FILES ? soft : MOST_FILES);
}

/**
 * The same open file under a number that select() cannot take, so that those it can take stay free. Closes the old number; gives that
 * one back when the limit of files allows no higher one.
 */
export function moveHigh(fd: number): number {
  if (fd >= SELECT_END) return fd;
  const high = libc.fcntl(fd, F_DUPFD_CLOEXEC, SELECT_END);
  if (high < 0) return fd;
  closeSync(fd);
  return high;
}

/** Too many files are open: for what was asked there is none left. */
export class NoFileError extends Error {
  override readonly name = 'NoFileError';
  readonly code = 'EMFILE';
}

const SOL_SOCKET = 1;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;

/** Whether `fd` is an open socket of this domain and protocol. */
function isSocket(fd: number, domain: number, protocol: number): boolean {
  const read = (option: number): number | undefined => {
    const value = Buffer.alloc(4);
    return libc.getsockopt(fd, SOL_SOCKET, option, value, [4]) === 0 ? value.readInt32LE(0) : undefined;
  };
  return read(SO_DOMAIN) === domain && read(SO_PROTOCOL) === protocol;
}

/**
 * File numbers below 1024, held for a library that waits with select(). Connections that others make can take every low number of a
 * process; never these.
 */
export class LowNumbers {
  readonly #wanted: number;
  readonly #held: number[] = [];

  /** @param count how many to hold */
  constructor(count: number) {
    this.#wanted = count;
    this.fill();
  }

  /** Takes numbers back that were given away and are free again. */
  fill(): void {
    while (this.#held.length < this.#wanted) {
      const fd = tryOpen();
      if (fd === undefined) return;
      if (fd >= SELECT_END) {
        closeSync(fd);
        return;
      }
      this.#held.push(fd);
    }
  }

  /**
   * Runs `open`, which opens one socket and does not say its number, and makes sure that the number is a low one. Undoes it by `close`
   * when it is not. Throws {@link NoFileError} before `open` is called when no low number is free.
   */
  open<T>(
    socket: { readonly domain: number; readonly protocol: number },
    open: () => T,
    close: (opened: T) => void,
  ): T {
    // Two, since another thread of this process may take one at any moment, and libnftables ends the process that has no file for it.
    for (const fd of this.#held.splice(-2)) closeSync(fd);
    try {
      const number = tryOpen();
      if (number !== undefined) closeSync(number);
      if (number === undefined || number >= SELECT_END)
        throw new NoFileError(
          'no file number below 1024 is left for libnftables: raise the limit of open files (RLIMIT_NOFILE)',
        );
      const opened = open();
      if (isSocket(number, socket.domain, socket.protocol)) return opened;
      close(opened);
      throw new NoFileError('the file number that was free for libnftables has been taken: try again');
    } finally {
      this.fill();
    }
  }
}

function tryOpen(): number | undefined {
  try {
    return openSync('/dev/null', 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EMFILE' || code === 'ENFILE') return undefined;
    throw error;
  }
}
