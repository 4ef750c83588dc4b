import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exec } from '../../lib/exec/exec.ts';
import { describe as describeProbe, measureReach } from '../../cli/cluster/reach.ts';
import {
  apply,
  checkoutFile,
  deleteNamespaces,
  eventually,
  families,
  flatNamespace,
  fromHost,
  fromPod,
  get,
  ipOf,
  isolatedNamespace,
  kubectl,
  nodeIp,
  onNode,
  pod,
  ready,
  standIn,
  target,
  workers,
} from './cluster.ts';

const NAMESPACES = ['w-a', 'w-b', 'w-flat', 'demo-a', 'demo-b'];
let first = '';
let second = '';

const PROBED = `
apiVersion: v1
kind: Pod
metadata: { name: probed, namespace: w-a, labels: { app: probed } }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: nginx:1
      imagePullPolicy: IfNotPresent
      ports: [{ name: http, containerPort: 8080 }]
      startupProbe: { httpGet: { path: /start, port: http }, periodSeconds: 1, failureThreshold: 30 }
      readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, failureThreshold: 2 }
      livenessProbe: { httpGet: { path: /live, port: 8080, scheme: HTTPS }, periodSeconds: 1, failureThreshold: 60 }
    - name: grpc
      image: registry.example/shop/cart:v1
      imagePullPolicy: IfNotPresent
      readinessProbe: { grpc: { port: 7070 }, periodSeconds: 1 }
      # Asks the other container, which started before; a hook that comes too early restarts this one, and then it passes.
      lifecycle: { postStart: { httpGet: { path: /hook, port: 8080 } } }
      livenessProbe: { exec: { command: ["/opt/bulkhead/bin/node", "--version"] }, periodSeconds: 5, timeoutSeconds: 5 }
---`;

beforeAll(async () => {
  [first, second] = await workers();
  const demo = checkoutFile('examples/microservices/shop.yaml');
  const ports =
    'ports: [{ containerPort: 5432, hostPort: 31999 }, { containerPort: 5353, protocol: UDP, hostPort: 31999 }]';
  await apply(
    [
      isolatedNamespace('w-a'),
      isolatedNamespace('w-b'),
      flatNamespace('w-flat'),
      standIn('w-a', 'one', { node: first }),
      standIn('w-a', 'two', { node: second }),
      standIn('w-b', 'one', { node: first }),
      standIn('w-flat', 'one', { node: second }),
      standIn('w-b', 'mapped', { node: first }).replace(/ports: \[.*\]/, ports),
      PROBED,
      isolatedNamespace('demo-a'),
      isolatedNamespace('demo-b'),
    ].join('\n'),
  );
  // Unedited: the namespace is given from outside, as `kubectl -n` does.
  for (const ns of ['demo-a', 'demo-b']) await kubectl(['apply', '-n', ns, '-f', '-'], demo);
  await ready(...NAMESPACES);
});
afterAll(() => deleteNamespaces(...NAMESPACES));

describe('workloads on real kubelets', () => {
  test('every pod to everything is as the design says, and the right one answers', async () => {
    const probes = await measureReach(
      target,
      () => undefined,
      (p) => NAMESPACES.includes(p.from.namespace),
    );
    expect(probes.filter((p) => !p.match).map(describeProbe)).toEqual([]);
    expect(probes.filter((p) => p.verdict === 'open').length).toBeGreaterThan(100);
    expect(probes.filter((p) => p.verdict === 'rejected').length).toBeGreaterThan(100);
  });

  test('startup, readiness, liveness probes of all kinds and hooks pass; an interface that is down fails them', async () => {
    const probed = await pod('w-a', 'app=probed');
    const ip = probed.ips[0] ?? '';
    const netns = await eventually('the pod is attached', async () => {
      const all = await onNode(
        probed.node,
        'sh',
        '-c',
        'for n in $(ls /run/netns | grep ^cni-); do echo "$n $(ip -n $n -o addr show dev eth0)" | tr "\\n" " "; echo; done',
      );
      return all
        .split('\n')
        .find((line) => line.includes(` ${ip}/`))
        ?.split(' ')[0];
    });
    await onNode(probed.node, 'ip', '-n', netns, 'link', 'set', 'eth0', 'down');
    const isReady = async (): Promise<boolean> =>
      (
        (await get('pod', 'probed', 'w-a'))['status'] as { conditions: { type: string; status: string }[] }
      ).conditions.some((c) => c.type === 'Ready' && c.status === 'True');
    await eventually('not ready any more', async () => ((await isReady()) ? undefined : true));
  });

  test('exec, logs, port-forward, node stats', async () => {
    expect(await kubectl(['-n', 'w-a', 'exec', 'one', '--', '/opt/bulkhead/bin/node', '-p', '6*7'])).toBe('42\n');
    expect(await kubectl(['-n', 'w-a', 'logs', 'one'])).toContain('5432/TCP');
    const forward = exec([
      'timeout',
      '20',
      'kubectl',
      '--kubeconfig',
      process.env['KUBECONFIG'] ?? '',
      '-n',
      'w-a',
      'port-forward',
      'pod/one',
      '35432:5432',
    ]).catch(() => undefined);
    await eventually(
      'the forwarded port answers',
      async () => {
        const { stdout } = await exec(['curl', '-s', '-m', '2', 'http://127.0.0.1:35432/']);
        return stdout.includes('"w-a"') ? true : undefined;
      },
      15_000,
    );
    const stats = JSON.parse(await kubectl(['get', '--raw', `/api/v1/nodes/${first}/proxy/stats/summary`])) as {
      pods: { podRef: { namespace: string; name: string }; network?: { rxBytes?: number } }[];
    };
    const mine = stats.pods.find((p) => p.podRef.namespace === 'w-a' && p.podRef.name === 'one');
    expect(mine?.network?.rxBytes).toBeGreaterThan(0);
    await forward;
  });

  test('hostPort of a pod in an isolated network: from outside and from its own node, and not on the other node', async () => {
    for (const of of families) {
      for (const protocol of ['TCP', 'UDP'] as const) {
        const at = async (node: string) => ({ address: await nodeIp(node, of), port: 31_999, protocol });
        const rows = {
          outside: await fromHost(undefined, await at(first)),
          'own node': await fromHost(first, await at(first)),
          'other node, as outside': await fromHost(second, await at(first)),
          'no such port on the other node': await fromHost(undefined, await at(second)),
          'another isolated network': await fromPod(await pod('w-a', 'app=two'), await at(first)),
        };
        expect({ of, protocol, ...rows }).toEqual({
          of,
          protocol,
          outside: 'open',
          'own node': 'open',
          'other node, as outside': 'open',
          'no such port on the other node': 'rejected',
          'another isolated network': 'rejected',
        });
      }
    }
    if (families.includes(4))
      expect(await fromHost(first, { address: '127.0.0.1', port: 31_999, protocol: 'TCP' })).toBe('open');
    expect(
      await fromPod(await pod('w-a', 'app=two'), {
        address: ipOf(await pod('w-a', 'app=one'), families[0] ?? 4),
        port: 5432,
        protocol: 'TCP',
      }),
    ).toBe('open');
  });
});
