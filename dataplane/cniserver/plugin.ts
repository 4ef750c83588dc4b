import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';

/** Puts our plugin where the runtime looks for it. A runtime that is just starting the old one is not disturbed: renamed into place. */
export function installPlugin(source: string, dir: string): void {
  const target = join(dir, 'bulkhead');
  if (digest(target) === digest(source)) return;
  mkdirSync(dir, { recursive: true });
  const next = join(dir, '.bulkhead.next');
  copyFileSync(source, next);
  chmodSync(next, 0o755);
  renameSync(next, target);
}

function digest(path: string): string | undefined {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
