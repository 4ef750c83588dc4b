import { describe, expect, test } from 'vitest';
import { netPath } from '../../lab/world/plan.ts';
import { exec } from '../../lib/exec/exec.ts';
import { bulkheadConfig, pod, shop, useLab } from '../system/lab.ts';
import { useOutsideEye } from '../system/outside-eye.ts';

// A tenant asks for an egress address that somebody on the link has (V3): the router, the API server, a node, a host that the
// administrator's pool holds by mistake. It stays theirs.

const lab = useLab('atk-egress', { admission: false, nodes: 2 });
const OUTSIDE = { 4: '203.0.113.10', 6: '2001:db8::10' } as const;
const FREE = { 4: '192.0.2.200', 6: '2001:db8:2::c8' } as const;
const ROUTER = { 4: '192.0.2.1', 6: '2001:db8:2::1' } as const;
/** A host on the link that begins and stops to have the address. */
const HOST = { 4: '192.0.2.222', 6: '2001:db8:2::de' } as const;
const families = [4, 6] as const;

const { seenAs } = useOutsideEye(lab);
const patch = (egress: object): Promise<string> =>
  lab.kubectl('patch', 'vn', 'default', '-n', 'out', '--type=merge', '-p', JSON.stringify({ spec: { egress } }));
const told = (what: RegExp): Promise<string> =>
  lab.eventually(
    () => lab.kubectl('get', 'vn', '-n', 'out', 'default', '-o', "jsonpath={.status.conditions[?(@.type=='Ready')]}"),
    (c) => what.test(c),
    40_000,
  );
const has = async (node: string, ip: string): Promise<boolean> =>
  (await lab.onNode(node, 'ip', '-br', 'addr')).includes(`${ip}/`);
const macOf = async (node: string, ip: string): Promise<string> =>
  /lladdr (\S+)/.exec(await lab.onNode(node, 'ip', 'neigh', 'show', ip))?.[1] ?? '';
const onFabric = (...argv: string[]) => exec(['nsenter', `--net=${netPath(lab.name, 'fabric')}`, ...argv]);
const pool = (...prefixes: string[]): Promise<void> =>
  lab.apply(bulkheadConfig({ egress: { addressPools: [{ prefixes }] } }), { wait: false });
const becomes = (name: string, family: 4 | 6, wanted: string): Promise<string> =>
  lab.eventually(
    () => seenAs(name, family),
    (a) => a === wanted,
    30_000,
  );

describe('egress addresses that are somebody else’s', () => {
  test('without a pool there are none; the network goes on, and nothing leaves', async () => {
    await lab.apply([shop('out'), shop('flat', { isolated: false })].join('\n---\n'));
    await patch({ mode: 'NAT' });
    expect(await becomes('out/p1', 4, '192.0.2.11')).toBe('192.0.2.11');
    await patch({ addresses: [ROUTER[4]] });
    expect(await told(/EgressAddressNotAllowed/)).toContain('192.0.2.1');
    for (const family of families) expect(await becomes('out/p1', family, 'none')).toBe('none');
    expect(await lab.connect('out/p1', await lab.ip('out/p2'), 8080)).toBe('open:out/p2');
    expect(await has('n1', ROUTER[4])).toBe(false);
    // The twin: an address that an administrator gives.
    await pool(`${FREE[4]}/32`, `${FREE[6]}/128`);
    await patch({ addresses: [FREE[4], FREE[6]] });
    for (const family of families)
      for (const name of ['out/p1', 'out/p2']) expect(await becomes(name, family, FREE[family])).toBe(FREE[family]);
    expect(await told(/Realized/)).toContain('Realized');
  });

  test('the router, from a pool that holds it: it answers, so it is not taken', async () => {
    await lab.onNode('n2', 'ping', '-c', '1', '-W', '2', ROUTER[4]);
    const before = await macOf('n2', ROUTER[4]);
    expect(before).not.toBe('');
    await pool('192.0.2.0/24', '2001:db8:2::/64');
    for (const family of families) {
      await patch({ addresses: [ROUTER[family]] });
      expect(await becomes('out/p1', family, 'none')).toBe('none');
      expect(await told(/NodeFault/)).toMatch(new RegExp(`egress address ${ROUTER[family]} is in use by`));
      for (const node of ['n1', 'n2']) expect(await has(node, ROUTER[family])).toBe(false);
      expect(await lab.connect('flat/p2', OUTSIDE[family], 80)).toBe('open:/outside');
    }
    expect(await macOf('n2', ROUTER[4])).toBe(before);
  });

  test('a node’s own address, known to the API or not', async () => {
    await patch({ addresses: ['192.0.2.12'] });
    expect(await told(/EgressAddressConflict/)).toContain('node n2');
    for (const node of ['n1', 'n2']) await lab.onNode(node, 'ip', 'addr', 'add', '192.0.2.117/24', 'dev', 'eth0');
    await patch({ addresses: ['192.0.2.117'] });
    expect(await told(/192\.0\.2\.117/)).toMatch(/EgressAddressConflict|NodeFault/);
    expect(await becomes('out/p1', 4, 'none')).toBe('none');
    await new Promise((resolve) => setTimeout(resolve, 8_000)); // longer than an address that is lent would live
    for (const node of ['n1', 'n2']) expect(await has(node, '192.0.2.117')).toBe(true);
    for (const node of ['n1', 'n2']) await lab.onNode(node, 'ip', 'addr', 'del', '192.0.2.117/24', 'dev', 'eth0');
  });

  test('a host that has it keeps it; when it lets go, the network gets it by itself', async () => {
    await onFabric('ip', 'addr', 'add', `${HOST[4]}/24`, 'dev', 'br0').catch(() => undefined);
    await onFabric('ip', 'addr', 'add', `${HOST[6]}/64`, 'dev', 'br0', 'nodad').catch(() => undefined);
    await patch({ addresses: [HOST[4], HOST[6]] });
    expect(await told(/192\.0\.2\.222 is in use/)).toMatch(/192\.0\.2\.222 is in use by [0-9a-f:]{17} on eth0/);
    for (const family of families) expect(await seenAs('out/p1', family)).toBe('none');
    await onFabric('ip', 'addr', 'del', `${HOST[4]}/24`, 'dev', 'br0');
    await onFabric('ip', 'addr', 'del', `${HOST[6]}/64`, 'dev', 'br0');
    for (const family of families)
      for (const name of ['out/p1', 'out/p2']) expect(await becomes(name, family, HOST[family])).toBe(HOST[family]);
    expect(await told(/Realized/)).toContain('Realized');
  });

  test('from one of our nodes to another: nobody takes the old holder for a stranger', async () => {
    const holder = async (): Promise<string> =>
      (await lab.kubectl('get', 'vn', '-n', 'out', 'default', '-o', 'jsonpath={.status.egressNode}')).trim();
    const other = (await holder()) === 'n1' ? 'n2' : 'n1';
    await lab.kubectl('label', 'node', other, 'egress=yes');
    await patch({ nodeSelector: { matchLabels: { egress: 'yes' } } });
    expect(await lab.eventually(holder, (h) => h === other)).toBe(other);
    for (const family of families)
      for (const name of ['out/p1', 'out/p2']) expect(await becomes(name, family, HOST[family])).toBe(HOST[family]);
    await lab.apply(pod('out', 'late', { node: 'n1' }));
    expect(await becomes('out/late', 4, HOST[4])).toBe(HOST[4]);
  });
});
