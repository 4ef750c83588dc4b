import { describe, expect, test } from 'vitest';
import { bulkheadConfig, pod, shop, useLab, virtualNetwork } from '../system/lab.ts';

// A tenant asks for addresses that are not his to have (V2): nobody but his own pods must notice.

const lab = useLab('atk-subnets', { admission: false, nodes: 3 });
const OUTSIDE = { 4: '203.0.113.10', 6: '2001:db8::10' } as const;
const families = [4, 6] as const;
const NODES = ['n1', 'n2', 'n3'] as const;
const ready = (ns: string, name: string): Promise<string> =>
  lab.kubectl('get', 'vn', '-n', ns, name, '-o', "jsonpath={.status.conditions[?(@.type=='Ready')]}");
const becomes = (ns: string, name: string, what: RegExp): Promise<string> =>
  lab.eventually(
    () => ready(ns, name),
    (c) => what.test(c),
    30_000,
  );
const routeTo = async (node: string, ip: string): Promise<string> =>
  /dev (\S+)/.exec(await lab.onNode(node, 'ip', 'route', 'get', ip).catch(() => ''))?.[1] ?? 'none';
const namespace = (name: string, network: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, annotations: { 'bulkhead.dev/network': network } },
  });
const asks = (ips: string) => ({ annotations: { 'bulkhead.dev/ips': ips } });

/** Everybody who reaches the outside does, and it is the outside that answers. */
async function outsideAnswers(): Promise<void> {
  for (const family of families)
    for (const from of [...NODES.map((net) => ({ net })), 'flat/p1', 'flat/p2', 'nat/p1', 'nat/p2'])
      expect([from, await lab.connect(from, OUTSIDE[family], 80)]).toEqual([from, 'open:/outside']);
}

describe('subnets that a tenant must not have', () => {
  test('the Internet in large pieces, with no pod at all: refused, and flat pods and others’ egress go on', async () => {
    await lab.apply([shop('flat', { isolated: false }), shop('nat')].join('\n---\n'));
    await lab.kubectl(
      'patch',
      'vn',
      'default',
      '-n',
      'nat',
      '--type=merge',
      '-p',
      '{"spec":{"egress":{"mode":"NAT"}}}',
    );
    await lab.eventually(
      () => lab.connect('nat/p1', OUTSIDE[6], 80),
      (o) => o === 'open:/outside',
    );
    await outsideAnswers();
    await lab.apply(namespace('evil', 'wide'), { wait: false });
    await lab.apply(virtualNetwork('evil', 'wide', { subnets: ['200.0.0.0/5', '64.0.0.0/3', '2001:db8::/64'] }), {
      wait: false,
    });
    expect(await becomes('evil', 'wide', /SubnetNotAllowed/)).toMatch(
      /200\.0\.0\.0\/5 .*64\.0\.0\.0\/3 .*2001:db8::\/64/,
    );
    await outsideAnswers();
    // The twin: private ranges are a tenant's to have.
    await lab.apply(virtualNetwork('evil', 'wide', { subnets: ['10.77.0.0/24', 'fd00:77::/64'] }), { wait: false });
    await lab.apply([pod('evil', 'a', { node: 'n1' }), pod('evil', 'b', { node: 'n2' })].join('\n---\n'));
    expect(await becomes('evil', 'wide', /Realized/)).toContain('Realized');
    for (const family of families)
      expect(await lab.connect('evil/a', await lab.ip('evil/b', family), 8080)).toBe('open:evil/b');
    await outsideAnswers();
  });

  test('the address of a host outside: only where an administrator gives it away, and taken back when he does no more', async () => {
    await lab.apply(namespace('thief', 'grab'), { wait: false });
    const grab = virtualNetwork('thief', 'grab', { subnets: ['203.0.113.0/24', '2001:db8::/64'] });
    await lab.apply(grab, { wait: false });
    await lab.apply(pod('thief', 'hijack', { node: 'n1', ...asks('203.0.113.10, 2001:db8::10') }), { wait: false });
    await lab.apply(pod('thief', 'mate', { node: 'n1' }), { wait: false });
    await lab.apply(pod('thief', 'far', { node: 'n2' }), { wait: false });
    expect(await becomes('thief', 'grab', /SubnetNotAllowed/)).toContain('SubnetNotAllowed');
    await outsideAnswers();
    for (const node of NODES) expect(await routeTo(node, OUTSIDE[4])).toBe('eth0');
    // As it was before there were ceilings: such a network is in use.
    await lab.apply(bulkheadConfig({ subnets: { pools: [{ prefixes: ['203.0.113.0/24', '2001:db8::/64'] }] } }));
    expect(await lab.connect({ net: 'n1' }, OUTSIDE[4], 80)).not.toBe('open:/outside');
    await lab.kubectl('delete', 'bulkheadconfig', 'default');
    expect(await becomes('thief', 'grab', /SubnetNotAllowed/)).toContain('SubnetNotAllowed');
    for (const node of NODES)
      expect(
        await lab.eventually(
          () => routeTo(node, OUTSIDE[4]),
          (dev) => dev === 'eth0',
        ),
      ).toBe('eth0');
    await outsideAnswers();
    // Its pods reach each other, and nothing else; nothing reaches them.
    for (const family of families) {
      expect(await lab.connect('thief/mate', await lab.ip('thief/hijack', family), 8080)).toBe('open:thief/hijack');
      expect(await lab.connect('thief/far', await lab.ip('thief/hijack', family), 8080)).toBe('open:thief/hijack');
      expect(await lab.connect('thief/mate', await lab.ip('flat/p1', family), 8080)).toBe('rejected');
    }
    expect(await lab.connect('thief/mate', '10.96.0.10', 53)).toBe('rejected');
    expect(await lab.connect('evil/a', await lab.ip('evil/b'), 8080)).toBe('open:evil/b');
    await lab.kubectl('delete', 'ns', 'thief', '--wait=false');
  });

  test('the API server, where the administrator’s pool holds it: the nodes keep it', async () => {
    await lab.apply(
      bulkheadConfig({ subnets: { pools: [{ prefixes: ['192.0.2.0/24', '10.0.0.0/8', 'fd00::/16'] }] } }),
      { wait: false },
    );
    await lab.apply(namespace('coup', 'api'), { wait: false });
    await lab.apply(virtualNetwork('coup', 'api', { subnets: ['192.0.2.0/29'] }), { wait: false });
    await lab.apply(pod('coup', 'api', { node: 'n1', ...asks('192.0.2.2') }), { wait: false });
    expect(await becomes('coup', 'api', /SubnetConflict/)).toMatch(/the Kubernetes API server|a route of node n1/);
    for (const node of NODES) expect(await routeTo(node, '192.0.2.2')).toBe('eth0');
    // The nodes hear of everything: a pod of anybody else starts on each.
    await lab.kubectl('delete', 'ns', 'coup', '--wait=false');
    await lab.kubectl('delete', 'bulkheadconfig', 'default');
    await lab.apply(NODES.map((node) => pod('flat', `new-${node}`, { node })).join('\n---\n'));
  });

  test('a node that gets an address or a route in a network: it keeps it, the others go on, and it heals by itself', async () => {
    const [a, b] = [await lab.ip('evil/a'), await lab.ip('evil/b')];
    expect(await routeTo('n3', a)).toBe('bh0');
    for (const [add, remove, what] of [
      [
        ['route', 'add', '10.77.0.0/24', 'via', '192.0.2.1'],
        ['route', 'del', '10.77.0.0/24', 'via', '192.0.2.1'],
        /10\.77\.0\.0\/24/,
      ],
      [
        ['address', 'add', '10.77.0.200/25', 'dev', 'eth0'],
        ['address', 'del', '10.77.0.200/25', 'dev', 'eth0'],
        /10\.77\.0\.(200|128\/25)/,
      ],
    ] as const) {
      await lab.onNode('n2', 'ip', ...add);
      // Which says so first, the agent or the controller, is all one.
      expect(await becomes('evil', 'wide', /"status":"False"/)).toMatch(what);
      const taken = async (): Promise<string> => await routeTo('n2', b);
      expect(await lab.eventually(taken, (dev) => !dev.startsWith('bhu'))).not.toMatch(/^bhu/);
      // On that node its pods reach each other, and nothing else.
      expect(
        await lab.eventually(
          () => lab.connect('evil/b', '10.96.0.10', 53),
          (o) => o === 'rejected',
        ),
      ).toBe('rejected');
      for (const family of families) {
        expect(await lab.connect('evil/a', await lab.ip('evil/b', family), 8080)).toBe('open:evil/b');
        expect(await lab.connect('evil/b', await lab.ip('evil/a', family), 8080)).toBe('open:evil/a');
      }
      // One node's word takes nothing from the network elsewhere.
      expect(await lab.connect('evil/a', '10.96.0.10', 53)).toBe('open');
      expect(await lab.connect({ net: 'n1' }, a, 8080)).toBe('open:evil/a');
      await lab.onNode('n2', 'ip', ...remove);
      expect(await becomes('evil', 'wide', /Realized/)).toContain('Realized');
      expect(await lab.eventually(taken, (dev) => dev.startsWith('bhu'))).toMatch(/^bhu/);
      expect(
        await lab.eventually(
          () => lab.connect('evil/b', '10.96.0.10', 53),
          (o) => o === 'open',
        ),
      ).toBe('open');
    }
    // Two nodes have a route there: it is theirs, everywhere.
    for (const node of ['n2', 'n3']) await lab.onNode(node, 'ip', 'route', 'add', '10.77.0.0/24', 'via', '192.0.2.1');
    expect(
      await lab.eventually(
        () => routeTo('n1', b),
        (dev) => dev === 'eth0',
      ),
    ).toBe('eth0');
    expect(await lab.connect('evil/a', b, 8080)).toBe('open:evil/b');
    for (const node of ['n2', 'n3']) await lab.onNode(node, 'ip', 'route', 'del', '10.77.0.0/24', 'via', '192.0.2.1');
    expect(
      await lab.eventually(
        () => lab.connect({ net: 'n1' }, a, 8080),
        (o) => o === 'open:evil/a',
      ),
    ).toBe('open:evil/a');
    // What begins on a node's range is refused from the start.
    await lab.onNode('n3', 'ip', 'route', 'add', '10.78.0.0/24', 'via', '192.0.2.1');
    await lab.apply(namespace('late', 'late'), { wait: false });
    await lab.eventually(
      async () => {
        await lab.apply(virtualNetwork('late', 'late', { subnets: ['10.78.0.0/16'] }), { wait: false }).catch(() => '');
        return await ready('late', 'late').catch(() => '');
      },
      (c) => c.includes('SubnetConflict'),
    );
    expect(await ready('late', 'late')).toMatch(/10\.78\.0\.0\/24, a route of node n3/);
    await lab.onNode('n3', 'ip', 'route', 'del', '10.78.0.0/24', 'via', '192.0.2.1');
    expect(await becomes('late', 'late', /Realized/)).toContain('Realized');
  });

  test('a resolver of the nodes and a metadata service, which only a default route leads to: refused, and the nodes keep them', async () => {
    const RESOLVER = { 4: '10.79.0.53', 6: 'fd00:79::53' } as const;
    // Where the node's programs and its agent read who resolves names.
    for (const node of NODES)
      await lab.onNode(
        node,
        'sh',
        '-c',
        `f=$(mktemp); printf 'nameserver ${RESOLVER[4]}\\nnameserver ${RESOLVER[6]}\\n' > $f; mount --bind $f /etc/resolv.conf`,
      );
    await lab.apply(namespace('dns', 'grab'), { wait: false });
    await lab.eventually(
      async () => {
        const grab = virtualNetwork('dns', 'grab', { subnets: ['10.79.0.0/24', 'fd00:79::/64'] });
        await lab.apply(grab, { wait: false }).catch(() => '');
        return await ready('dns', 'grab').catch(() => '');
      },
      (c) => c.includes('SubnetConflict'),
    );
    const pods = [
      pod('dns', 'resolver', { node: 'n1', ...asks(Object.values(RESOLVER).join(', ')) }),
      pod('dns', 'mate', { node: 'n2' }),
    ];
    await lab.apply(pods.join('\n---\n'), { wait: false });
    expect(await ready('dns', 'grab')).toMatch(/10\.79\.0\.53\/32/);
    for (const node of NODES)
      for (const f of families) expect([node, f, await routeTo(node, RESOLVER[f])]).toEqual([node, f, 'eth0']);
    // Without admission it is stored, and broken.
    await lab.apply(virtualNetwork('dns', 'cloud', { subnets: ['100.100.0.0/16', 'fd00:ec2::/64'] }), { wait: false });
    expect(await becomes('dns', 'cloud', /where a cloud serves its nodes/)).toMatch(/100\.100\.100\.200/);
    // When they resolve names elsewhere, the range is the tenant's to have.
    for (const node of NODES) await lab.onNode(node, 'umount', '/etc/resolv.conf');
    expect(await becomes('dns', 'grab', /Realized/)).toContain('Realized');
    await lab.ready();
    for (const f of families) expect(await lab.connect('dns/mate', RESOLVER[f], 8080)).toBe('open:dns/resolver');
    await lab.kubectl('delete', 'ns', 'dns', '--wait=false');
  });

  test('at the end everybody reaches whom they should', async () => {
    await lab.kubectl('delete', 'ns', 'late', '--wait=false');
    expect(await lab.differences()).toEqual([]);
  });
});
