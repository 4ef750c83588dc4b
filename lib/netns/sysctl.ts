import { readFileSync, writeFileSync } from 'node:fs';
import { inNetns } from './netns.ts';

/** Kernel switches of one namespace: name with slashes below /proc/sys ("net/ipv4/ip_forward") → value. */
export type Sysctls = Readonly<Record<string, string>>;

/**
 * Writes switches that differ, in the namespace at `netns` or in this process's own. A switch that this kernel does not
 * have is passed over and its name returned: IPv6 may be compiled out.
 */
export function writeSysctls(sysctls: Sysctls, netns?: string): string[] {
  const write = (): string[] =>
    Object.entries(sysctls)
      .filter(([name, value]) => !writeOne(name, value))
      .map(([name]) => name);
  return netns === undefined ? write() : inNetns<string[]>(netns, write);
}

/** Reads one switch in a namespace, or undefined when the kernel has none of that name. */
export function readSysctl(name: string, netns?: string): string | undefined {
  const read = (): string | undefined => readOrUndefined(name);
  return netns === undefined ? read() : inNetns<string | undefined>(netns, read);
}

/** As {@link readSysctl}, for many at once; those that the kernel does not have are left out. */
export function readSysctls(names: readonly string[], netns?: string): Map<string, string> {
  if (names.length === 0) return new Map();
  const read = (): Map<string, string> =>
    new Map(
      names.flatMap((name): [string, string][] => {
        const value = readOrUndefined(name);
        return value === undefined ? [] : [[name, value]];
      }),
    );
  return netns === undefined ? read() : inNetns<Map<string, string>>(netns, read);
}

// /proc/sys/net shows the namespace of the thread that opens the file, so these are synchronous on purpose.
function writeOne(name: string, value: string): boolean {
  const now = readOrUndefined(name);
  if (now === undefined) return false;
  if (now !== value) writeFileSync(`/proc/sys/${name}`, value);
  return true;
}

function readOrUndefined(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
