import { describe, expect, test } from 'vitest';
import { bulkheadConfig, pod, shop, useLab } from '../system/lab.ts';

// What a tenant may write about Services: EndpointSlices by hand (V10, the class of CVE-2021-25740) and external addresses (V6, the
// class of CVE-2020-8554). Neither opens nor takes over more than their author has.

const lab = useLab('atk-services', { admission: false, nodes: 2 });
const OUTSIDE = '203.0.113.10';
const OUTSIDE_6 = '2001:db8::10';
const CONTROLLER = '192.0.2.3';

const bare = (namespace: string, name: string, port: number, spec: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { ipFamilyPolicy: 'PreferDualStack', ports: [{ name: 'x', port, targetPort: port }], ...spec },
  });
/** The only slice of a Service, of one family. */
const slice = (
  namespace: string,
  service: string,
  address: string,
  port: number,
  target?: { namespace?: string; name: string },
): string =>
  JSON.stringify({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${service}-byhand`, namespace, labels: { 'kubernetes.io/service-name': service } },
    addressType: address.includes(':') ? 'IPv6' : 'IPv4',
    ports: [{ name: 'x', protocol: 'TCP', port }],
    endpoints: [
      {
        addresses: [address],
        conditions: { ready: true },
        ...(target ? { targetRef: { kind: 'Pod', namespace, ...target } } : {}),
      },
    ],
  });
const clusterIp = async (ns: string, name: string, family: 4 | 6 = 4): Promise<string> =>
  (
    await lab.kubectl('get', 'svc', '-n', ns, name, '-o', `jsonpath={.spec.clusterIPs[${family === 4 ? 0 : 1}]}`)
  ).trim();
const patchNetwork = (ns: string, spec: object): Promise<string> =>
  lab.kubectl('patch', 'vn', 'default', '-n', ns, '--type=merge', '-p', JSON.stringify({ spec }));
const becomes = (from: string, address: string, port: number, wanted: string): Promise<string> =>
  lab.eventually(
    () => lab.connect(from, address, port),
    (o) => o === wanted,
  );

describe('EndpointSlices by hand, behind a Service that an isolated network allows', () => {
  test('lead to no node, no host outside, no other network; to a flat pod they do', async () => {
    await lab.apply(
      [shop('a'), shop('b'), shop('flat', { isolated: false }), bare('flat', 'trap', 9443)].join('\n---\n'),
    );
    await patchNetwork('a', {
      services: {
        allow: [
          { namespace: 'kube-system', name: 'kube-dns' },
          { namespace: 'default', name: 'kubernetes' },
          { namespace: 'flat', name: 'trap' },
        ],
      },
    });
    const victim = await lab.ip('b/p1');
    const flat = await lab.ip('flat/p1');
    const dial = await clusterIp('flat', 'trap');
    const dial6 = await clusterIp('flat', 'trap', 6);
    // The twin first, so that what follows is refused for what it is.
    const good = async (): Promise<void> => {
      await lab.apply(slice('flat', 'trap', flat, 8080, { name: 'p1' }));
      for (const from of ['a/p1', 'a/p2']) expect(await becomes(from, dial, 9443, 'open:flat/p1')).toBe('open:flat/p1');
    };
    await good();
    for (const [address, port, target] of [
      [CONTROLLER, 9443, undefined],
      ['192.0.2.11', 9444, undefined],
      ['192.0.2.12', 10250, undefined],
      [OUTSIDE, 80, undefined],
      ['10.244.0.0', 9444, undefined],
      [victim, 8080, undefined],
      [victim, 8080, { name: 'p1' }],
      [victim, 8080, { namespace: 'b', name: 'p1' }],
      [OUTSIDE, 80, { name: 'p1' }],
      [CONTROLLER, 9443, { name: 'p1' }],
      [flat, 8080, { name: 'p2' }],
    ] as const) {
      await lab.apply(slice('flat', 'trap', address, port, target));
      for (const from of ['a/p1', 'a/p2'])
        expect([address, target, await becomes(from, dial, 9443, 'rejected')]).toEqual([address, target, 'rejected']);
    }
    await lab.apply(slice('flat', 'trap', OUTSIDE, 80));
    await good();
    await lab.kubectl('delete', 'endpointslice', '-n', 'flat', 'trap-byhand');
    for (const [address, port] of [
      [OUTSIDE_6, 80],
      ['2001:db8:2::11', 9444],
      ['2001:db8:2::12', 10250],
      [await lab.ip('b/p1', 6), 8080],
    ] as const) {
      await lab.apply(slice('flat', 'trap', address, port));
      for (const from of ['a/p1', 'a/p2']) expect(await becomes(from, dial6, 9443, 'rejected')).toBe('rejected');
      await lab.kubectl('delete', 'endpointslice', '-n', 'flat', 'trap-byhand');
    }
    await lab.apply(slice('flat', 'trap', await lab.ip('flat/p1', 6), 8080, { name: 'p1' }));
    for (const from of ['a/p1', 'a/p2']) expect(await becomes(from, dial6, 9443, 'open:flat/p1')).toBe('open:flat/p1');
    await lab.kubectl('delete', 'endpointslice', '-n', 'flat', 'trap-byhand');
  });

  test('an address that the administrator lists counts, and a node never does', async () => {
    const dial = await clusterIp('flat', 'trap');
    await lab.apply(bulkheadConfig({ services: { podlessEndpoints: [`${OUTSIDE}/32`, '192.0.2.0/24'] } }));
    await lab.apply(slice('flat', 'trap', OUTSIDE, 80));
    for (const from of ['a/p1', 'a/p2']) expect(await becomes(from, dial, 9443, 'open:/outside')).toBe('open:/outside');
    await lab.apply(slice('flat', 'trap', '192.0.2.11', 9444));
    for (const from of ['a/p1', 'a/p2']) expect(await becomes(from, dial, 9443, 'rejected')).toBe('rejected');
    expect(await lab.connect('a/p1', OUTSIDE, 80)).toBe('rejected'); // directly: egress is None
    await lab.kubectl('delete', 'bulkheadconfig', 'default');
    await lab.kubectl('delete', 'svc', '-n', 'flat', 'trap');
    await lab.kubectl('delete', 'endpointslice', '-n', 'flat', 'trap-byhand');
  });
});

describe('external addresses', () => {
  test('of a host outside: its own network goes on reaching that host, and the Service is told', async () => {
    await patchNetwork('a', { egress: { mode: 'NAT' } });
    for (const from of ['a/p1', 'a/p2'])
      expect(await becomes(from, OUTSIDE, 80, 'open:/outside')).toBe('open:/outside');
    await lab.apply(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'mate', annotations: { 'bulkhead.dev/network': 'a/default' } },
      }),
    );
    await patchNetwork('a', { sharedWith: { matchLabels: { 'kubernetes.io/metadata.name': 'mate' } } });
    await lab.apply(pod('mate', 'p1', { node: 'n1' }));
    const victim = await clusterIp('a', 'web');
    const dns = '10.96.0.10';
    const grab = {
      selector: { app: 'web' },
      externalIPs: [OUTSIDE, OUTSIDE_6, victim, dns, '192.0.2.11', await lab.ip('a/q1')],
    };
    await lab.apply(
      [
        bare('mate', 'grab', 80, { ...grab, ports: [{ name: 'x', port: 80, targetPort: 8080 }] }),
        bare('mate', 'dns', 53, { ...grab, ports: [{ name: 'x', port: 53, targetPort: 8080 }] }),
      ].join('\n---\n'),
      { wait: false },
    );
    const events = (): Promise<string> =>
      lab.kubectl('get', 'events', '-n', 'mate', '-o', 'custom-columns=R:.reason,M:.message', '--no-headers');
    expect(await lab.eventually(events, (e) => e.includes('AddressNotServed'))).toMatch(/203\.0\.113\.10 is not among/);
    const own = (await lab.connect('a/p1', victim, 80)).split('/')[0];
    expect(own).toBe('open:a');
    for (let i = 0; i < 10; i++) {
      expect((await lab.connect('a/p1', victim, 80)).split('/')[0]).toBe('open:a');
      expect(await lab.connect('a/p2', await lab.ip('a/q1'), 8080)).toBe('open:a/q1');
    }
    expect(await lab.connect('a/p1', dns, 53)).toBe('open');
    expect(await lab.connect('a/p1', '192.0.2.11', 80)).toBe('rejected');
    // The Service itself works, and an address that an administrator lists does.
    expect(await becomes('a/p1', await clusterIp('mate', 'grab'), 80, 'open:mate/p1')).toBe('open:mate/p1');
    await lab.apply(bulkheadConfig({ services: { externalIPs: ['198.51.100.0/24'] } }), { wait: false });
    await lab.kubectl(
      'patch',
      'svc',
      '-n',
      'mate',
      'grab',
      '--type=merge',
      '-p',
      '{"spec":{"externalIPs":["198.51.100.7"]}}',
    );
    for (const from of ['a/p1', 'a/p2'])
      expect(await becomes(from, '198.51.100.7', 80, 'open:mate/p1')).toBe('open:mate/p1');
    for (const from of ['a/p1', 'a/p2'])
      expect(await becomes(from, OUTSIDE, 80, 'open:/outside')).toBe('open:/outside');
  });

  test('of two Services in one network the older keeps an address and port', async () => {
    // Objects tell their age in whole seconds.
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await lab.apply(
      bare('a', 'young', 80, {
        selector: { app: 'web' },
        externalIPs: ['198.51.100.7'],
        ports: [{ name: 'x', port: 80, targetPort: 8080 }],
      }),
      { wait: false },
    );
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    for (let i = 0; i < 6; i++) expect(await lab.connect('a/p1', '198.51.100.7', 80)).toBe('open:mate/p1');
  });
});
