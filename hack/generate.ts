import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { lintReference } from '../core/lint/pages.ts';
import { crdFiles } from './crd.ts';
import { goldenFiles } from './golden.ts';
import { installYaml } from './install-manifest.ts';
import { cliReference } from './reference/cli.ts';
import { crdReference } from './reference/crds.ts';
import { decisionIndex } from './reference/decisions.ts';
import { metricsReference } from './reference/metrics.ts';

/** Writes generated files; with --check only says which are stale, and fails then. */

const root = join(import.meta.dirname, '..');
const check = process.argv.includes('--check');
let stale = 0;

function put(file: string, text: string): void {
  const path = join(root, file);
  if (!check) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return;
  }
  let now = '';
  try {
    now = readFileSync(path, 'utf8');
  } catch {
    // not there: stale
  }
  if (now === text) return;
  stale++;
  console.error(`${file} is stale: run 'make generate'`);
}

for (const { file, text } of crdFiles()) put(`manifests/crds/${file}`, text);
for (const { file, text } of goldenFiles()) put(`dataplane/plan/golden/${file}`, text);
put('docs/reference/lint.md', lintReference());
put('docs/reference/crds.md', crdReference(crdFiles().map((f) => f.text)));
put('docs/reference/metrics.md', metricsReference());
put('docs/adr/README.md', decisionIndex(join(root, 'docs/adr')));
put('docs/reference/cli.md', cliReference(root));
// After the CRDs, which are part of it.
put('manifests/install.yaml', installYaml(join(root, 'manifests/kustomization.yaml')));
process.exit(stale === 0 ? 0 : 1);
