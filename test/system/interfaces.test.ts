import { describe, expect, test } from 'vitest';
import { pod, shop, useLab, virtualNetwork } from './lab.ts';

const lab = useLab('ifs', { admission: false, nodes: 2 });
const KEY = 'k8s.v1.cni.cncf.io/networks';
const asks = (value: unknown) => ({
  annotations: { [KEY]: typeof value === 'string' ? value : JSON.stringify(value) },
});
const families = [4, 6] as const;

type Status = { name: string; interface: string; ips: string[]; mac: string; default: boolean };
/** What the annotation says, once it says as much as asked for. */
async function status(name: string, count: number): Promise<Status[]> {
  const read = async (): Promise<Status[]> =>
    JSON.parse(
      (await lab.kubectl(
        'get',
        'pod',
        '-n',
        'm',
        name,
        '-o',
        'jsonpath={.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/network-status}',
      )) || '[]',
    ) as Status[];
  return await lab.eventually(read, (s) => s.length === count);
}
async function address(name: string, ifname: string, family: 4 | 6, count = 2): Promise<string> {
  const found = (await status(name, count)).find((s) => s.interface === ifname);
  return found?.ips.find((ip) => ip.includes(':') === (family === 6)) ?? '';
}

describe('extra interfaces', () => {
  test('a pod on two networks: each by its own interface, replies by where the request came in, nobody else by either', async () => {
    await lab.apply(
      [
        shop('m'),
        shop('flat', { isolated: false }),
        virtualNetwork('m', 'storage', {
          subnets: ['10.50.0.0/24', 'fd00:50::/64'],
          staticPrefixes: ['fd00:50::1:0/112'],
        }),
        virtualNetwork('m', 'control', { subnets: ['10.51.0.0/24', 'fd00:51::/64'] }),
      ].join('\n---\n'),
    );
    await lab.apply(
      [
        pod('m', 's1', { node: 'n1', ...asks('storage') }),
        pod('m', 's2', { node: 'n2', ...asks('m/storage@stor0') }),
        pod('m', 'both', {
          node: 'n2',
          ...asks([
            { name: 'storage', ips: ['10.50.0.77', 'fd00:50::1:77'], mac: '02:00:00:00:00:77' },
            { name: 'control', interface: 'ctl' },
          ]),
        }),
        pod('m', 'only', { node: 'n1', annotations: { 'bulkhead.dev/network': 'control' } }),
      ].join('\n---\n'),
    );
    expect((await status('s1', 2)).map((s) => [s.name, s.interface, s.default])).toEqual([
      ['m/default', 'eth0', true],
      ['m/storage', 'net1', false],
    ]);
    expect((await status('both', 3)).find((s) => s.interface === 'net1')).toMatchObject({
      name: 'm/storage',
      ips: ['10.50.0.77', 'fd00:50::1:77'],
      mac: '02:00:00:00:00:77',
    });
    for (const family of families) {
      const s2 = await address('s2', 'stor0', family);
      const both = await address('both', 'net1', family, 3);
      const control = await address('both', 'ctl', family, 3);
      expect(await lab.connect('m/s1', s2, 8080)).toBe('open:m/s2');
      expect(await lab.connect('m/s2', both, 8080)).toBe('open:m/both');
      expect(await lab.connect('m/only', control, 8080)).toBe('open:m/both');
      expect(await lab.connect('m/both', await lab.ip('m/only', family), 8080)).toBe('open:m/only');
      expect(await lab.connect('m/s1', await lab.ip('m/p2', family), 8080)).toBe('open:m/p2');
      // Not by an interface of another network, and not from outside.
      for (const [from, to] of [
        ['m/p1', s2],
        ['m/only', both],
        ['m/s1', control],
        ['flat/p1', s2],
        ['flat/p2', control],
      ] as const)
        expect(await lab.connect(from, to, 8080)).toBe('rejected');
    }
    // A pod with three networks is no way from one to another.
    expect(await lab.differences()).toEqual([]);
  });

  test('anti-spoofing holds for each interface', async () => {
    const s2 = await address('s2', 'stor0', 4);
    const ping = (source: string): Promise<string> =>
      lab.inPod('m/s1', 'ping', '-c1', '-W1', '-I', source, s2).then(
        () => 'open',
        () => 'closed',
      );
    expect(await ping('net1')).toBe('open');
    await lab.inPod('m/s1', 'ip', 'addr', 'add', '10.50.0.99/32', 'dev', 'net1');
    expect(await ping('10.50.0.99')).toBe('closed');
    await lab.inPod('m/s1', 'ip', 'addr', 'del', '10.50.0.99/32', 'dev', 'net1');
    expect(await ping('net1')).toBe('open');
  });

  test('a NetworkAttachmentDefinition of ours leads to its network; one of another plugin is refused, with the remedy', async () => {
    const group = 'k8s.cni.cncf.io';
    const names = {
      kind: 'NetworkAttachmentDefinition',
      plural: 'network-attachment-definitions',
      singular: 'network-attachment-definition',
      shortNames: ['net-attach-def'],
    };
    const schema = {
      openAPIV3Schema: {
        type: 'object',
        properties: { spec: { type: 'object', properties: { config: { type: 'string' } } } },
      },
    };
    await lab.apply(
      JSON.stringify({
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: `${names.plural}.${group}` },
        spec: { group, scope: 'Namespaced', names, versions: [{ name: 'v1', served: true, storage: true, schema }] },
      }),
      { wait: false },
    );
    const definition = (name: string, config: object): string =>
      JSON.stringify({
        apiVersion: `${group}/v1`,
        kind: names.kind,
        metadata: { name, namespace: 'm' },
        spec: { config: JSON.stringify(config) },
      });
    await lab.apply(
      [definition('disk', { type: 'bulkhead', network: 'storage' }), definition('fast', { type: 'sriov' })].join(
        '\n---\n',
      ),
      { wait: false },
    );
    await lab.apply(
      [pod('m', 'nad', { node: 'n1', ...asks('disk') }), pod('m', 'foreign', { node: 'n1', ...asks('fast') })].join(
        '\n---\n',
      ),
      { wait: false },
    );
    const read = (): Promise<Status[]> => status('nad', 2);
    expect((await lab.eventually(read, (s) => s.length === 2, 40_000)).map((s) => [s.name, s.interface])).toEqual([
      ['m/default', 'eth0'],
      ['m/storage', 'net1'],
    ]);
    for (const family of families)
      expect(await lab.connect('m/nad', await address('s2', 'stor0', family), 8080)).toBe('open:m/s2');
    const events = (): Promise<string> => lab.kubectl('get', 'events', '-n', 'm');
    expect(await lab.eventually(events, (e) => e.includes('ForeignNetwork'))).toMatch(
      /ForeignNetwork .*m\/fast is for the plugin sriov, which Bulkhead does not run; install Multus/,
    );
    await lab.kubectl('delete', 'pod', '-n', 'm', 'nad', 'foreign');
  });

  test('several interfaces on one network, and a router on an extra one: replies take the same way back', async () => {
    await lab.apply(pod('m', 'twice', { node: 'n1', ...asks('storage,storage') }));
    const [, one, two] = await status('twice', 3);
    for (const i of [one, two])
      for (const ip of i?.ips ?? []) expect(await lab.connect('m/s2', ip, 8080)).toBe('open:m/twice');
    const router = {
      apiVersion: 'bulkhead.dev/v1alpha1',
      kind: 'VirtualNetworkRouter',
      metadata: { name: 'r', namespace: 'm' },
      spec: { virtualNetworks: ['default', 'storage'] },
    };
    await lab.apply(JSON.stringify(router), { wait: false });
    for (const family of families) {
      const to = await address('s2', 'stor0', family);
      expect(
        await lab.eventually(
          () => lab.connect('m/p1', to, 8080),
          (o) => o.startsWith('open'),
        ),
      ).toBe('open:m/s2');
    }
    expect(await lab.differences()).toEqual([]);
    await lab.kubectl('delete', 'vnr', '-n', 'm', 'r');
  });

  test('what cannot be had makes the pod wait and is told; a network in use by an extra interface is not deleted', async () => {
    await lab.apply(
      [
        pod('m', 'missing', asks('nowhere')),
        pod('m', 'nosubnet', asks('default')),
        pod('m', 'stolen', asks([{ name: 'storage', ips: ['10.50.0.77'] }])),
        pod('m', 'odd', asks('[{"name":')),
      ].join('\n---\n'),
      { wait: false },
    );
    const events = (): Promise<string> =>
      lab.kubectl(
        'get',
        'events',
        '-n',
        'm',
        '-o',
        'custom-columns=R:.reason,O:.involvedObject.name,M:.message',
        '--no-headers',
      );
    const told = await lab.eventually(events, (e) =>
      ['missing', 'nosubnet', 'stolen', 'odd'].every(
        (n) => new RegExp(`\\w+ +${n} +\\S`).test(e) && e.includes('InvalidAnnotation'),
      ),
    );
    expect(told).toMatch(/NetworkNotFound +missing .*m\/nowhere does not exist/);
    expect(told).toMatch(/UnsupportedNetwork +nosubnet .*has no spec\.subnets/);
    expect(told).toMatch(/AddressUnavailable +stolen .*taken by pod m\/both/);
    expect(told).toMatch(/InvalidAnnotation +odd .*is no JSON/);
    await lab.kubectl('delete', 'vn', 'storage', '-n', 'm', '--wait=false');
    expect(
      await lab.eventually(
        () => lab.kubectl('get', 'vn', '-n', 'm', 'storage', '-o', 'jsonpath={.status.conditions[0].message}'),
        (m) => m.includes('waits'),
      ),
    ).toMatch(/waits for \d pod\(s\): .*m\/s1/);
    await lab.kubectl('delete', 'pod', '-n', 'm', 'missing', 'nosubnet', 'stolen', 'odd');
  });

  test('a pod that ends leaves nothing of any interface', async () => {
    await lab.kubectl('delete', 'pod', '-n', 'm', 's1', 's2', 'both', 'twice');
    const storage = (): Promise<string> => lab.kubectl('get', 'vn', '-n', 'm', '--no-headers');
    expect(await lab.eventually(storage, (t) => !t.includes('storage'))).not.toContain('storage');
    for (const node of ['n1', 'n2'])
      expect(
        await lab.eventually(
          () => lab.onNode(node, 'ip', '-br', 'route'),
          (r) => !r.includes('10.50.0'),
        ),
      ).not.toContain('10.50.0');
    expect(await lab.connect('m/p1', await lab.ip('m/p2'), 8080)).toBe('open:m/p2');
  });
});
