import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Name of our network configuration: it sorts behind the usual ones, so it wins only when no other network is there. */
const FILE = '80-bulkhead.conflist';

/** Writes the network configuration that makes the runtime call our plugin. Last of all, when ADD can be served. */
export function writeConflist(dir: string, socket: string): void {
  const text = `${JSON.stringify({ cniVersion: '1.1.0', name: 'bulkhead', plugins: [{ type: 'bulkhead', socket }] }, undefined, 2)}\n`;
  const path = join(dir, FILE);
  mkdirSync(dir, { recursive: true });
  try {
    if (readFileSync(path, 'utf8') === text) return;
  } catch {
    // not there yet
  }
  writeFileSync(`${path}.tmp`, text);
  renameSync(`${path}.tmp`, path);
}
