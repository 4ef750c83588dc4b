import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, covers, mustPrefix, overlaps, sizeOf } from '../../lib/ip/prefix.ts';
import { exampleNetwork, examplePod, exampleState } from '../cluster/example.ts';
import { viewOf } from '../view/view.ts';
import { NodeIpam } from './node-ipam.ts';
import { replay, snapshotOf } from './replay.ts';
import { addressProblem, exceptIn, nextBlock, usableIn } from './subnet-blocks.ts';

const fill = (spec: Parameters<typeof nextBlock>[0], family: 4 | 6, nodes: number, most = 5_000): string[] => {
  const blocks: string[] = [];
  while (blocks.length < most) {
    const next = nextBlock(spec, { family, taken: blocks.map(mustPrefix), nodes });
    if (next === undefined) break;
    blocks.push(next);
  }
  return blocks;
};

describe('blocks of a subnet', () => {
  test.each([
    [3, '10.20.0.0/20', 26],
    [300, '10.20.0.0/20', 30],
    [3, '10.20.0.0/24', 27],
    [50, '10.20.0.0/29', 32],
  ])('%i nodes in %s begin with a /%i, and each gets one', (nodes, subnet, length) => {
    const [first = ''] = fill({ subnets: [subnet] }, 4, nodes, 1);
    expect(mustPrefix(first).length).toBe(length);
    const room = Number(sizeOf(mustPrefix(subnet)) >> BigInt(32 - length));
    expect(fill({ subnets: [subnet] }, 4, nodes, nodes).length).toBe(Math.min(nodes, length === 32 ? room - 3 : nodes));
  });

  const part = fc.integer({ min: 0, max: 63 }).map((n) => `10.20.${n >> 4}.${(n & 15) << 4}/28`);
  const spec = fc.record({
    subnets: fc.constant<string[]>(['10.20.0.0/22', 'fd00:20::/112']),
    staticPrefixes: fc.array(part, { maxLength: 3 }),
    reservedPrefixes: fc.array(part, { maxLength: 3 }),
  });

  test('they never overlap, hold nothing that is set aside, and together every other address', () => {
    fc.assert(
      fc.property(spec, fc.constantFrom(1, 3, 40, 300), (s, nodes) => {
        const blocks = fill(s, 4, nodes);
        const prefixes = blocks.map(mustPrefix);
        const kept = [...s.staticPrefixes, ...s.reservedPrefixes].map(mustPrefix);
        for (const [i, p] of prefixes.entries()) {
          expect(prefixes.slice(i + 1).some((q) => overlaps(p, q))).toBe(false);
          expect(kept.some((k) => overlaps(k, p))).toBe(false);
        }
        const distinct = new Set(kept.flatMap((k) => [...Array(16).keys()].map((n) => k.first + BigInt(n))));
        for (const special of ['10.20.0.0', '10.20.0.1', '10.20.3.255']) distinct.add(mustIp(special).value);
        expect(blocks.reduce((n, b) => n + usableIn(s, b), 0)).toBe(1024 - distinct.size);
      }),
      { numRuns: 40 },
    );
  }, 120_000);

  test('a node gives every address of an assigned block once, none that is set aside, and those only to who asks', () => {
    fc.assert(
      fc.property(spec, (s) => {
        const it = new NodeIpam({ podCIDRs: ['10.244.1.0/24'], restMs: 1_000 });
        const blocks = fill(s, 4, 3, 4);
        for (const b of blocks) it.give(b, 'a/x', exceptIn(s, b));
        const total = blocks.reduce((n, b) => n + usableIn(s, b), 0);
        const given = new Set<string>();
        for (let i = 0; i < total; i++)
          for (const ip of it.allocate('a/x', `c${i}`, 0, { given: [4] }).ips) given.add(ip);
        expect(given.size).toBe(total);
        for (const ip of given) expect(addressProblem(s, ip)).toBeUndefined();
        expect(() => it.allocate('a/x', 'more', 0, { given: [4] })).toThrow(/no free address of network a\/x/);
        expect(it.blocks(0).every((b) => b.free === 0 && b.given)).toBe(true);
        const again = new NodeIpam({ podCIDRs: ['10.244.1.0/24'], restMs: 1_000 });
        for (const e of snapshotOf(it.held)) replay(again.held, e);
        expect(snapshotOf(again.held)).toEqual(snapshotOf(it.held));
      }),
      { numRuns: 20 },
    );
  });

  test('what a pod asks for it gets, from a block of this node only, and back at once', () => {
    const it = new NodeIpam({ podCIDRs: ['10.244.1.0/24', 'fd00:1::/64'], restMs: 1_000 });
    it.give('10.20.0.9/32', 'a/x', ['10.20.0.9/32']);
    it.give('10.20.0.16/28', 'a/x', []);
    const asks = { given: [4] as const, ips: ['10.20.0.9'] };
    expect(it.allocate('a/x', 'one', 0, asks).ips[0]).toBe('10.20.0.9');
    expect(() => it.allocate('a/x', 'two', 0, asks)).toThrow(/belongs to one/);
    expect(() => it.allocate('b/y', 'two', 0, asks)).toThrow(/not been given to this node/);
    expect(it.blocks(0).find((b) => b.given && b.used === 0)?.free).toBe(16);
    it.release('10.20.0.9', 1);
    expect(it.allocate('a/x', 'two', 1, asks).ips[0]).toBe('10.20.0.9');
    it.release('10.20.0.9', 2);
    const kept = { networks: new Set(['a/x']) };
    expect(it.reclaim(2, { ...kept, asked: [{ network: 'a/x', ip: '10.20.0.9' }] })).toEqual([]);
    // Who asks for it on another network, which has the subnet by now, does not hold it back.
    expect(it.reclaim(2, { ...kept, asked: [{ network: 'b/y', ip: '10.20.0.9' }] })).toEqual([
      { op: 'unblock', cidr: '10.20.0.9/32', network: 'a/x', given: true },
    ]);
    expect(it.takeBack('10.20.0.16/28')).toHaveLength(1);
  });
});

describe('who may have an address', () => {
  const pod = (name: string, ip: string, created: number) => ({
    ...examplePod('a', name, 1, 200, { 'bulkhead.dev/network': 'blue', 'bulkhead.dev/ips': ip }),
    ips: [],
    created,
  });
  const state = (...pods: ReturnType<typeof pod>[]) =>
    exampleState({
      networks: new Map([
        ['a/blue', exampleNetwork('a', 'blue', 9, { subnets: ['10.20.0.0/24'], reservedPrefixes: ['10.20.0.16/28'] })],
      ]),
      pods: new Map(pods.map((p) => [`a/${p.name}`, p])),
    });

  test('the first who asks; the others wait and are told who has it', () => {
    const { podAssignment } = viewOf(state(pod('late', '10.20.0.9', 2), pod('early', '10.20.0.9', 1)));
    expect(podAssignment.get('a/early')).toEqual({ network: 'a/blue' });
    expect(JSON.stringify(podAssignment.get('a/late'))).toContain('taken by pod a/early');
  });

  test.each([
    ['10.20.0.17', /reservedPrefixes/],
    ['10.20.0.1', /first, second or last/],
    ['10.20.0.255', /first, second or last/],
    ['10.21.0.1', /none of its subnets/],
    ['nonsense', /is no IP address/],
    ['10.20.0.9, 10.20.0.10', /second IPv4 address/],
  ])('%s: no', (ip, why) => {
    expect(JSON.stringify(viewOf(state(pod('p', ip, 1))).podAssignment.get('a/p'))).toMatch(why);
  });

  test('an address in a block of another node is refused, with the remedy', () => {
    const blocks = new Map([
      ['10.20.0.0/27', { cidr: '10.20.0.0/27', node: 'n2', network: 'a/blue', given: true as const }],
    ]);
    const view = viewOf({ ...state(pod('p', '10.20.0.9', 1)), blocks });
    expect(JSON.stringify(view.podAssignment.get('a/p'))).toContain('set such addresses aside in spec.staticPrefixes');
    expect(
      contains(mustPrefix('10.20.0.0/27'), mustIp('10.20.0.9')) &&
        covers(mustPrefix('10.20.0.0/24'), mustPrefix('10.20.0.0/27')),
    ).toBe(true);
  });
});
