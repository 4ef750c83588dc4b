import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  apply,
  deleteNamespaces,
  eventually,
  families,
  fromPod,
  ipOf,
  isolatedNamespace,
  kubectl,
  pod,
  ready,
  refused,
  standIn,
  workers,
} from './cluster.ts';

const NAMESPACES = ['f-a', 'f-gone'];
const ROLLOUT = ['-n', 'kube-system', 'rollout', 'status', 'deployment/bulkhead-controller', '--timeout=100s'];

beforeAll(async () => {
  const [first, second] = await workers();
  await apply(
    [
      isolatedNamespace('f-a'),
      isolatedNamespace('f-gone'),
      standIn('f-a', 'one', { node: first }),
      standIn('f-a', 'two', { node: second }),
    ].join('\n'),
  );
  await ready('f-a');
});
afterAll(() => deleteNamespaces(...NAMESPACES));

const talks = async (): Promise<string> =>
  await fromPod(await pod('f-a', 'app=one'), {
    address: ipOf(await pod('f-a', 'app=two'), families[0] ?? 4),
    port: 5432,
    protocol: 'TCP',
  });

const controllers = async (): Promise<{ ready: boolean; restarts: number }[]> => {
  const list = JSON.parse(
    await kubectl([
      '-n',
      'kube-system',
      'get',
      'pods',
      '-l',
      'app.kubernetes.io/name=bulkhead-controller',
      '-o',
      'json',
    ]),
  ) as {
    items: {
      metadata: { deletionTimestamp?: string };
      status: { containerStatuses?: { ready: boolean; restartCount: number; state: { running?: object } }[] };
    }[];
  };
  return list.items
    .filter((p) => p.metadata.deletionTimestamp === undefined)
    .flatMap((p) => p.status.containerStatuses ?? [])
    .filter((c) => c.state.running)
    .map((c) => ({ ready: c.ready, restarts: c.restartCount }));
};

describe('faults', () => {
  test('without its rights a controller waits and says which it needs; running pods are not touched; given back, it goes on', async () => {
    const binding = await kubectl(['get', 'clusterrolebinding', 'bulkhead-controller', '-o', 'yaml']);
    await kubectl(['delete', 'clusterrolebinding', 'bulkhead-controller']);
    try {
      await kubectl([
        '-n',
        'kube-system',
        'delete',
        'pod',
        '-l',
        'app.kubernetes.io/name=bulkhead-controller',
        '--wait=false',
      ]);
      await eventually('both run and are not ready', async () => {
        const all = await controllers();
        return all.length === 2 && all.every((c) => !c.ready) ? true : undefined;
      });
      await eventually('the log names the right', async () => {
        const log = await kubectl([
          '-n',
          'kube-system',
          'logs',
          '-l',
          'app.kubernetes.io/name=bulkhead-controller',
          '--tail=200',
        ]);
        return log.includes('is forbidden') && log.includes('virtualnetworks') ? true : undefined;
      });
      expect(await talks()).toBe('open');
      expect((await controllers()).map((c) => c.restarts)).toEqual([0, 0]);
    } finally {
      await apply(binding.replace(/\n  (resourceVersion|uid): .*/g, ''));
    }
    await kubectl(ROLLOUT);
  });

  test('without any controller: pods of known networks start, our kinds are closed, system pods are not; afterwards nothing is stuck', async () => {
    await kubectl(['-n', 'kube-system', 'scale', 'deployment/bulkhead-controller', '--replicas=0']);
    await kubectl([
      '-n',
      'kube-system',
      'wait',
      '--for=delete',
      'pod',
      '-l',
      'app.kubernetes.io/name=bulkhead-controller',
      '--timeout=60s',
    ]);
    try {
      const [first] = await workers();
      await apply(standIn('f-a', 'three', { node: first }));
      await ready('f-a');
      expect(await talks()).toBe('open');
      expect(
        await refused(
          ['apply', '-f', '-'],
          JSON.stringify({
            apiVersion: 'bulkhead.dev/v1alpha1',
            kind: 'VirtualNetwork',
            metadata: { name: 'x', namespace: 'f-a' },
            spec: {},
          }),
        ),
      ).toContain('networks.bulkhead.dev');
      await kubectl(['-n', 'kube-system', 'rollout', 'restart', 'deployment/coredns']);
      await kubectl(['-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', '--timeout=100s']);
      await kubectl(['delete', 'namespace', 'f-gone', '--wait=false']);
    } finally {
      await kubectl(['-n', 'kube-system', 'scale', 'deployment/bulkhead-controller', '--replicas=2']);
      await kubectl(ROLLOUT);
    }
    await kubectl(['wait', '--for=delete', 'namespace/f-gone', '--timeout=60s']);
  });
});
