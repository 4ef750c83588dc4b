import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crdFiles } from './crd.ts';

/** Writes generated files; with --check only says which are stale, and fails then. */

const dir = join(import.meta.dirname, '../manifests/crds');
const check = process.argv.includes('--check');
mkdirSync(dir, { recursive: true });
let stale = 0;
for (const { file, text } of crdFiles()) {
  const path = join(dir, file);
  if (!check) {
    writeFileSync(path, text);
    continue;
  }
  let now = '';
  try {
    now = readFileSync(path, 'utf8');
  } catch {
    // not there: stale
  }
  if (now === text) continue;
  stale++;
  console.error(`manifests/crds/${file} is stale: run 'make generate'`);
}
process.exit(stale === 0 ? 0 : 1);
