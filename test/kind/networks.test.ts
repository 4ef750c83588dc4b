import { afterAll, describe, expect, test } from 'vitest';
import {
  apply,
  deleteNamespaces,
  eventually,
  families,
  flatNamespace,
  fromPod,
  get,
  ipOf,
  isolatedNamespace,
  kubectl,
  pod,
  ready,
  refused,
  standIn,
  workers,
} from './cluster.ts';

// Subnets, routers, further interfaces and quotas on a real API server, real kubelets, real kube-proxy.

const NAMESPACES = ['n-sub', 'n-a', 'n-b', 'n-flat', 'n-quota', 'n-other'];
afterAll(() => deleteNamespaces(...NAMESPACES));

const SUBNETS = { 4: '10.180.0.0/24', 6: 'fd00:180::/64' } as const;
const STORAGE = { 4: '10.181.0.0/24', 6: 'fd00:181::/64' } as const;
const of = (subnets: { 4: string; 6: string }): string => families.map((f) => `"${subnets[f]}"`).join(', ');
const network = (namespace: string, name: string, spec: string): string => `
apiVersion: bulkhead.dev/v1alpha1
kind: VirtualNetwork
metadata: { name: ${name}, namespace: ${namespace} }
spec: { ${spec} }
---`;
const router = (namespace: string, spec: string): string => `
apiVersion: bulkhead.dev/v1alpha1
kind: VirtualNetworkRouter
metadata: { name: r, namespace: ${namespace} }
spec: { ${spec} }
---`;
const annotated = (text: string, annotations: Record<string, string>): string =>
  text.replace('labels: {', `annotations: ${JSON.stringify(annotations)}, labels: {`);
const tcp = (address: string) => ({ address, port: 5432, protocol: 'TCP' as const });
const becomes = (from: Awaited<ReturnType<typeof pod>>, to: ReturnType<typeof tcp>, wanted: string): Promise<true> =>
  eventually(
    `${from.name} → ${to.address} ${wanted}`,
    async () => ((await fromPod(from, to)) === wanted ? true : undefined),
    15_000,
  );

describe('networks on a real cluster', () => {
  test('subnets of its own: probes, Services, both nodes; nobody else gets in; overlaps are refused by name', async () => {
    const [one, two] = await workers();
    await apply(
      [
        `apiVersion: v1\nkind: Namespace\nmetadata: { name: n-sub, annotations: { bulkhead.dev/network: blue } }\n---`,
        flatNamespace('n-flat'),
        network(
          'n-sub',
          'blue',
          `subnets: [${of(SUBNETS)}], staticPrefixes: ["10.180.0.128/26"]`.replace(
            families.includes(4) ? '§' : /, staticPrefixes.*/,
            '',
          ),
        ),
        standIn('n-sub', 'p1', { node: one }),
        standIn('n-sub', 'p2', { node: two }),
        standIn('n-flat', 'f1', { node: one }),
        standIn('n-flat', 'f2', { node: two }),
        `apiVersion: v1\nkind: Service\nmetadata: { name: db, namespace: n-sub }\nspec: { ipFamilyPolicy: PreferDualStack, selector: { app: p1 }, ports: [{ port: 5432 }] }\n---`,
      ].join('\n'),
    );
    await ready('n-sub', 'n-flat');
    const [p1, p2, f1, f2] = await Promise.all([
      pod('n-sub', 'app=p1'),
      pod('n-sub', 'app=p2'),
      pod('n-flat', 'app=f1'),
      pod('n-flat', 'app=f2'),
    ]);
    const { clusterIPs } = (await get('service', 'db', 'n-sub'))['spec'] as { clusterIPs: string[] };
    for (const f of families) {
      expect(ipOf(p1, f).startsWith(f === 4 ? '10.180.0.' : 'fd00:180::')).toBe(true);
      expect(await fromPod(p2, tcp(ipOf(p1, f)))).toBe('open');
      for (const from of [f1, f2]) expect(await fromPod(from, tcp(ipOf(p1, f)))).toBe('rejected');
      expect(await fromPod(p2, tcp(ipOf(f1, f)))).toBe('rejected');
    }
    for (const ip of clusterIPs) expect(await fromPod(p2, tcp(ip))).toBe('open');

    await apply(flatNamespace('n-other'));
    const overlap = network('n-other', 'clash', `subnets: ["${SUBNETS[families[0] ?? 4]}"]`);
    expect(await refused(['apply', '-f', '-'], overlap)).toMatch(
      /of network n-other\/clash overlaps .*, which belongs to network n-sub\/blue/,
    );
    expect(
      await refused(
        ['apply', '-f', '-'],
        network(
          'n-other',
          'x',
          'subnets: ["10.9.0.1/24"], mtu: 9, egress: { mode: NAT, allow: [{ cidr: all, ports: [{ port: 5, endPort: 4 }] }] }',
        ),
      ),
    ).toMatch(/spec\.mtu|spec\.subnets/);
    expect(
      await refused([
        'patch',
        'vn',
        'blue',
        '-n',
        'n-sub',
        '--type=merge',
        '-p',
        '{"spec":{"subnets":[],"staticPrefixes":[]}}',
      ]),
    ).toMatch(/pod\(s\) have addresses in a subnet that would go: n-sub\/p[12]/);
    const taken = annotated(standIn('n-sub', 'thief'), { 'bulkhead.dev/ips': ipOf(p1, families[0] ?? 4) });
    expect(await refused(['apply', '-f', '-'], taken)).toMatch(/is taken by pod n-sub\/p1/);
  });

  test('a router connects two namespaces when both say so, and cuts them when one takes it back', async () => {
    const [one, two] = await workers();
    await apply(
      [
        isolatedNamespace('n-a'),
        isolatedNamespace('n-b'),
        standIn('n-a', 'p', { node: one }),
        standIn('n-b', 'p', { node: two }),
        standIn('n-b', 'q', { node: one }),
      ].join('\n'),
    );
    await ready('n-a', 'n-b');
    const [from, near, far] = await Promise.all([pod('n-a', 'app=p'), pod('n-b', 'app=q'), pod('n-b', 'app=p')]);
    const each = families.flatMap((f) => [tcp(ipOf(near, f)), tcp(ipOf(far, f))]);
    for (const to of each) expect(await fromPod(from, to)).toBe('rejected');
    await apply(router('n-a', 'virtualNetworks: [default], import: [{ namespace: n-b, name: r }]'));
    for (const to of each) expect(await fromPod(from, to)).toBe('rejected');
    await apply(router('n-b', 'virtualNetworks: [default], import: [{ namespace: n-a, name: r }]'));
    for (const to of each) await becomes(from, to, 'open');
    expect(await kubectl(['get', 'vnr', '-n', 'n-a'])).toMatch(/r +Mesh +All +True +1 +0/);
    await kubectl(['delete', 'vnr', 'r', '-n', 'n-b']);
    for (const to of each) await becomes(from, to, 'rejected');
    expect(await refused(['apply', '-f', '-'], router('n-a', 'type: Star, virtualNetworks: [default]'))).toMatch(
      /spec\.type/,
    );
    expect(await refused(['apply', '-f', '-'], router('n-a', 'type: Hub, virtualNetworks: []'))).toMatch(
      /name at least one member/,
    );
    expect(
      await refused(['apply', '-f', '-'], router('n-a', 'virtualNetworks: [default], import: [{ namespace: n-b }]')),
    ).toMatch(/either name/);
  });

  test('a further interface, told in network-status; ports opened to a flat namespace', async () => {
    const [one, two] = await workers();
    await apply(
      [
        network('n-a', 'storage', `subnets: [${of(STORAGE)}]`),
        annotated(standIn('n-a', 's1', { node: one }), { 'k8s.v1.cni.cncf.io/networks': 'storage' }),
        annotated(standIn('n-a', 's2', { node: two }), {
          'k8s.v1.cni.cncf.io/networks': '[{"name":"storage","interface":"stor0"}]',
          'bulkhead.dev/open-ports': '5432/TCP',
          'bulkhead.dev/open-to': 'n-flat',
        }),
      ].join('\n'),
    );
    await ready('n-a');
    const [s1, s2, flat, plain] = await Promise.all([
      pod('n-a', 'app=s1'),
      pod('n-a', 'app=s2'),
      pod('n-flat', 'app=f1'),
      pod('n-a', 'app=p'),
    ]);
    const status = await eventually('network-status', async () => {
      const { annotations = {} } = (await get('pod', s2.name, 'n-a')).metadata;
      return annotations['k8s.v1.cni.cncf.io/network-status'];
    });
    const second = (JSON.parse(status) as { interface: string; ips: string[] }[]).find((s) => s.interface === 'stor0');
    expect(second?.ips).toHaveLength(families.length);
    for (const ip of second?.ips ?? []) {
      expect(await fromPod(s1, tcp(ip))).toBe('open');
      expect(await fromPod(plain, tcp(ip))).toBe('rejected');
      expect(await fromPod(flat, tcp(ip))).toBe('rejected');
    }
    for (const f of families) {
      await becomes(flat, tcp(ipOf(s2, f)), 'open');
      expect(await fromPod(flat, tcp(ipOf(s1, f)))).toBe('rejected');
    }
    expect(
      await refused(['apply', '-f', '-'], annotated(standIn('n-a', 'odd'), { 'bulkhead.dev/open-ports': 'http' })),
    ).toMatch(/is no port; write 8080\/TCP/);
    expect(
      await refused(['apply', '-f', '-'], annotated(standIn('n-a', 'odd'), { 'k8s.v1.cni.cncf.io/networks': '[{' })),
    ).toMatch(/is no JSON/);
  });

  test('quotas are Kubernetes own: networks and routers are counted as any object', async () => {
    await apply(
      [
        flatNamespace('n-quota'),
        `apiVersion: v1\nkind: ResourceQuota\nmetadata: { name: networks, namespace: n-quota }\nspec: { hard: { count/virtualnetworks.bulkhead.dev: "1", count/virtualnetworkrouters.bulkhead.dev: "0" } }\n---`,
      ].join('\n'),
    );
    await eventually('the quota is counted', async () =>
      JSON.stringify((await get('resourcequota', 'networks', 'n-quota'))['status'] ?? {}).includes('virtualnetworks')
        ? true
        : undefined,
    );
    await apply(network('n-quota', 'one', ''));
    expect(await refused(['apply', '-f', '-'], network('n-quota', 'two', ''))).toMatch(/exceeded quota: networks/);
    expect(await refused(['apply', '-f', '-'], router('n-quota', 'virtualNetworks: [one]'))).toMatch(
      /exceeded quota: networks/,
    );
  });
});
