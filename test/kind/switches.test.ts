import { afterAll, describe, expect, test } from 'vitest';
import { exec } from '../../lib/exec/exec.ts';
import {
  apply,
  checkoutFile,
  deleteNamespaces,
  eventually,
  flatNamespace,
  fromPod,
  get,
  ipOf,
  kubectl,
  pod,
  ready,
  standIn,
  families,
  workers,
} from './cluster.ts';

const NAMESPACES = ['s-before', 's-after', 's-except', 's-convert'];
afterAll(async () => {
  await kubectl(['delete', 'bulkheadconfig', 'default', '--ignore-not-found']);
  await deleteNamespaces(...NAMESPACES);
});

const bulkhead = async (...args: string[]): Promise<string> =>
  (await exec([new URL('../../bulkhead', import.meta.url).pathname, ...args], { timeoutMs: 200_000 })).stdout;
const labelOf = async (name: string): Promise<string | undefined> =>
  (await get('namespace', name)).metadata.labels?.['bulkhead.dev/isolated'];

describe('switches of the cluster', () => {
  test('new namespaces are isolated by default, with exceptions and an egress mode; old ones never change', async () => {
    await apply(flatNamespace('s-before'));
    await apply(
      JSON.stringify({
        apiVersion: 'bulkhead.dev/v1alpha1',
        kind: 'BulkheadConfig',
        metadata: { name: 'default' },
        spec: {
          isolation: { newNamespaces: 'Isolated', except: { names: ['kube-system', 'default', 's-except'] } },
          egress: { defaultMode: 'NAT' },
        },
      }),
    );
    await eventually('the switch has begun', async () =>
      (await get('bulkheadconfig', 'default'))['status'] ? true : undefined,
    );
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const [node] = await workers();
    // Pod and namespace in one breath: the pod waits for the decision, and is never on the flat network.
    await apply(
      [
        flatNamespace('s-after'),
        standIn('s-after', 'p', { node }),
        flatNamespace('s-except'),
        standIn('s-except', 'p'),
        standIn('s-before', 'p'),
      ].join('\n'),
    );
    await ready('s-after', 's-except', 's-before');
    expect([await labelOf('s-after'), await labelOf('s-except'), await labelOf('s-before')]).toEqual([
      'true',
      undefined,
      undefined,
    ]);
    expect((await get('virtualnetwork', 'default', 's-after'))['spec']).toMatchObject({ egress: { mode: 'NAT' } });
    const to = { address: ipOf(await pod('s-after', 'app=p'), families[0] ?? 4), port: 5432, protocol: 'TCP' as const };
    expect(await fromPod(await pod('s-before', 'app=p'), to)).toBe('rejected');
    expect(await fromPod(await pod('s-after', 'app=p'), to)).toBe('open');
    expect(
      await fromPod(await pod('s-before', 'app=p'), {
        ...to,
        address: ipOf(await pod('s-except', 'app=p'), families[0] ?? 4),
      }),
    ).toBe('open');
    await kubectl(['delete', 'bulkheadconfig', 'default']);
  });

  test('a namespace in use is converted: the dry run says what ends and changes nothing, then all of it moves', async () => {
    await apply(
      flatNamespace('s-convert') +
        checkoutFile('examples/shops/shops.yaml')
          .split('---')
          .filter((d) => d.includes('namespace: shop-flat'))
          .join('---')
          .replaceAll('shop-flat', 's-convert'),
    );
    await kubectl(['-n', 's-convert', 'rollout', 'status', 'deployment/web', '--timeout=100s']);
    await ready('s-convert', 's-before');
    const stranger = await pod('s-before', 'app=p');
    const web = async () => ({
      address: ipOf(await pod('s-convert', 'app=web'), families[0] ?? 4),
      port: 8080,
      protocol: 'TCP' as const,
    });
    const dry = JSON.parse(await bulkhead('isolate', 's-convert', '--dry-run', '-o', 'json')) as {
      restart: string[];
      changes: { from: string; to: string; after: string }[];
    };
    expect(dry.restart.length).toBeGreaterThan(2);
    expect(dry.changes).toContainEqual(
      expect.objectContaining({ from: 'pods of s-before', to: 'pods of s-convert', after: 'rejected' }),
    );
    expect(await labelOf('s-convert')).toBeUndefined();
    expect(await fromPod(stranger, await web())).toBe('open');
    expect(await bulkhead('isolate', 's-convert')).toContain('namespace s-convert is isolated');
    await ready('s-convert');
    expect(await fromPod(stranger, await web())).toBe('rejected');
    expect(await fromPod(await pod('s-convert', 'app=db'), await web())).toBe('open');
  });
});
