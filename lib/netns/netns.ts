import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { CLONE_NEWNET, checked, libc, MNT_DETACH, MS_BIND } from './libc.ts';

/** The namespace in which this process started. Opened once: /proc/self would show the switched one inside `inNetns`. */
let home: number | undefined;

/**
 * Runs `work` with the calling thread inside the network namespace at `path`. `work` must be synchronous.
 *
 * Throws what `work` throws, or an error with code ENOENT when there is no such namespace. Ends the process when the
 * thread cannot return.
 */
export function inNetns<T>(path: string, work: () => T extends PromiseLike<unknown> ? never : T): T {
  home ??= openSync('/proc/thread-self/ns/net', 'r');
  const fd = openSync(path, 'r');
  try {
    checked(`setns ${path}`, libc.setns(fd, CLONE_NEWNET));
    try {
      return work();
    } finally {
      if (libc.setns(home, CLONE_NEWNET) !== 0) process.abort();
    }
  } finally {
    closeSync(fd);
  }
}

/** Makes a network namespace and keeps it under `path` (as `ip netns` does under /run/netns). */
export function createNetns(path: string): void {
  home ??= openSync('/proc/thread-self/ns/net', 'r');
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  closeSync(openSync(path, 'wx', 0o444));
  try {
    checked('unshare', libc.unshare(CLONE_NEWNET));
    try {
      checked(`mount ${path}`, libc.mount('/proc/thread-self/ns/net', path, null, MS_BIND, null));
    } finally {
      if (libc.setns(home, CLONE_NEWNET) !== 0) process.abort();
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** Lets go of a namespace kept under `path`. Its devices vanish with the last user. No error when it is not there. */
export function deleteNetns(path: string): void {
  libc.umount2(path, MNT_DETACH);
  rmSync(path, { force: true });
}
