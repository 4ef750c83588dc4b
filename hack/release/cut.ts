import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cutChangelog } from './changelog.ts';

/** `hack/release/cut.ts 0.2.0`: sets the version everywhere that it stands, and dates the changelog. Refuses a dirty tree. */

const root = join(import.meta.dirname, '../..');
const [, , version = ''] = process.argv;
const fail = (message: string): never => {
  console.error(message);
  process.exit(2);
};
if (!/^\d+\.\d+\.\d+$/.test(version)) fail(`VERSION "${version}": three numbers, as 0.2.0`);
const git = (...args: string[]): string => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
const changed = git('status', '--porcelain');
if (changed !== '') fail(`commit these files first:\n${changed}`);
const { version: before } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

const edit = (file: string, change: (text: string) => string): void => {
  const path = join(root, file);
  writeFileSync(path, change(readFileSync(path, 'utf8')));
};
const today = new Date().toISOString().slice(0, 10);
edit('CHANGELOG.md', (text) => cutChangelog(text, version, today));
for (const file of ['package.json', 'package-lock.json'])
  edit(file, (text) => text.replaceAll(`"version": "${before}",\n  "`, `"version": "${version}",\n  "`));
edit('package-lock.json', (text) =>
  text.replace(/("": \{\s*"name": "bulkhead",\s*"version": ")[^"]+/, (_, head: string) => `${head}${version}`),
);
for (const file of [
  'manifests/agent/daemonset.yaml',
  'manifests/controller/deployment.yaml',
  'manifests/uninstall/cleanup.yaml',
])
  edit(file, (text) => text.replaceAll(`image: bulkhead:${before}`, `image: bulkhead:${version}`));
execFileSync(process.execPath, ['hack/generate.ts'], { cwd: root, stdio: 'inherit' });
console.log(`Look at the changes (git diff), then:
  git commit -am 'bulkhead ${version}' && git tag -a v${version} -m 'bulkhead ${version}' && make release`);
