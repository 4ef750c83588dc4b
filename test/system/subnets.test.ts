import { describe, expect, test } from 'vitest';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { startAgent, startController } from '../../lab/world/lab.ts';
import { pod, shop, useLab, virtualNetwork } from './lab.ts';

const lab = useLab('subnets', { admission: false, nodes: 2 });
const SUBNETS = ['10.20.0.0/24', 'fd00:20::/64'];
const families = [4, 6] as const;
const inside = (ip: string, cidrs: readonly string[]): boolean =>
  cidrs.some((c) => contains(mustPrefix(c), mustIp(ip)));
const events = (ns: string): Promise<string> =>
  lab.kubectl(
    'get',
    'events',
    '-n',
    ns,
    '-o',
    'custom-columns=R:.reason,O:.involvedObject.name,M:.message',
    '--no-headers',
  );
const condition = (ns: string, name: string): Promise<string> =>
  lab.kubectl('get', 'vn', '-n', ns, name, '-o', "jsonpath={.status.conditions[?(@.type=='Ready')]}");
const blocks = async (): Promise<string[]> =>
  (
    await lab.kubectl(
      'get',
      'ablk',
      '-o',
      'jsonpath={range .items[?(@.spec.source=="Subnet")]}{.spec.node} {.spec.cidr}{"\\n"}{end}',
    )
  )
    .split('\n')
    .filter((l) => l !== '');
const asks = (ips: string, mac?: string) => ({
  annotations: { 'bulkhead.dev/ips': ips, ...(mac === undefined ? {} : { 'bulkhead.dev/mac': mac }) },
});

describe('subnets of a network', () => {
  test('pods have addresses from them, and everything goes on: same node, other node, Services, DNS, node ports, and nobody else', async () => {
    await lab.apply(virtualNetworkNamespace('s', 'blue'));
    await lab.apply(
      [
        virtualNetwork('s', 'blue', { subnets: SUBNETS, egress: { mode: 'NAT' } }),
        shop('s', { isolated: false, annotations: { 'bulkhead.dev/network': 'blue' } }),
        shop('other'),
        shop('plain', { isolated: false }),
      ].join('\n---\n'),
    );
    for (const family of families) {
      for (const name of ['p1', 'q1', 'p2']) expect(inside(await lab.ip(`s/${name}`, family), SUBNETS)).toBe(true);
      expect(await lab.connect('s/p1', await lab.ip('s/q1', family), 8080)).toBe('open:s/q1');
      expect(await lab.connect('s/p2', await lab.ip('s/p1', family), 8080)).toBe('open:s/p1');
      for (const from of ['plain/p1', 'plain/p2', 'other/p1', 'other/p2'])
        expect(await lab.connect(from, await lab.ip('s/p1', family), 8080)).toBe('rejected');
      expect(await lab.connect('s/p1', await lab.ip('plain/p2', family), 8080)).toBe('rejected');
    }
    expect(await lab.differences()).toEqual([]);
    expect(await lab.kubectl('get', 'vn', '-n', 's', 'blue', '-o', 'wide')).toMatch(/10\.20\.0\.0\/24/);
    // Blocks of 32: a node could get two of them before half of the subnet is given away.
    const ours = (await blocks()).filter((b) => b.includes('10.20.'));
    expect(ours.map((b) => b.split(' ')[0]).sort()).toEqual(['n1', 'n2']);
  });

  test('an address and a MAC by annotation; what is taken, reserved or outside waits and says why; the pod may move to another node', async () => {
    await lab.kubectl(
      'patch',
      'vn',
      'blue',
      '-n',
      's',
      '--type=merge',
      '-p',
      JSON.stringify({ spec: { staticPrefixes: ['10.20.0.192/27'], reservedPrefixes: ['10.20.0.240/28'] } }),
    );
    await lab.apply(pod('s', 'fixed', { node: 'n1', ...asks('10.20.0.200, fd00:20::200', '02:AA:00:00:00:01') }));
    expect(await lab.ip('s/fixed')).toBe('10.20.0.200');
    expect(await lab.ip('s/fixed', 6)).toBe('fd00:20::200');
    expect(await lab.inPod('s/fixed', 'ip', 'link', 'show', 'eth0')).toContain('02:aa:00:00:00:01');
    for (const family of families)
      expect(await lab.connect('s/p2', await lab.ip('s/fixed', family), 8080)).toBe('open:s/fixed');
    await lab.apply(
      [
        pod('s', 'taken', { node: 'n2', ...asks('10.20.0.200') }),
        pod('s', 'outside', { node: 'n2', ...asks('10.21.0.1') }),
        pod('s', 'reserved', { node: 'n2', ...asks('10.20.0.241') }),
        pod('s', 'first', { node: 'n2', ...asks('10.20.0.0') }),
        pod('s', 'words', { node: 'n2', ...asks('ten', 'ff:ff:ff:ff:ff:ff') }),
      ].join('\n---\n'),
      { wait: false },
    );
    const told = await lab.eventually(
      () => events('s'),
      (e) => (e.match(/AddressUnavailable/g)?.length ?? 0) >= 4 && e.includes('InvalidAnnotation'),
    );
    expect(told).toMatch(/AddressUnavailable +taken .*10\.20\.0\.200 of network s\/blue is taken by pod s\/fixed/);
    expect(told).toMatch(/AddressUnavailable +outside .*is in none of its subnets \(10\.20\.0\.0\/24, fd00:20::\/64\)/);
    expect(told).toMatch(/AddressUnavailable +reserved .*spec\.reservedPrefixes keeps from all pods/);
    expect(told).toMatch(/AddressUnavailable +first .*first, second or last address/);
    expect(told).toMatch(/InvalidAnnotation +words .*"ten" is no IP address; .*"ff:ff:ff:ff:ff:ff" is no unicast MAC/);
    await lab.kubectl('delete', 'pod', '-n', 's', 'taken', 'outside', 'reserved', 'first', 'words', 'fixed');
    await lab.apply(pod('s', 'fixed', { node: 'n2', ...asks('10.20.0.200, fd00:20::200') }));
    for (const family of families) {
      expect(await lab.connect('s/p1', await lab.ip('s/fixed', family), 8080)).toBe('open:s/fixed');
      expect(await lab.connect('s/fixed', await lab.ip('s/p2', family), 8080)).toBe('open:s/p2');
    }
    expect(await blocks()).toContain('n2 10.20.0.200/32');
    expect(await blocks()).not.toContain('n1 10.20.0.200/32');
  });

  test('a subnet that is used up says so; one more is added live, waiting pods start, and old pods talk to new ones', async () => {
    await lab.apply(virtualNetworkNamespace('tight', 'small'));
    await lab.apply(virtualNetwork('tight', 'small', { subnets: ['10.30.0.0/29'] }), { wait: false });
    const names = Array.from({ length: 7 }, (_, i) => `p${i}`);
    await lab.apply(names.map((n, i) => pod('tight', n, { node: i % 2 ? 'n1' : 'n2' })).join('\n---\n'), {
      wait: false,
    });
    expect(
      await lab.eventually(
        () => condition('tight', 'small'),
        (c) => c.includes('AddressesExhausted'),
      ),
    ).toMatch(/no address is left in 10\.30\.0\.0\/29 for node n[12], which has [34] pod\(s\)/);
    const running = async (): Promise<string[]> =>
      (await lab.kubectl('get', 'pods', '-n', 'tight', '--no-headers'))
        .split('\n')
        .filter((l) => l.includes('1/1'))
        .map((l) => l.split(' ')[0] ?? '');
    // Eight, less the first, second and last.
    expect(await lab.eventually(running, (r) => r.length === 5)).toHaveLength(5);
    const [old = ''] = await running();
    await expect(
      lab
        .apply(virtualNetwork('tight', 'small', { subnets: ['10.20.0.128/25', '10.30.0.0/29', '10.30.0.0/28'] }), {
          wait: false,
        })
        .then(async () => {
          const told = await lab.eventually(
            () => condition('tight', 'small'),
            (c) => c.includes('InvalidSpec') || c.includes('SubnetConflict'),
          );
          throw new Error(told);
        }),
    ).rejects.toThrow(/spec\.subnets\[2\]: 10\.30\.0\.0\/28 overlaps spec\.subnets\[1\]/);
    await lab.apply(virtualNetwork('tight', 'small', { subnets: ['10.30.0.0/29', '10.31.0.0/28'] }), { wait: false });
    await lab.ready();
    const all = await Promise.all(names.map(async (n) => [n, await lab.ip(`tight/${n}`)] as const));
    const grown = all.filter(([, ip]) => inside(ip, ['10.31.0.0/28']));
    expect([grown, grown.length]).toEqual([grown, 2]);
    for (const [name, ip] of all) {
      if (name !== old) expect(await lab.connect(`tight/${old}`, ip, 8080)).toBe(`open:tight/${name}`);
      expect(await lab.connect('s/p1', ip, 8080)).toBe('rejected');
    }
    expect(
      await lab.eventually(
        () => condition('tight', 'small'),
        (c) => c.includes('Realized'),
      ),
    ).toContain('Realized');
  });

  test('a subnet that belongs to somebody else is refused, and both owners are named', async () => {
    await lab.apply(virtualNetworkNamespace('late', 'clash'));
    for (const [subnet, owner] of [
      ['10.20.0.128/25', 'network s/blue'],
      ['10.244.1.0/26', 'the pod range of the cluster'],
      ['10.96.0.0/24', 'the Service range of the cluster'],
      ['192.0.2.0/24', 'node n1'],
    ] as const) {
      await lab.apply(virtualNetwork('late', 'clash', { subnets: [subnet] }), { wait: false });
      expect(
        await lab.eventually(
          () => condition('late', 'clash'),
          (c) => c.includes(owner),
        ),
      ).toMatch(new RegExp(`${subnet} of network late/clash overlaps .*(which belongs to|a route of) ${owner}`));
    }
    await lab.apply(pod('late', 'waits', { node: 'n1' }), { wait: false });
    await lab.apply(virtualNetwork('late', 'clash', { subnets: ['10.40.0.0/24'] }), { wait: false });
    await lab.ready();
    expect(inside(await lab.ip('late/waits'), ['10.40.0.0/24'])).toBe(true);
  });

  test('an address that was released rests; a network without pods gives its blocks back', async () => {
    const before = await lab.ip('late/waits');
    await lab.kubectl('delete', 'pod', '-n', 'late', 'waits');
    await lab.apply(pod('late', 'next', { node: 'n1' }));
    expect(await lab.ip('late/next')).not.toBe(before);
    await lab.kubectl('delete', 'ns', 'late');
    expect(await lab.eventually(blocks, (b) => !b.some((l) => l.includes('10.40.')), 30_000)).not.toContainEqual(
      expect.stringContaining('10.40.'),
    );
    expect((await blocks()).some((b) => b.includes('10.20.'))).toBe(true);
  });

  test('agents and controllers that die lose nothing', async () => {
    const before = await blocks();
    const address = await lab.ip('s/p1');
    await lab.kill('agent-n1');
    await lab.kill('controller');
    startAgent(lab.spec, 'n1');
    startController(lab.spec);
    await lab.apply(pod('s', 'after', { node: 'n1' }));
    expect(await lab.ip('s/p1')).toBe(address);
    expect(inside(await lab.ip('s/after'), SUBNETS)).toBe(true);
    expect(await lab.connect('s/p2', await lab.ip('s/after'), 8080)).toBe('open:s/after');
    expect((await lab.eventually(blocks, (b) => b.length >= before.length)).filter((b) => before.includes(b))).toEqual(
      before,
    );
    expect(await lab.differences()).toEqual([]);
  });

  test("a node's blocks stay while the API knows pods of it, and go when there are none", async () => {
    const mine = async (): Promise<string[]> => (await blocks()).filter((b) => b.startsWith('n2 '));
    expect((await mine()).length).toBeGreaterThan(0);
    const held = await mine();
    await lab.kill('agent-n2');
    await lab.kill('node-n2');
    await lab.kubectl('delete', 'node', 'n2');
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await mine()).toEqual(held);
    for (const ns of ['s', 'tight', 'other', 'plain', 'kube-system'])
      await lab.kubectl(
        'delete',
        'pods',
        '-n',
        ns,
        '--field-selector=spec.nodeName=n2',
        '--grace-period=0',
        '--force',
        '--wait=false',
      );
    expect(await lab.eventually(mine, (b) => b.length === 0)).toEqual([]);
    expect(await lab.connect('s/p1', await lab.ip('s/q1'), 8080)).toBe('open:s/q1');
  });
});

function virtualNetworkNamespace(name: string, network: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, annotations: { 'bulkhead.dev/network': network } },
  });
}
