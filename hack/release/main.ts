import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { installYaml } from '../install-manifest.ts';
import { programVersion } from '../version.ts';
import { chartFiles } from './chart.ts';
import { megabytes, writeImageArchive } from './image-archive.ts';
import { krewManifest } from './krew.ts';
import { buildPlugin } from './plugin.ts';
import { debianPackages, sbomOf } from './sbom.ts';

/**
 * Writes dist/release: all that a user takes home. `--arch` (may be repeated) says for which machine types images are made; none at all
 * leaves them out. A type that cannot be made here is named, and everything else is made.
 */

const { values } = parseArgs({
  options: {
    arch: { type: 'string', multiple: true, default: ['amd64', 'arm64'] },
    'no-image': { type: 'boolean', default: false },
    repository: { type: 'string', default: 'bulkhead' },
    url: { type: 'string', default: 'https://bulkhead.dev' },
    out: { type: 'string' },
  },
});
const root = join(import.meta.dirname, '../..');
const version = programVersion(root);
const out = values.out ?? join(root, 'dist/release');
const image = `${values.repository}:${version}`;
const date = Number(execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' }));

// Programs carry their version: built anew, since a commit changes it without a change of files.
execFileSync(process.execPath, ['hack/build.ts'], { cwd: root, stdio: 'inherit' });
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const notMade: string[] = [];

const manifests = installYaml(join(root, 'manifests/kustomization.yaml')).replaceAll(
  /^( *image: )bulkhead:.*$/gm,
  `$1${image}`,
);
writeFileSync(join(out, 'install.yaml'), manifests);
writeChart();
const inputs = [
  ...(JSON.parse(readFileSync(join(root, 'dist/inputs.json'), 'utf8')) as string[]),
  ...(await writePlugin()),
];
const debian = values['no-image'] ? [] : values.arch.flatMap(writeImage);
writeFileSync(
  join(out, `bulkhead-${version}.cdx.json`),
  `${JSON.stringify(sbomOf(root, version, { inputs, debian: distinct(debian) }), undefined, 2)}\n`,
);
copyFileSync(join(root, 'LICENSE'), join(out, 'LICENSE'));
copyFileSync(join(root, 'CHANGELOG.md'), join(out, 'CHANGELOG.md'));
// Beside the release, not part of it: what the SBOM is compared with.
writeFileSync(join(root, 'dist/release-inputs.json'), JSON.stringify(inputs));
writeSums();

console.log(`bulkhead ${version} is in ${out}`);
for (const file of readdirSync(out).sort()) console.log(`  ${file}  ${megabytes(join(out, file)) || '<1'} MB`);
for (const what of notMade) console.log(`NOT MADE: ${what}`);
process.exitCode = notMade.length === 0 ? 0 : 3;

/** The Helm chart, packed as `helm package` packs it. */
function writeChart(): void {
  const work = mkdtempSync(join(tmpdir(), 'bulkhead-chart-'));
  for (const [file, text] of chartFiles(manifests, version)) {
    mkdirSync(dirname(join(work, 'bulkhead', file)), { recursive: true });
    writeFileSync(join(work, 'bulkhead', file), text);
  }
  pack(`bulkhead-chart-${version}.tgz`, work, ['bulkhead']);
}

/** The kubectl plugin with its krew manifest. Gives the files that went into it. */
async function writePlugin(): Promise<string[]> {
  const work = mkdtempSync(join(tmpdir(), 'bulkhead-plugin-'));
  const file = join(work, 'kubectl-bulkhead');
  const metafile = await buildPlugin(root, file);
  chmodSync(file, 0o755);
  copyFileSync(file, join(out, 'kubectl-bulkhead'));
  chmodSync(join(out, 'kubectl-bulkhead'), 0o755);
  copyFileSync(join(root, 'LICENSE'), join(work, 'LICENSE'));
  const archive = `kubectl-bulkhead-${version}.tar.gz`;
  pack(archive, work, ['kubectl-bulkhead', 'LICENSE']);
  writeFileSync(
    join(out, 'krew.yaml'),
    krewManifest({ version, archive, sha256: sha256(join(out, archive)), url: values.url }),
  );
  return Object.keys(metafile.inputs);
}

/** The image for one machine type. Gives the Debian packages in it. */
function writeImage(arch: string): ReturnType<typeof debianPackages> {
  if (arch !== 'amd64' && arch !== 'arm64') throw new Error(`--arch ${arch}: amd64 or arm64`);
  const work = mkdtempSync(join(tmpdir(), 'bulkhead-base-'));
  try {
    const host = process.arch === 'arm64' ? 'arm64' : 'amd64';
    execFileSync(process.execPath, ['hack/image.ts', '--arch', arch, '--host', host], { cwd: root, stdio: 'inherit' });
    const base = join(work, 'base.tar');
    execFileSync('hack/release/rootfs.sh', [arch, base], {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, SOURCE_DATE_EPOCH: String(date) },
    });
    const archive = join(out, `bulkhead-image-${version}-${arch}.tar`);
    writeImageArchive(
      {
        name: image,
        version,
        arch,
        base,
        programs: join(root, 'dist/image', arch),
        dockerfile: readFileSync(join(root, 'Dockerfile'), 'utf8'),
        date,
      },
      archive,
    );
    return debianPackages(
      execFileSync('tar', ['-xOf', base, './var/lib/dpkg/status'], { encoding: 'utf8', maxBuffer: 64 << 20 }),
    );
  } catch (error) {
    notMade.push(`the image for ${arch}: ${(error as Error).message.split('\n')[0] ?? ''}`);
    return [];
  } finally {
    rmSync(work, { recursive: true });
  }
}

function pack(name: string, dir: string, what: readonly string[]): void {
  const same = ['--sort=name', `--mtime=@${date}`, '--owner=0', '--group=0', '--numeric-owner'];
  execFileSync('tar', [...same, '-C', dir, '-czf', join(out, name), ...what]);
  rmSync(dir, { recursive: true });
}

function writeSums(): void {
  const lines = readdirSync(out)
    .sort()
    .map((file) => `${sha256(join(out, file))}  ${file}`);
  writeFileSync(join(out, 'SHA256SUMS'), `${lines.join('\n')}\n`);
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

function distinct<T extends { readonly purl: string }>(items: readonly T[]): T[] {
  return [...new Map(items.map((i) => [i.purl, i])).values()];
}
