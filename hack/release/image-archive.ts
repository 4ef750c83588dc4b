import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/**
 * An image as one file, made without a container engine: layers are tars, the rest is JSON. The file is an OCI layout that older Docker
 * engines read too (manifest.json), so `docker load`, `ctr images import`, `podman load` and `skopeo` take it.
 * What the Dockerfile says of the container (ENV, USER, ENTRYPOINT) holds here as well: it is read from there.
 */
export type ImageParts = {
  /** `bulkhead:0.1.0` */
  readonly name: string;
  readonly version: string;
  readonly arch: 'amd64' | 'arm64';
  /** Tar of the base, and the folder that becomes /opt/bulkhead. */
  readonly base: string;
  readonly programs: string;
  readonly dockerfile: string;
  /** Seconds since 1970 that all files are dated. */
  readonly date: number;
};

export function writeImageArchive(parts: ImageParts, outfile: string): void {
  const work = mkdtempSync(join(tmpdir(), 'bulkhead-archive-'));
  try {
    mkdirSync(join(work, 'blobs/sha256'), { recursive: true });
    const layers = [parts.base, tarOf(parts, work)].map((tar) => addLayer(work, tar));
    const container = readDockerfile(parts.dockerfile);
    const config = addBlob(
      work,
      JSON.stringify({
        created: new Date(parts.date * 1000).toISOString(),
        architecture: parts.arch,
        os: 'linux',
        config: {
          ...container,
          Labels: {
            'org.opencontainers.image.title': 'bulkhead',
            'org.opencontainers.image.version': parts.version,
            'org.opencontainers.image.licenses': 'Apache-2.0',
          },
        },
        rootfs: { type: 'layers', diff_ids: layers.map((l) => l.diffId) },
        history: [{ created_by: 'hack/release/rootfs.sh' }, { created_by: 'hack/image.ts' }],
      }),
    );
    const manifest = addBlob(
      work,
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
        layers: layers.map(({ digest, size }) => ({
          mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
          digest,
          size,
        })),
      }),
    );
    const put = (file: string, value: unknown): void => writeFileSync(join(work, file), JSON.stringify(value));
    put('oci-layout', { imageLayoutVersion: '1.0.0' });
    put('index.json', {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [
        {
          mediaType: 'application/vnd.oci.image.manifest.v1+json',
          ...manifest,
          platform: { architecture: parts.arch, os: 'linux' },
          annotations: {
            'io.containerd.image.name': `docker.io/library/${parts.name}`,
            'org.opencontainers.image.ref.name': parts.version,
          },
        },
      ],
    });
    put('manifest.json', [
      { Config: pathOf(config.digest), RepoTags: [parts.name], Layers: layers.map((l) => pathOf(l.digest)) },
    ]);
    tar(outfile, work, parts.date, ['oci-layout', 'index.json', 'manifest.json', 'blobs']);
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** /opt/bulkhead as a tar. */
function tarOf({ programs, date }: ImageParts, work: string): string {
  const file = join(work, 'programs.tar');
  tar(file, programs, date, ['--transform=s,^\\.,opt/bulkhead,', '.']);
  return file;
}

/** The same bytes for the same files: sorted, dated, owned by root. */
function tar(outfile: string, dir: string, date: number, what: readonly string[]): void {
  const same = ['--sort=name', `--mtime=@${date}`, '--owner=0', '--group=0', '--numeric-owner', '--format=gnu'];
  execFileSync('tar', [...same, '-C', dir, '-cf', outfile, ...what]);
}

type Blob = { readonly digest: string; readonly size: number };
const sha256 = (data: Uint8Array): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;
const pathOf = (digest: string): string => `blobs/${digest.replace(':', '/')}`;

function addBlob(work: string, data: Uint8Array | string): Blob {
  const bytes = Buffer.from(data);
  const digest = sha256(bytes);
  writeFileSync(join(work, pathOf(digest)), bytes);
  return { digest, size: bytes.length };
}

function addLayer(work: string, file: string): Blob & { readonly diffId: string } {
  const data = readFileSync(file);
  const layer = { ...addBlob(work, gzipSync(data, { level: 6 })), diffId: sha256(data) };
  if (file.startsWith(work)) rmSync(file);
  return layer;
}

/** ENV, USER and ENTRYPOINT, as a container's configuration has them. */
export function readDockerfile(text: string): { Env: string[]; User: string; Entrypoint: string[] } {
  const line = (word: string): string => new RegExp(`^${word} (.*)$`, 'm').exec(text)?.[1] ?? '';
  return { Env: line('ENV').split(' '), User: line('USER'), Entrypoint: JSON.parse(line('ENTRYPOINT')) as string[] };
}

/** Size in whole megabytes, for people. */
export const megabytes = (file: string): number => Math.round(statSync(file).size / 1e6);
