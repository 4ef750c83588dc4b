import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { describe, expect, test } from 'vitest';
import { describe as describeProbe, measureReach } from '../../cli/cluster/reach.ts';
import { kubeconfigPath } from '../../lab/world/lab.ts';
import { exec } from '../../lib/exec/exec.ts';
import { spawn } from 'node:child_process';
import { checkout, TestLab, useLab } from './lab.ts';
import { afterAll } from 'vitest';

describe('a shop of eleven Deployments, unedited, in two isolated namespaces', () => {
  const lab = useLab('demo', { nodes: 3 });

  test('all pods ready, inside all open, across nothing open', async () => {
    const file = join(checkout, 'examples/microservices/shop.yaml');
    expect(
      parseAllDocuments(readFileSync(file, 'utf8')).filter((d) => (d.toJS() as { kind: string }).kind === 'Deployment'),
    ).toHaveLength(11);
    for (const ns of ['east', 'west']) {
      await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: ns } }), { wait: false });
      await lab.kubectl('label', 'namespace', ns, 'bulkhead.dev/isolated=true');
      await lab.kubectl('apply', '-n', ns, '-f', file);
    }
    await lab.ready();
    expect((await lab.kubectl('get', 'deploy', '-A', '--no-headers')).match(/ 1\/1 /g)).toHaveLength(22);
    const probes = await measureReach(lab.target, () => undefined);
    expect(probes.filter((p) => !p.match).map(describeProbe)).toEqual([]);
    const between = (from: string, to: string) =>
      probes.filter(
        (p) => p.from.namespace === from && p.to.namespace === to && (p.to.kind === 'Pod' || p.to.kind === 'Service'),
      );
    for (const ns of ['east', 'west']) {
      expect(between(ns, ns).length).toBeGreaterThan(11 * 11 * 2);
      expect(new Set(between(ns, ns).map((p) => p.verdict))).toEqual(new Set(['open']));
    }
    for (const [a, b] of [
      ['east', 'west'],
      ['west', 'east'],
    ] as const)
      expect(new Set(between(a, b).map((p) => p.verdict))).toEqual(new Set(['rejected']));
    // By name, as its programs do.
    expect(await lab.inPod('east/frontend', 'dig', '@10.96.0.10', '+short', 'cart.east.svc.cluster.local')).toContain(
      '10.96.',
    );
  });
});

describe('kubectl drives it', () => {
  const lab = useLab('kubectl', { nodes: 2, family: 'ipv4' });
  /** `kubectl create` speaks protobuf, which the lab does not: by way of YAML, as its message says. */
  const create = async (...args: string[]): Promise<void> => {
    const yaml = await lab.kubectl('create', ...args, '--dry-run=client', '-o', 'yaml');
    await exec(['kubectl', '--kubeconfig', kubeconfigPath(lab.name), 'apply', '-f', '-'], { input: yaml });
  };

  test('create, label, apply, scale, wait, describe, patch, delete', async () => {
    await create('namespace', 'shop');
    await lab.kubectl('label', 'ns', 'shop', 'bulkhead.dev/isolated=true');
    expect(await lab.kubectl('get', 'ns', 'shop', '--show-labels')).toContain('bulkhead.dev/isolated=true');
    await create('deployment', 'web', '-n', 'shop', '--image=nginx', '--port=8080', '--replicas=2');
    await expect(lab.kubectl('create', 'namespace', 'direct')).rejects.toThrow(
      /--dry-run=client -o yaml \| kubectl apply/,
    );
    await lab.kubectl('wait', '-n', 'shop', '--for=condition=Available', 'deployment/web', '--timeout=30s');
    await lab.apply(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'web', namespace: 'shop' },
        spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
      }),
    );
    await lab.kubectl('scale', 'deployment', 'web', '-n', 'shop', '--replicas=5');
    await lab.kubectl('rollout', 'status', 'deployment/web', '-n', 'shop', '--timeout=30s');
    expect(
      (await lab.kubectl('get', 'pods', '-n', 'shop', '-l', 'app=web', '--no-headers')).trim().split('\n'),
    ).toHaveLength(5);
    expect(
      (await lab.kubectl('get', 'pods', '-n', 'shop', '--field-selector', 'spec.nodeName=n1', '-o', 'name')).length,
    ).toBeGreaterThan(0);
    expect(await lab.kubectl('describe', 'deployment', 'web', '-n', 'shop')).toContain('5 desired');
    expect(await lab.kubectl('describe', 'pod', '-n', 'shop')).toContain('Controlled By:  ReplicaSet/web-');
    expect(await lab.kubectl('describe', 'vn', 'default', '-n', 'shop')).toMatch(/Reason: +Realized/);
    expect(await lab.kubectl('get', 'all', '-n', 'shop')).toMatch(
      /service\/web[\s\S]*deployment\.apps\/web[\s\S]*replicaset\.apps\/web-/,
    );
    await lab.kubectl('annotate', 'deployment', 'web', '-n', 'shop', 'note=x');
    await lab.kubectl(
      'patch',
      'deployment',
      'web',
      '-n',
      'shop',
      '--type=json',
      '-p',
      '[{"op":"replace","path":"/spec/replicas","value":1}]',
    );
    await lab.kubectl('set', 'image', 'deployment/web', '-n', 'shop', 'nginx=nginx:2');
    await lab.kubectl('rollout', 'status', 'deployment/web', '-n', 'shop', '--timeout=30s');
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'pods', '-n', 'shop', '-o', 'jsonpath={.items[*].spec.containers[0].image}'),
        (t) => t === 'nginx:2',
      ),
    ).toBe('nginx:2');
    expect(await lab.kubectl('api-resources', '--api-group=bulkhead.dev')).toMatch(
      /virtualnetworks +vn,vns +bulkhead.dev\/v1alpha1 +true +VirtualNetwork/,
    );
    expect(await lab.kubectl('version')).toContain('Server Version');
    await lab.kubectl('delete', 'namespace', 'shop', '--timeout=30s');
    expect(await lab.kubectl('get', 'ns', 'shop', '--ignore-not-found')).toBe('');
  });

  test('apply twice keeps what others set, and what is taken out of the manifest goes', async () => {
    const apply = async (manifest: object): Promise<string> =>
      (
        await exec(['kubectl', '--kubeconfig', kubeconfigPath(lab.name), 'apply', '-f', '-'], {
          input: JSON.stringify(manifest),
        })
      ).stdout;
    const cm = (data: object) => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'c', namespace: 'default' },
      data,
    });
    expect(await apply(cm({ a: '1', b: '2' }))).toContain('created');
    expect(await apply(cm({ a: '1', b: '2' }))).toContain('unchanged');
    await lab.kubectl('patch', 'cm', 'c', '--type=merge', '-p', '{"data":{"other":"3"}}');
    expect(await apply(cm({ a: '9' }))).toContain('configured');
    expect(JSON.parse(await lab.kubectl('get', 'cm', 'c', '-o', 'jsonpath={.data}'))).toEqual({ a: '9', other: '3' });
    expect(await lab.kubectl('apply', '--server-side', '-f', join(checkout, 'examples/shops/shops.yaml'))).toContain(
      'serverside-applied',
    );
    await lab.kubectl(
      'delete',
      '-f',
      join(checkout, 'examples/shops/shops.yaml'),
      '--ignore-not-found',
      '--timeout=60s',
    );
  });

  test('watch -w tells of changes as they come; jobs complete; daemon sets follow nodes', async () => {
    const watcher = spawn('kubectl', ['--kubeconfig', kubeconfigPath(lab.name), 'get', 'pods', '-w', '--no-headers'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let seen = '';
    watcher.stdout.on('data', (d: Buffer) => (seen += d.toString()));
    try {
      await create('job', 'once', '--image=busybox');
      await lab.kubectl('wait', '--for=condition=Complete', 'job/once', '--timeout=30s');
      await lab.apply(
        JSON.stringify({
          apiVersion: 'apps/v1',
          kind: 'DaemonSet',
          metadata: { name: 'each', namespace: 'default' },
          spec: {
            selector: { matchLabels: { a: 'b' } },
            template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x' }] } },
          },
        }),
      );
      expect(
        (await lab.kubectl('get', 'pods', '-l', 'a=b', '-o', 'jsonpath={.items[*].spec.nodeName}')).split(' ').sort(),
      ).toEqual(['n1', 'n2']);
      expect(
        await lab.eventually(
          () => Promise.resolve(seen),
          (s) => s.includes('Completed') && /each-\S+ +1\/1 +Running/.test(s),
        ),
      ).toMatch(/once-\S+ +0\/1 +Pending[\s\S]*Completed/);
    } finally {
      watcher.kill();
    }
  });
});

describe('sixty pods on three nodes', () => {
  const labs: TestLab[] = [];
  afterAll(async () => {
    for (const lab of labs) await lab.down();
  });

  test.each(['ipv4', 'ipv6', 'dual'] as const)('all ready, reach without a difference: %s', async (family) => {
    const lab = new TestLab(`sixty-${family}`);
    labs.push(lab);
    await lab.up(family, 3, []);
    const ns = (name: string, isolated: boolean) => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: isolated ? { 'bulkhead.dev/isolated': 'true' } : {} },
    });
    const web = (namespace: string, replicas: number) => [
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'web', namespace },
        spec: {
          replicas,
          selector: { matchLabels: { app: 'web' } },
          template: {
            metadata: { labels: { app: 'web' } },
            spec: {
              containers: [
                {
                  name: 'c',
                  image: 'x',
                  ports: [{ containerPort: 8080 }],
                  readinessProbe: { httpGet: { port: 8080 } },
                },
              ],
            },
          },
        },
      },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'web', namespace },
        spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
      },
    ];
    await lab.apply(
      [ns('a', true), ns('b', true), ns('flat', false), ...web('a', 20), ...web('b', 20), ...web('flat', 18)]
        .map((o) => JSON.stringify(o))
        .join('\n---\n'),
    );
    expect((await lab.kubectl('get', 'pods', '-A', '--no-headers')).match(/1\/1 +Running/g)).toHaveLength(60);
    const probes = await measureReach(lab.target, () => undefined);
    expect(probes.filter((p) => !p.match).map(describeProbe)).toEqual([]);
    expect(probes.length).toBeGreaterThan(60 * 60);
    await lab.down();
  });
});
