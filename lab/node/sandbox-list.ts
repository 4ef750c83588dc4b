import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

/** Which namespace each pod of this node has, for `bulkhead lab exec` and the like: uid → sandbox. */
export type SandboxList = Readonly<
  Record<string, { readonly containerID: string; readonly ifname: string; readonly netns: string }>
>;

/** In the node's own /run. */
export const SANDBOX_FILE = '/run/bulkhead-lab/sandboxes.json';

export function writeSandboxes(list: ReadonlyMap<string, SandboxList[string]>): void {
  try {
    mkdirSync('/run/bulkhead-lab', { recursive: true });
    writeFileSync(`${SANDBOX_FILE}.tmp`, JSON.stringify(Object.fromEntries(list)));
    renameSync(`${SANDBOX_FILE}.tmp`, SANDBOX_FILE);
  } catch {
    // A full /run must not keep a pod from starting or ending; the next change writes the whole list again.
  }
}

/** @param root the node's file system as seen from outside: /proc/PID/root */
export function readSandboxes(root: string): SandboxList {
  try {
    return JSON.parse(readFileSync(`${root}${SANDBOX_FILE}`, 'utf8')) as SandboxList;
  } catch {
    return {};
  }
}
