import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exec, type ExecResult } from '../../lib/exec/exec.ts';
import { bundledPackages, type Sbom } from '../../hack/release/sbom.ts';
import { checkout } from './lab.ts';

// What `make release` writes, used as a user uses it: checked, unpacked, rendered and started outside of the checkout.

const node = join(checkout, 'node_modules/.bin/node');
const work = mkdtempSync(join(tmpdir(), 'bulkhead-release-'));
const out = join(work, 'release');
let version = '';
const only = (pattern: RegExp): string => {
  const found = readdirSync(out).filter((f) => pattern.test(f));
  expect(found, `files of ${out} that match ${pattern}`).toHaveLength(1);
  return join(out, found[0]!);
};
const text = (file: string): string => readFileSync(file, 'utf8');
const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');
const run = (...argv: [string, ...string[]]): Promise<ExecResult> => exec(argv, { timeoutMs: 60_000 });

beforeAll(async () => {
  await exec([node, 'hack/release/main.ts', '--out', out, '--repository', 'registry.example/bulkhead'], {
    cwd: checkout,
    timeoutMs: 590_000,
  });
  version = /^bulkhead-(.*)\.cdx\.json$/.exec(basename(only(/\.cdx\.json$/)))?.[1] ?? '';
}, 600_000);
afterAll(() => rmSync(work, { recursive: true }));

test('the checksums are those of all files', async () => {
  const named = text(join(out, 'SHA256SUMS')).trim().split('\n');
  expect(named.map((l) => l.split('  ')[1])).toEqual(
    readdirSync(out)
      .filter((f) => f !== 'SHA256SUMS')
      .sort(),
  );
  await exec(['sha256sum', '--check', '--strict', 'SHA256SUMS'], { cwd: out });
});

describe('the chart', () => {
  type Container = {
    image: string;
    imagePullPolicy: string;
    args: string[];
    env: object[];
    resources: { limits: object };
  };
  type PodSpec = { containers: [Container]; tolerations: object[]; nodeSelector: Record<string, string> };
  type Named = {
    kind: string;
    metadata: { name: string; namespace?: string };
    spec: { replicas?: number; template: { spec: PodSpec }; subnets?: { pools: object[] } };
  };
  const objects = (yaml: string): Map<string, Named> =>
    new Map(
      parseAllDocuments(yaml).flatMap((d) => {
        const o = d.toJS() as Named | null;
        return o === null ? [] : [[`${o.kind} ${o.metadata.namespace ?? ''}/${o.metadata.name}`, o] as const];
      }),
    );
  let helm = '';
  const template = async (...flags: string[]): Promise<Map<string, Named>> => {
    const chart = only(/^bulkhead-chart-.*\.tgz$/);
    const argv = [helm, 'template', 'bulkhead', chart, '--include-crds', '--kube-version', '1.34.0', ...flags];
    return objects((await exec(argv as [string, ...string[]])).stdout);
  };
  beforeAll(async () => {
    helm = await findProgram('helm', 'helm.sh/helm/v3/cmd/helm@v3.22.0');
  }, 600_000);

  test('renders install.yaml, object by object, with the values that it comes with', async () => {
    const expected = objects(text(join(out, 'install.yaml')));
    expect(expected.size).toBeGreaterThan(30);
    const rendered = await template();
    expect([...rendered.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [key, object] of expected) expect(rendered.get(key), key).toEqual(object);
    const images = [...expected.values()].flatMap((o) => [...JSON.stringify(o).matchAll(/"image":"([^"]+)"/g)]);
    expect(images.map(([, image]) => image)).toEqual(Array(2).fill(`registry.example/bulkhead:${version}`));
  });

  test('each value reaches its place', async () => {
    const values = join(work, 'values.yaml');
    writeFileSync(
      values,
      JSON.stringify({
        namespace: 'walls',
        image: { repository: 'r.example/b', tag: 't', pullPolicy: 'Always' },
        bulkheadConfig: { subnets: { pools: [{ prefixes: ['10.64.0.0/10'] }] } },
        agent: {
          logLevel: 'debug',
          extraArgs: ['--audit-interval=5'],
          resources: { limits: { memory: '1Gi' } },
          tolerations: [],
          nodeSelector: { a: 'b' },
        },
        controller: { replicas: 1, logLevel: 'warn' },
      }),
    );
    const rendered = await template('-f', values);
    const { containers, tolerations, nodeSelector } = rendered.get('DaemonSet walls/bulkhead-agent')!.spec.template
      .spec;
    expect({ tolerations, nodeSelector: nodeSelector['a'], resources: containers[0].resources.limits }).toEqual({
      tolerations: [],
      nodeSelector: 'b',
      resources: { memory: '1Gi' },
    });
    expect(containers[0]).toMatchObject({ image: 'r.example/b:t', imagePullPolicy: 'Always' });
    expect(containers[0].args.at(-1)).toBe('--audit-interval=5');
    expect(containers[0].env).toContainEqual({ name: 'BULKHEAD_LOG_LEVEL', value: 'debug' });
    expect(rendered.get('Deployment walls/bulkhead-controller')?.spec.replicas).toBe(1);
    expect(rendered.get('BulkheadConfig /default')?.spec.subnets?.pools).toHaveLength(1);
    // The namespace stands in names of users and of the webhook's Service too; only those who are left alone keep their own.
    const left = [...rendered].filter(
      ([key, o]) => !key.startsWith('Custom') && JSON.stringify(o).includes('kube-system'),
    );
    for (const [, object] of left)
      expect(JSON.stringify(object)).not.toMatch(/serviceaccount:kube-system|"namespace":"kube-system"/);
    expect(JSON.stringify([...rendered.values()])).toContain('system:serviceaccount:walls:bulkhead-controller');
  });

  test('refuses values that mean nothing', async () => {
    for (const wrong of ['agent.logLevel=loud', 'agents.logLevel=info', 'bulkheadConfig.egres.defaultMode=NAT'])
      await expect(template('--set', wrong), wrong).rejects.toThrow(/values don't meet the specifications/);
    await expect(template('--set', 'bulkheadConfig.egress.defaultMode=NAT')).resolves.toBeDefined();
  });
});

describe('the kubectl plugin', () => {
  const bare = join(work, 'bare');
  const plugin = (...words: string[]): Promise<ExecResult> =>
    exec(['env', '-i', `PATH=${bare}`, 'kubectl-bulkhead', ...words], { cwd: bare });
  beforeAll(async () => {
    mkdirSync(bare);
    await run('tar', '-xzf', only(/^kubectl-bulkhead-.*\.tar\.gz$/), '-C', bare);
    symlinkSync(node, join(bare, 'node'));
    symlinkSync('/usr/bin/env', join(bare, 'env'));
  });

  test('is one file that runs with node alone', async () => {
    expect((await plugin('--version')).stdout.trim()).toBe(version);
    const { stdout } = await plugin('--help');
    for (const word of ['status', 'reach', 'trace', 'explain', 'isolate']) expect(stdout).toContain(`  ${word} `);
    await expect(plugin('lab', 'up')).rejects.toThrow(/needs a checkout/);
  });

  test('answers a question about manifests', async () => {
    writeFileSync(join(bare, 'm.yaml'), text(join(checkout, 'examples/shops/shops.yaml')));
    const { stdout } = await plugin('explain', '--all', '-f', 'm.yaml', '-o', 'json');
    expect(JSON.stringify(JSON.parse(stdout))).toContain('shop-a');
  });

  test('an older Node.js is named, before anything that it does not know', async () => {
    const old = 'data:text/javascript,Object.defineProperty(process.versions, "node", { value: "20.1.0" })';
    await expect(run(join(bare, 'node'), '--import', old, join(bare, 'kubectl-bulkhead'), '--version')).rejects.toThrow(
      /needs Node\.js 22 or newer/,
    );
  });

  test('krew finds what it names', async () => {
    const { spec } = parse(text(join(out, 'krew.yaml')));
    expect(spec.version).toBe(`v${version}`);
    for (const { uri, sha256: sum, bin, files } of spec.platforms) {
      const archive = join(out, uri.split('/').at(-1));
      expect(sum).toBe(sha256(readFileSync(archive)));
      const { stdout } = await run('tar', '-tzf', archive);
      for (const file of [bin, ...files.map((f: { from: string }) => f.from)])
        expect(stdout.split('\n')).toContain(file);
    }
  });
});

describe.each([
  ['amd64', 0x3e],
  ['arm64', 0xb7],
] as const)('the image for %s', (arch, machine) => {
  const image = join(work, arch);
  const rootfs = join(image, 'rootfs');
  const blob = (digest: string): string => join(image, 'blobs', digest.replace(':', '/'));
  const json = (file: string): ReturnType<typeof JSON.parse> => JSON.parse(text(join(image, file)));

  beforeAll(async () => {
    mkdirSync(rootfs, { recursive: true });
    await run('tar', '-xf', only(new RegExp(`^bulkhead-image-.*-${arch}\\.tar$`)), '-C', image);
    const [{ Layers: layers }] = json('manifest.json');
    for (const layer of layers) await run('tar', '-xzf', join(image, layer), '-C', rootfs);
  }, 120_000);

  test('is an OCI layout whose digests hold', async () => {
    const [{ digest, annotations, platform }] = json('index.json').manifests;
    expect(platform).toEqual({ architecture: arch, os: 'linux' });
    expect(annotations['org.opencontainers.image.ref.name']).toBe(version);
    const manifest = JSON.parse(text(blob(digest)));
    for (const part of [manifest.config, ...manifest.layers, { digest }])
      expect(`sha256:${sha256(readFileSync(blob(part.digest)))}`).toBe(part.digest);
    const config = JSON.parse(text(blob(manifest.config.digest)));
    expect(config).toMatchObject({ architecture: arch, config: { User: '65532:65532' } });
    for (const [i, { digest: layer }] of manifest.layers.entries()) {
      const { stdout } = await exec(['sh', '-c', `gunzip -c ${blob(layer)} | sha256sum`]);
      expect(`sha256:${stdout.split(' ')[0]}`).toBe(config.rootfs.diff_ids[i]);
    }
  });

  test('loads, as the OCI archive that it is and as an archive of docker', async () => {
    const archive = only(new RegExp(`^bulkhead-image-.*-${arch}\\.tar$`));
    for (const kind of ['oci-archive', 'docker-archive']) {
      // It copies every layer, and refuses one whose digest is not what the manifest says.
      await exec(['skopeo', 'copy', '--quiet', `${kind}:${archive}`, `dir:${join(work, `${kind}-${arch}`)}`]);
      const { stdout } = await exec(['skopeo', 'inspect', `${kind}:${archive}`]);
      expect(JSON.parse(stdout)).toMatchObject({
        Architecture: arch,
        Labels: { 'org.opencontainers.image.version': version },
      });
    }
  });

  test('holds programs for this type of machine', () => {
    const files = ['bin/node', 'cni/bulkhead']
      .map((f) => `opt/bulkhead/${f}`)
      .concat('usr/sbin/nft', 'usr/sbin/conntrack');
    for (const file of files) {
      const head = readFileSync(join(rootfs, file)).subarray(0, 20);
      expect([file, head.toString('latin1', 1, 4), head.readUInt16LE(18)]).toEqual([file, 'ELF', machine]);
    }
  });

  test.runIf(arch === (process.arch === 'arm64' ? 'arm64' : 'amd64'))('runs its programs', async () => {
    const inside = (...argv: string[]): Promise<ExecResult> =>
      exec(['chroot', '--userspec=65532:65532', rootfs, ...argv] as [string, ...string[]], {
        env: { PATH: '/opt/bulkhead/bin:/usr/sbin:/usr/bin' },
      });
    for (const program of ['bulkhead', 'bulkhead-agent', 'bulkhead-controller'])
      expect((await inside('/opt/bulkhead/bin/node', `/opt/bulkhead/${program}.mjs`, '--version')).stdout.trim()).toBe(
        version,
      );
    expect((await inside('bulkhead', '--version')).stdout.trim()).toBe(version);
    for (const tool of ['nft', 'conntrack']) expect((await inside(tool, '--version')).stdout).toContain(' v');
    expect((await inside('ip', '-V')).stdout).toContain('iproute2');
    // The agent copies the plugin to the node, where the runtime starts it.
    const { stdout } = await exec([join(rootfs, 'opt/bulkhead/cni/bulkhead')], {
      input: JSON.stringify({ cniVersion: '1.1.0' }),
      env: { CNI_COMMAND: 'VERSION' },
    });
    expect(JSON.parse(stdout).supportedVersions).toContain('1.1.0');
  });
});

test('the SBOM lists every package that is in a bundle, the runtimes and the base', () => {
  const sbom = JSON.parse(text(only(/\.cdx\.json$/))) as Sbom & { bomFormat: string; specVersion: string };
  expect([sbom.bomFormat, sbom.specVersion]).toEqual(['CycloneDX', '1.5']);
  const names = new Set(sbom.components.map((c) => c.name));
  const bundled = [
    ...bundledPackages(JSON.parse(text(join(checkout, 'dist/release-inputs.json'))) as string[]).values(),
  ];
  expect(bundled).toContain('commander');
  for (const name of [...bundled, 'koffi', 'node', 'bun', 'nftables', 'conntrack', 'iproute2'])
    expect(names).toContain(name);
  for (const { purl, version: of } of sbom.components)
    expect([purl, of]).toEqual([expect.stringMatching(/^pkg:(npm|deb)\//), expect.any(String)]);
});

describe('a version is cut', () => {
  const clone = join(work, 'clone');
  const inClone = (...argv: [string, ...string[]]): Promise<ExecResult> => exec(argv, { cwd: clone });
  const versionOf = async (): Promise<string> => {
    const script = `import('${clone}/hack/version.ts').then((m) => console.log(m.programVersion('${clone}')))`;
    return (await exec([node, '-e', script])).stdout.trim();
  };
  beforeAll(async () => {
    await run('git', 'clone', '-q', '--depth', '1', `file://${checkout}`, clone);
    symlinkSync(join(checkout, 'node_modules'), join(clone, 'node_modules'));
    writeFileSync(join(clone, '.git/info/exclude'), 'node_modules\n');
  });

  test('never from files that are not committed, nor is a release made of them', async () => {
    writeFileSync(join(clone, 'left-over.txt'), '');
    await expect(inClone('sh', 'hack/release.sh')).rejects.toThrow(/left-over\.txt/);
    await expect(inClone(node, 'hack/release/cut.ts', '9.8.7')).rejects.toThrow(/left-over\.txt/);
    expect(await versionOf()).toMatch(/^\d+\.\d+\.\d+-dev\.\d+\.g[0-9a-f]+\.dirty$/);
    rmSync(join(clone, 'left-over.txt'));
  });

  test('in one step: the version everywhere, the date in the changelog; its tag gives programs that version', async () => {
    await expect(inClone(node, 'hack/release/cut.ts', '9.8')).rejects.toThrow(/three numbers/);
    await inClone(node, 'hack/release/cut.ts', '9.8.7');
    for (const file of ['package.json', 'package-lock.json'])
      expect([file, JSON.parse(text(join(clone, file))).version]).toEqual([file, '9.8.7']);
    expect(JSON.parse(text(join(clone, 'package-lock.json'))).packages[''].version).toBe('9.8.7');
    expect(text(join(clone, 'CHANGELOG.md'))).toMatch(/## \[Unreleased\]\n\n## \[9\.8\.7\] - \d{4}-\d{2}-\d{2}\n/);
    expect(text(join(clone, 'manifests/uninstall/cleanup.yaml'))).not.toMatch(/image: bulkhead:(?!9\.8\.7)/);
    expect(text(join(clone, 'manifests/install.yaml')).match(/image: bulkhead:9\.8\.7\n/g)).toHaveLength(2);
    await inClone(node, 'hack/generate.ts', '--check');
    const who = ['-c', 'user.name=t', '-c', 'user.email=t@example.org'];
    await inClone('git', ...who, 'commit', '-qam', 'bulkhead 9.8.7');
    expect(await versionOf()).toMatch(/^9\.8\.7-dev\.\d+\.g[0-9a-f]+$/);
    await inClone('git', ...who, 'tag', '-a', 'v9.8.7', '-m', 'bulkhead 9.8.7');
    expect(await versionOf()).toBe('9.8.7');
  });
});

/** From PATH, or built from Go modules into the checkout's cache. */
async function findProgram(name: string, module: string): Promise<string> {
  const cache = join(checkout, '.cache/go/bin', name);
  const onPath = await exec(['sh', '-c', `command -v ${name}`]).then(
    (r) => r.stdout.trim(),
    () => '',
  );
  if (onPath !== '') return onPath;
  if (!existsSync(cache))
    await exec(['sh', '-c', `PATH=$PATH:/usr/local/go/bin go install ${module}`], {
      timeoutMs: 590_000,
      env: { ...process.env, GOBIN: dirname(cache) },
    });
  return cache;
}
