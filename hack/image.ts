import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/**
 * Gathers dist/image/<arch>/, the context of the Dockerfile: bundled programs, Node, koffi's native part, the CNI executable.
 * For another machine type than this one the three native parts come from their npm packages for that type.
 */

const { values } = parseArgs({
  options: { arch: { type: 'string', default: 'amd64' }, host: { type: 'string', default: 'amd64' } },
});
const { arch, host } = values;
if (arch !== 'amd64' && arch !== 'arm64') throw new Error(`--arch ${arch}: amd64 or arm64`);
const npmArch = arch === 'amd64' ? 'x64' : 'arm64';
const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const out = join(dist, 'image', arch);

rmSync(out, { recursive: true, force: true });
for (const d of ['bin', 'cni', 'node_modules/@koromix']) mkdirSync(join(out, d), { recursive: true });
for (const program of ['bulkhead-controller', 'bulkhead-agent', 'bulkhead'])
  copyFileSync(join(dist, `${program}.mjs`), join(out, `${program}.mjs`));

const native = arch === host ? join(root, 'node_modules') : foreignPackages();
cpSync(join(root, 'node_modules/koffi'), join(out, 'node_modules/koffi'), { recursive: true });
cpSync(join(native, `@koromix/koffi-linux-${npmArch}`), join(out, `node_modules/@koromix/koffi-linux-${npmArch}`), {
  recursive: true,
});
copyFileSync(join(native, arch === host ? 'node/bin/node' : `node-linux-${npmArch}/bin/node`), join(out, 'bin/node'));
if (arch === host) copyFileSync(join(dist, 'cni/bulkhead'), join(out, 'cni/bulkhead'));
else compilePluginFor(npmArch);

const script = join(out, 'bin/bulkhead');
writeFileSync(script, '#!/bin/sh\nexec /opt/bulkhead/bin/node /opt/bulkhead/bulkhead.mjs "$@"\n');
for (const file of [script, join(out, 'bin/node'), join(out, 'cni/bulkhead')]) chmodSync(file, 0o755);

/** node_modules with the native packages of the other machine type. */
function foreignPackages(): string {
  const dir = mkdtempSync(join(tmpdir(), 'bulkhead-image-'));
  const version = (name: string): string =>
    JSON.parse(
      execFileSync('npm', ['pkg', 'get', 'version', '--prefix', join(root, 'node_modules', name)], {
        encoding: 'utf8',
      }),
    ) as string;
  const packages = [`node-linux-${npmArch}@${version('node')}`, `@koromix/koffi-linux-${npmArch}@${version('koffi')}`];
  execFileSync(
    'npm',
    [
      'install',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--force',
      '--prefix',
      dir,
      '--os=linux',
      `--cpu=${npmArch}`,
      ...packages,
    ],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  return join(dir, 'node_modules');
}

function compilePluginFor(cpu: string): void {
  execFileSync(
    join(root, 'node_modules/.bin/bun'),
    [
      'build',
      '--compile',
      '--bytecode',
      '--minify',
      '--format=esm',
      `--target=bun-linux-${cpu}`,
      join(dist, 'bulkhead-cni.js'),
      '--outfile',
      join(out, 'cni/bulkhead'),
    ],
    { stdio: ['ignore', 'ignore', 'inherit'], cwd: dist },
  );
}
