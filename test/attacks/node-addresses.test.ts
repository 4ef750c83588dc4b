import { beforeAll, describe, expect, test } from 'vitest';
import { bulkheadConfig, pod, shop, useLab } from '../system/lab.ts';

// Every address of a node is the node: what pods of networks may not reach at its InternalIP they reach by no other. Beside each stands
// somebody who may: a pod of the flat network, a host outside.

const lab = useLab('node-addresses', { admission: false, nodes: 2 });
const families = [4, 6] as const;
type Family = (typeof families)[number];

/** InternalIP, one more on the device, one that only the API knows as ExternalIP, and a bridge's. */
const ADDRESSES: Record<'n1' | 'n2', Record<Family, string[]>> = {
  n1: {
    4: ['192.0.2.11', '192.0.2.111', '192.0.2.121', '172.17.0.1'],
    6: ['2001:db8:2::11', '2001:db8:2::111', '2001:db8:2::121', 'fd17::1'],
  },
  n2: {
    4: ['192.0.2.12', '192.0.2.112', '192.0.2.122'],
    6: ['2001:db8:2::12', '2001:db8:2::112', '2001:db8:2::122'],
  },
};
const OUTSIDE = { 4: '203.0.113.10', 6: '2001:db8::10' } as const;
const nodePorts = new Map<string, number>();
const KUBELET = 10_250;
const HOST_PORT = 8181;

const service = (namespace: string, name: string, spec: object): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: {
      ipFamilyPolicy: 'PreferDualStack',
      selector: { app: 'web' },
      ports: [{ port: 80, targetPort: 8080 }],
      ...spec,
    },
  });
const byHand = (name: string, f: Family, address: string, port: number): string =>
  [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'flat' },
      spec: { type: 'NodePort', ipFamilies: [`IPv${f}`], ports: [{ name: 'x', port: 80 }] },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name, namespace: 'flat', labels: { 'kubernetes.io/service-name': name } },
      addressType: `IPv${f}`,
      ports: [{ name: 'x', port, protocol: 'TCP' }],
      endpoints: [{ addresses: [address] }],
    },
  ]
    .map((o) => JSON.stringify(o))
    .join('\n---\n');
const patchNetwork = (ns: string, spec: object): Promise<string> =>
  lab.kubectl('patch', 'vn', 'default', '-n', ns, '--type=merge', '-p', JSON.stringify({ spec }));
const verdict = async (from: Parameters<typeof lab.connect>[0], address: string, port: number): Promise<string> =>
  (await lab.connect(from, address, port, 'TCP', 1_000)).split(':')[0] ?? '';
const becomes = (from: Parameters<typeof lab.connect>[0], address: string, port: number, wanted: string) =>
  lab.eventually(
    () => verdict(from, address, port),
    (v) => v === wanted,
  );

const becomesBy = (from: string, address: string, who: RegExp): Promise<string> =>
  lab.eventually(
    () => lab.connect(from, address, 80),
    (v) => who.test(v),
  );

beforeAll(async () => {
  for (const node of ['n1', 'n2'] as const) {
    for (const f of families)
      for (const address of ADDRESSES[node][f].slice(1))
        await lab.onNode(
          node,
          'ip',
          'addr',
          'add',
          `${address}/${f === 4 ? 24 : 64}`,
          'dev',
          /^172|^fd17/.test(address) ? 'lo' : 'eth0',
          ...(f === 6 ? ['nodad'] : []),
        );
    const { status } = JSON.parse(await lab.kubectl('get', 'node', node, '-o', 'json')) as {
      status: { addresses: object[] };
    };
    const external = families.map((f) => ({ type: 'ExternalIP', address: ADDRESSES[node][f][2] }));
    const addresses = [...status.addresses, ...external];
    await lab.kubectl(
      'patch',
      'node',
      node,
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify({ status: { addresses } }),
    );
  }
  const host = (node: string): string =>
    pod('flat', `host-${node}`, {
      node,
      labels: { app: 'host' },
      container: { ports: [{ containerPort: 8080, hostPort: HOST_PORT }] },
    });
  await lab.apply(
    [
      shop('a'),
      shop('b'),
      shop('flat', { isolated: false }),
      host('n1'),
      host('n2'),
      service('b', 'public', { type: 'NodePort' }),
      service('flat', 'public', { type: 'NodePort' }),
    ].join('\n---\n'),
  );
  for (const ns of ['b', 'flat'])
    nodePorts.set(
      ns,
      Number(await lab.kubectl('get', 'svc', 'public', '-n', ns, '-o', 'jsonpath={.spec.ports[0].nodePort}')),
    );
  await patchNetwork('a', { egress: { mode: 'NAT' } });
  for (const f of families) expect(await becomes('a/p1', OUTSIDE[f], 80, 'open')).toBe('open');
});

describe.each(families)('IPv%s', (f) => {
  test.each(['n1', 'n2'] as const)(
    'node %s is closed to networks by each of its addresses, open to those who may',
    async (node) => {
      const ports = [HOST_PORT, KUBELET, ...nodePorts.values()];
      for (const address of ADDRESSES[node][f])
        for (const port of ports) {
          const bridge = /^172|^fd17/.test(address);
          // The bridge's address is on one node only: for a pod of the other it is an address outside, where nothing is.
          for (const from of ['a/p1', 'a/p2', 'b/p1'])
            if (!bridge || !from.endsWith('p2')) {
              // Its own network's node ports never leave the network, whichever node is dialled.
              const wanted = from === 'b/p1' && port === nodePorts.get('b') ? 'open' : 'rejected';
              expect([from, address, port, await becomes(from, address, port, wanted)]).toEqual([
                from,
                address,
                port,
                wanted,
              ]);
            }
          const twin = ['flat/q1', address, port] as const;
          if (!bridge || node === 'n1') expect([...twin, await becomes(...twin, 'open')]).toEqual([...twin, 'open']);
        }
      for (const address of ADDRESSES[node][f].filter((a) => !/^172|^fd17/.test(a)))
        for (const port of [HOST_PORT, ...nodePorts.values()])
          expect([address, port, await becomes({ net: 'outside' }, address, port, 'open')]).toEqual([
            address,
            port,
            'open',
          ]);
    },
  );

  test('an address that comes later is closed at once on its node, and on others when the agent has told', async () => {
    const late = f === 4 ? '192.0.2.131' : '2001:db8:2::131';
    await lab.onNode(
      'n1',
      'ip',
      'addr',
      'add',
      `${late}/${f === 4 ? 24 : 64}`,
      'dev',
      'eth0',
      ...(f === 6 ? ['nodad'] : []),
    );
    expect(await verdict('a/p1', late, KUBELET)).toBe('rejected');
    expect(await becomes('a/p2', late, KUBELET, 'rejected')).toBe('rejected');
    expect(await verdict('flat/p2', late, KUBELET)).toBe('open');
    await lab.onNode('n1', 'ip', 'addr', 'del', `${late}/${f === 4 ? 24 : 64}`, 'dev', 'eth0');
  });

  test('nodePortAccess External: closed to the flat network by each address, open to the outside', async () => {
    await patchNetwork('b', { services: { nodePortAccess: 'External' } });
    const port = nodePorts.get('b') ?? 0;
    const zeros = [...(await lab.view()).state.nodes.values()].flatMap((n) =>
      n.podCIDRs.filter((c) => c.includes(':') === (f === 6)).map((c) => c.replace(/\/\d+$/, '')),
    );
    for (const node of ['n1', 'n2'] as const)
      for (const address of [...ADDRESSES[node][f], ...zeros]) {
        for (const from of ['flat/p1', 'flat/p2'])
          if (!/^172|^fd17/.test(address) || from === 'flat/p1')
            expect([from, address, await becomes(from, address, port, 'rejected')]).toEqual([
              from,
              address,
              'rejected',
            ]);
        expect(await verdict('flat/p1', ADDRESSES[node][f][0] ?? '', nodePorts.get('flat') ?? 0)).toBe('open');
        if (!zeros.includes(address) && !/^172|^fd17/.test(address))
          expect([address, await verdict({ net: 'outside' }, address, port)]).toEqual([address, 'open']);
      }
    // Nor by another name: a Service by hand whose endpoint is the closed node port of n2.
    const name = `behind${f}`;
    await lab.apply(byHand(name, f, ADDRESSES.n2[f][0] ?? '', port));
    const { clusterIPs = [], ports = [] } = (await lab.view()).state.services.get(`flat/${name}`) ?? {};
    const behind = ports[0]?.nodePort ?? 0;
    expect(await becomes({ net: 'outside' }, ADDRESSES.n1[f][0] ?? '', behind, 'open')).toBe('open');
    for (const [address, at] of [
      [clusterIPs[0] ?? '', 80],
      [ADDRESSES.n1[f][0] ?? '', behind],
      [ADDRESSES.n2[f][0] ?? '', behind],
    ] as const)
      for (const from of ['flat/p1', 'flat/p2'])
        expect([from, address, await verdict(from, address, at)]).not.toContain('open');
    await patchNetwork('b', { services: { nodePortAccess: 'All' } });
    expect(await becomes('flat/p1', ADDRESSES.n1[f][0] ?? '', port, 'open')).toBe('open');
    expect(await becomes('flat/p1', ADDRESSES.n1[f][0] ?? '', behind, 'open')).toBe('open');
    await lab.kubectl('delete', 'svc', '-n', 'flat', name);
  });

  test("another network's outer addresses take nothing of what leaves: the outside stays the outside", async () => {
    const nowhere = f === 4 ? '198.51.100.7' : '2001:db8:51::7';
    const pools = f === 4 ? ['203.0.113.0/24', '198.51.100.0/24'] : ['2001:db8::/64', '2001:db8:51::/64'];
    await lab.apply(bulkheadConfig({ services: { externalIPs: pools } }), { wait: false });
    await lab.apply(service('b', `outer${f}`, { externalIPs: [OUTSIDE[f], nowhere] }));
    // One that the administrator lists is the cluster's: its own network's pods use it, those of others are refused.
    for (const from of ['a/p1', 'a/p2'])
      for (const address of [OUTSIDE[f], nowhere])
        expect([from, address, await becomes(from, address, 80, 'rejected')]).toEqual([from, address, 'rejected']);
    expect(await lab.connect('a/p1', OUTSIDE[f], 7, 'UDP')).toContain('open');
    expect(await becomesBy('b/p2', OUTSIDE[f], /^open:b\//)).toMatch(/^open:b\//);
    expect(await lab.differences()).toEqual([]);
    // One that nobody lists: kube-proxy takes it for all that it translates, and what leaves a network is not among that.
    await lab.apply(bulkheadConfig({ services: { externalIPs: [] } }), { wait: false });
    for (const from of ['a/p1', 'a/p2'])
      expect([from, await becomesBy(from, OUTSIDE[f], /outside/)]).toEqual([from, 'open:/outside']);
    expect(await lab.connect('flat/p1', OUTSIDE[f], 80)).toMatch(/^open:b\//);
    expect(await lab.connect('b/p1', nowhere, 80)).not.toContain('open');
    await lab.kubectl('delete', 'svc', '-n', 'b', `outer${f}`);
    for (const from of ['a/p1', 'a/p2']) expect(await becomesBy(from, OUTSIDE[f], /outside/)).toBe('open:/outside');
  });
});
