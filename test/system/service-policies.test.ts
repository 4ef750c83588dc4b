import { afterEach, describe, expect, test } from 'vitest';
import { bulkheadConfig, pod, shop, useLab } from './lab.ts';

// Readiness, terminating endpoints, traffic policies and hints, on packets: the samples that once went wrong, in an isolated network
// and in the flat one, where the lab's proxy does the work. The rules as a whole are in test/service-table.test.ts.

const lab = useLab('svc-policies', { nodes: 2 });
const FAMILIES = [4, 6] as const;
const NAMESPACES = ['iso', 'flat'] as const;

type Conditions = { readonly ready: boolean; readonly serving?: boolean; readonly terminating?: boolean };
type Sample = { readonly name: 'p1' | 'p2'; readonly conditions?: Conditions; readonly hints?: object };
const READY: Conditions = { ready: true, serving: true, terminating: false };
const ENDING: Conditions = { ready: false, serving: true, terminating: true };

/** A Service without a selector, and slices that name pods p1 (on n1) and p2 (on n2) as the test wants them. */
async function serve(namespace: string, name: string, spec: object, endpoints: readonly Sample[]): Promise<void> {
  const slices = await Promise.all(
    FAMILIES.map(async (family) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-${family}`, namespace, labels: { 'kubernetes.io/service-name': name } },
      addressType: `IPv${family}`,
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      endpoints: await Promise.all(
        endpoints.map(async ({ name: target, conditions = READY, hints }) => ({
          addresses: [await lab.ip(`${namespace}/${target}`, family)],
          nodeName: target === 'p1' ? 'n1' : 'n2',
          conditions,
          targetRef: { kind: 'Pod', namespace, name: target },
          ...(hints ? { hints } : {}),
        })),
      ),
    })),
  );
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { ipFamilyPolicy: 'RequireDualStack', ports: [{ name: 'http', port: 80, targetPort: 8080 }], ...spec },
  };
  await lab.apply([service, ...slices].map((o) => JSON.stringify(o)).join('\n---\n'), { wait: false });
}

async function addressOf(namespace: string, name: string, family: 4 | 6): Promise<string> {
  const text = await lab.kubectl('get', 'svc', name, '-n', namespace, '-o', 'jsonpath={.spec.clusterIPs}');
  return (JSON.parse(text) as string[]).find((ip) => ip.includes(':') === (family === 6)) ?? '';
}

/** Who answers a client in eight connections, once that is what is wanted. */
async function answers(from: string, address: string, wanted: readonly string[], port = 80): Promise<string[]> {
  const ask = async (): Promise<string[]> => [
    ...new Set(await Promise.all(Array.from({ length: 8 }, () => lab.connect(from, address, port)))),
  ];
  return await lab.eventually(
    async () => (await ask()).sort(),
    (found) => JSON.stringify(found) === JSON.stringify([...wanted].sort()),
    10_000,
  );
}

/** Clients on both nodes, in both families and both kinds of network, each with who must answer it. */
async function check(name: string, wanted: Readonly<Record<'n1' | 'n2', readonly ('p1' | 'p2')[]>>): Promise<void> {
  for (const namespace of NAMESPACES)
    for (const family of FAMILIES) {
      const address = await addressOf(namespace, name, family);
      for (const [client, node] of [
        ['cli1', 'n1'],
        ['cli2', 'n2'],
      ] as const) {
        const expected = wanted[node].length > 0 ? wanted[node].map((p) => `open:${namespace}/${p}`) : ['rejected'];
        const who = `${namespace}/${client}, IPv${family}`;
        expect([who, await answers(`${namespace}/${client}`, address, expected)]).toEqual([who, expected.sort()]);
      }
    }
}

async function serveBoth(name: string, spec: object, endpoints: readonly Sample[]): Promise<void> {
  for (const namespace of NAMESPACES) await serve(namespace, name, spec, endpoints);
}

describe('which endpoints a node uses', () => {
  test('set-up', async () => {
    await lab.kubectl('label', 'node', 'n1', 'topology.kubernetes.io/zone=z1');
    await lab.kubectl('label', 'node', 'n2', 'topology.kubernetes.io/zone=z2');
    const clients = NAMESPACES.flatMap((ns) =>
      [1, 2].map((n) => pod(ns, `cli${n}`, { node: `n${n}`, labels: { app: 'client' } })),
    );
    await lab.apply([shop('iso'), shop('flat', { isolated: false }), ...clients].join('\n---\n'));
  });

  afterEach(async () => {
    for (const namespace of NAMESPACES)
      await lab.kubectl('delete', 'svc,endpointslices', '-n', namespace, '--all', '--wait=false');
  });

  test('internalTrafficPolicy Local while the local endpoint ends: it goes on serving its node', async () => {
    const ending = { name: 'p1', conditions: ENDING } as const;
    await serveBoth('ending', { internalTrafficPolicy: 'Local' }, [ending, { name: 'p2' }]);
    await check('ending', { n1: ['p1'], n2: ['p2'] });
    // Cluster, the twin: the ready one alone.
    await serveBoth('ready', {}, [ending, { name: 'p2' }]);
    await check('ready', { n1: ['p2'], n2: ['p2'] });
    // None is ready: what still serves, and with Local nothing on the node that has none.
    await serveBoth('last', { internalTrafficPolicy: 'Local' }, [ending]);
    await check('last', { n1: ['p1'], n2: [] });
  });

  test('hints of zones do not count for internalTrafficPolicy Local, and count for Cluster', async () => {
    const crossed: Sample[] = [
      { name: 'p1', hints: { forZones: [{ name: 'z2' }] } },
      { name: 'p2', hints: { forZones: [{ name: 'z1' }] } },
    ];
    await serveBoth('local', { internalTrafficPolicy: 'Local' }, crossed);
    await check('local', { n1: ['p1'], n2: ['p2'] });
    await serveBoth('zones', {}, crossed);
    await check('zones', { n1: ['p2'], n2: ['p1'] });
    // A hint that one endpoint lacks is no hint.
    await serveBoth('partly', {}, [crossed[0] as Sample, { name: 'p2' }]);
    await check('partly', { n1: ['p1', 'p2'], n2: ['p1', 'p2'] });
  });

  test('hints of nodes go before hints of zones (trafficDistribution PreferSameNode)', async () => {
    const own: Sample[] = [
      { name: 'p1', hints: { forNodes: [{ name: 'n1' }], forZones: [{ name: 'z2' }] } },
      { name: 'p2', hints: { forNodes: [{ name: 'n2' }], forZones: [{ name: 'z1' }] } },
    ];
    await serveBoth('nodes', {}, own);
    await check('nodes', { n1: ['p1'], n2: ['p2'] });
    // n2 has no endpoint of its own: its zone's.
    await serveBoth('one-node', {}, [
      own[0] as Sample,
      { name: 'p2', hints: { forNodes: [{ name: 'n1' }], forZones: [{ name: 'z1' }] } },
    ]);
    await check('one-node', { n1: ['p1', 'p2'], n2: ['p1'] });
  });

  test('the zone of a node changes live', async () => {
    await serveBoth('zones', {}, [
      { name: 'p1', hints: { forZones: [{ name: 'z1' }] } },
      { name: 'p2', hints: { forZones: [{ name: 'z2' }] } },
    ]);
    await check('zones', { n1: ['p1'], n2: ['p2'] });
    await lab.kubectl('label', '--overwrite', 'node', 'n1', 'topology.kubernetes.io/zone=z2');
    await check('zones', { n1: ['p2'], n2: ['p2'] });
    await lab.kubectl('label', '--overwrite', 'node', 'n1', 'topology.kubernetes.io/zone=z1');
    await check('zones', { n1: ['p1'], n2: ['p2'] });
  });

  test('external addresses: internalTrafficPolicy is not for them, and another zone may be sent to this node', async () => {
    const external = { 4: '198.51.100.77', 6: '2001:db8:77::77' };
    await lab.apply(bulkheadConfig({ services: { externalIPs: ['198.51.100.0/24', '2001:db8:77::/64'] } }));
    const spec = { internalTrafficPolicy: 'Local', externalIPs: Object.values(external) };
    await lab.apply(bulkheadConfig({ services: { externalIPs: ['198.51.100.0/24', '2001:db8:77::/64'] } }), {
      wait: false,
    });
    await serve('iso', 'outer', spec, [{ name: 'p2', hints: { forZones: [{ name: 'z1' }] } }]);
    for (const family of FAMILIES) {
      expect(await answers('iso/cli1', await addressOf('iso', 'outer', family), ['rejected'])).toEqual(['rejected']);
      for (const client of ['iso/cli1', 'iso/cli2'])
        expect(await answers(client, external[family], ['open:iso/p2'])).toEqual(['open:iso/p2']);
      // From the flat network by kube-proxy of n1, which the hints send to n2: n2 lets it in, although its own zone has none.
      expect(await answers('flat/cli1', external[family], ['open:iso/p2'])).toEqual(['open:iso/p2']);
    }
  });

  test('Services that kube-proxy passes over are not served, and are when they no longer say so', async () => {
    const external = '198.51.100.78';
    for (const namespace of NAMESPACES)
      await lab.apply(
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Service',
          metadata: {
            name: 'other-proxy',
            namespace,
            labels: { 'service.kubernetes.io/service-proxy-name': 'another' },
          },
          spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
        }),
        { wait: false },
      );
    await lab.apply(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'headless', namespace: 'iso' },
        spec: {
          clusterIP: 'None',
          externalIPs: [external],
          selector: { app: 'web' },
          ports: [{ port: 80, targetPort: 8080 }],
        },
      }),
      { wait: false },
    );
    const vip = await addressOf('iso', 'other-proxy', 4);
    const all = ['p1', 'p2', 'q1'].map((p) => `open:iso/${p}`);
    expect(await lab.connect('iso/cli1', vip, 80)).toBe('rejected');
    expect(await lab.connect('iso/cli1', external, 80)).toBe('rejected');
    await lab.kubectl('label', 'svc', 'other-proxy', '-n', 'iso', 'service.kubernetes.io/service-proxy-name-');
    const found = await lab.eventually(
      () => lab.connect('iso/cli1', vip, 80),
      (v) => v.startsWith('open'),
    );
    expect(all).toContain(found);
    expect(await lab.connect('iso/cli1', external, 80)).toBe('rejected');
  });
});
