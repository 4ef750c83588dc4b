import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { exec } from '../../lib/exec/exec.ts';
import { stringify } from 'yaml';
import { checkout, shop, useLab } from './lab.ts';

const lab = useLab('commands', { nodes: 2 });
const folder = mkdtempSync(join(tmpdir(), 'bulkhead-'));
afterAll(() => rmSync(folder, { recursive: true }));

const bulkhead = async (...args: string[]): Promise<string> =>
  (await exec([process.execPath, join(checkout, 'dist/bulkhead.mjs'), ...args], { timeoutMs: 30_000 })).stdout;

describe('lab exec', () => {
  test('with and without --, --name on either side: the program gets its words and runs in the network of the pod', async () => {
    await lab.apply(shop('shop-a'));
    const ip = await lab.ip('shop-a/p1');
    for (const line of [
      ['--name', lab.name, 'shop-a/p1', '--'],
      ['--name', lab.name, 'shop-a/p1'],
      ['shop-a/p1', '--name', lab.name, '--'],
      [`--name=${lab.name}`, '--', 'shop-a/p1'],
    ]) {
      expect(await bulkhead('lab', 'exec', ...line, 'ip', '-4', '-o', 'addr', 'show', 'eth0')).toContain(ip);
      expect(await bulkhead('lab', 'exec', ...line, 'sh', '-c', 'echo "$@"', 'sh', '--', '--name', 'y z')).toBe(
        '-- --name y z\n',
      );
    }
    expect(await bulkhead('lab', 'exec', '--name', lab.name, 'shop-a/p1', '--', 'curl', '-s', 'http://web/')).toMatch(
      /"namespace":"shop-a"/,
    );
  });
});

describe('lists', () => {
  const meta = (name: string): object => ({ name, namespace: 'default' });
  const network = (name: string): object => ({
    apiVersion: 'bulkhead.dev/v1alpha1',
    kind: 'VirtualNetwork',
    metadata: meta(name),
    spec: {},
  });
  const file = join(folder, 'lists.yaml');
  const names = [
    'configmap/a',
    'virtualnetwork.bulkhead.dev/v1',
    'virtualnetwork.bulkhead.dev/v2',
    'networkpolicy.networking.k8s.io/p',
  ];
  writeFileSync(
    file,
    [
      {
        apiVersion: 'v1',
        kind: 'List',
        items: [{ apiVersion: 'v1', kind: 'ConfigMap', metadata: meta('a') }, network('v1')],
      },
      { apiVersion: 'bulkhead.dev/v1alpha1', kind: 'VirtualNetworkList', items: [network('v2')] },
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicyList',
        items: [
          { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: meta('p'), spec: { podSelector: {} } },
        ],
      },
    ]
      .map((o) => stringify(o))
      .join('---\n'),
  );

  test.each([['apply'], ['apply', '--server-side'], ['create']])('kubectl %s -f, and delete', async (...verb) => {
    const made = await lab.kubectl(...verb, '-f', file);
    for (const name of names) expect(made).toContain(name);
    expect((await lab.kubectl('get', '-f', file, '-o', 'name')).trim().split('\n')).toEqual(names);
    await lab.kubectl('delete', '-f', file);
    expect(await lab.kubectl('get', 'vn,netpol', '-n', 'default', '-o', 'name')).toBe('');
  });

  test('what kubectl gets it can apply, and lab apply and lab delete take it too', async () => {
    await bulkhead('lab', 'apply', '--name', lab.name, '-f', file);
    const all = join(folder, 'all.yaml');
    writeFileSync(all, await lab.kubectl('get', 'vn,netpol,cm', '-n', 'default', '-o', 'yaml'));
    expect(await lab.kubectl('apply', '-f', all)).toContain('virtualnetwork.bulkhead.dev/v2');
    expect(await bulkhead('lab', 'delete', '--name', lab.name, '-f', all)).toContain(
      'virtualnetwork/default/v2 deleted',
    );
  });
});
