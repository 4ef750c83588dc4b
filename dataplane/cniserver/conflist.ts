import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Name of our network configuration: runtimes take the first by name, so ours wins only when no other network is there. */
export const CONFLIST = 'zz-bulkhead.conflist';

/** Writes the network configuration that makes the runtime call our plugin. Last of all, when ADD can be served. */
export function writeConflist(dir: string, socket: string): void {
  const plugin = { type: 'bulkhead', socket, capabilities: { portMappings: true } };
  // Runtimes that know 1.1.0 read the list and take the highest they can; containerd up to 1.7 reads `cniVersion` alone.
  const versions = { cniVersion: '1.0.0', cniVersions: ['1.0.0', '1.1.0'] };
  const text = `${JSON.stringify({ ...versions, name: 'bulkhead', plugins: [plugin] }, undefined, 2)}\n`;
  const path = join(dir, CONFLIST);
  mkdirSync(dir, { recursive: true });
  try {
    if (readFileSync(path, 'utf8') === text) return;
  } catch {
    // not there yet
  }
  writeFileSync(`${path}.tmp`, text);
  renameSync(`${path}.tmp`, path);
}

/** Whether the runtime calls Multus here: then Multus makes the further interfaces of pods, and we must not. */
export function multusIsThere(dir: string): boolean {
  const first = otherNetwork(dir);
  if (first === undefined) return false;
  try {
    return /"type"\s*:\s*"multus(-shim)?"/.test(readFileSync(join(dir, first), 'utf8'));
  } catch {
    return false;
  }
}

/** Another network's configuration that the runtime takes in place of ours; undefined when ours is the one. */
export function otherNetwork(dir: string): string | undefined {
  let files: string[];
  try {
    files = readdirSync(dir);
  } catch {
    return undefined;
  }
  const [first] = files.filter((f) => /\.(conf|conflist|json)$/.test(f)).sort();
  return first === undefined || first === CONFLIST ? undefined : first;
}
