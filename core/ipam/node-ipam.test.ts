import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contains, mustPrefix, nth, lastOf } from '../../lib/ip/prefix.ts';
import { formatIp, mustIp } from '../../lib/ip/address.ts';
import type { IpamEvent } from './ipam-event.ts';
import { IpamError, NodeIpam } from './node-ipam.ts';
import { replay, snapshotOf, undo } from './replay.ts';

const REST = 100;
const cidrs = ['10.244.1.0/26', 'fd00:10:244:1::/64'];
const ipam = (podCIDRs = cidrs): NodeIpam => new NodeIpam({ podCIDRs, restMs: REST });

/** What a journal would hold, replayed on an empty instance. */
function replayed(events: readonly IpamEvent[], podCIDRs = cidrs): NodeIpam {
  const again = ipam(podCIDRs);
  for (const e of events) replay(again.held, e);
  return again;
}

describe('NodeIpam', () => {
  const network = fc.constantFrom('a/x', 'b/x', 'c/x');
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('add' as const), network }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('delete' as const), which: fc.nat(1000) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('compact' as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('reclaim' as const), wanted: fc.subarray(['a/x', 'b/x', 'c/x']) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(150) }) },
  );
  const moves = fc.oneof(
    { weight: 6, arbitrary: step },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('renumber' as const), to: fc.nat(2) }) },
  );
  /** Some overlap: the node's own addresses of one lie in blocks of another. */
  const RENUMBERED = [cidrs, ['10.244.9.0/26', 'fd00:10:244:9::/64'], ['10.244.1.32/27', 'fd00:10:244:1::/120']];

  test('a node that gets other pod CIDRs: what is given is of the present ones, what was given stays with its owner, and nothing stays behind', () => {
    fc.assert(
      fc.property(fc.array(moves, { maxLength: 100 }), (steps) => {
        let now = 1_000;
        let mine = cidrs;
        let it = ipam();
        let journal: IpamEvent[] = [];
        let owner = 0;
        const live = new Map<string, string[]>();
        const isMine = (ip: string): boolean =>
          mine.map(mustPrefix).some((c) => contains(c, mustIp(ip)) && mustIp(ip).value >= c.first + 4n);
        for (const s of steps) {
          if (s.do === 'renumber') {
            mine = RENUMBERED[s.to] ?? cidrs;
            it.held.setPodCIDRs(mine);
          } else if (s.do === 'add') {
            const id = `c${owner++}`;
            try {
              const { ips, events } = it.allocate(s.network, id, now);
              journal.push(...events);
              for (const ip of ips) {
                expect([...live.values()].flat()).not.toContain(ip);
                expect(isMine(ip)).toBe(true);
              }
              live.set(id, ips);
            } catch (error) {
              expect(error).toBeInstanceOf(IpamError);
            }
          } else if (s.do === 'delete') {
            const id = [...live.keys()][s.which % Math.max(1, live.size)];
            if (id === undefined) continue;
            for (const ip of live.get(id) ?? []) journal.push(...it.release(ip, now));
            live.delete(id);
          } else if (s.do === 'reclaim') journal.push(...it.reclaim(now, { networks: new Set(s.wanted) }));
          else if (s.do === 'wait') now += s.ms;
          else {
            if (s.do === 'compact') journal = snapshotOf(it.held);
            it = replayed(journal, mine);
          }
          for (const [id, ips] of live) for (const ip of ips) expect(it.ownerOf(ip)).toBe(id);
          const blocks = it.blocks(now).map((b) => mustPrefix(b.cidr));
          for (const ip of [...live.values()].flat()) {
            const told = blocks.some((b) => contains(b, mustIp(ip)));
            expect(told).toBe(!it.outside().some((o) => o.ip === ip));
            if (!isMine(ip)) expect(told).toBe(false);
          }
        }
        for (const ips of live.values()) for (const ip of ips) it.release(ip, now);
        it.reclaim(now + REST, { networks: new Set() });
        expect(snapshotOf(it.held)).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  test('no address twice, none lost, none early, in any order of add, delete, restart and reclaim', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        let now = 1_000;
        let it = ipam();
        let journal: IpamEvent[] = [];
        let owner = 0;
        const live = new Map<string, { network: string; ips: string[] }>();
        const releasedAt = new Map<string, number>();
        for (const s of steps) {
          switch (s.do) {
            case 'add': {
              const id = `c${owner++}`;
              try {
                const { ips, events } = it.allocate(s.network, id, now);
                journal.push(...events);
                expect(ips).toHaveLength(2);
                for (const ip of ips) {
                  expect([...live.values()].flatMap((l) => l.ips)).not.toContain(ip);
                  expect(now - (releasedAt.get(ip) ?? -REST)).toBeGreaterThanOrEqual(REST);
                  expect(cidrs.map(mustPrefix).some((c) => contains(c, mustIp(ip)))).toBe(true);
                }
                live.set(id, { network: s.network, ips });
              } catch (error) {
                expect(error).toBeInstanceOf(IpamError);
              }
              break;
            }
            case 'delete': {
              const id = [...live.keys()][s.which % Math.max(1, live.size)];
              if (id === undefined) break;
              for (const ip of live.get(id)?.ips ?? []) {
                journal.push(...it.release(ip, now));
                releasedAt.set(ip, now);
              }
              live.delete(id);
              break;
            }
            case 'restart':
              it = replayed(journal);
              break;
            case 'compact':
              journal = snapshotOf(it.held);
              it = replayed(journal);
              break;
            case 'reclaim':
              journal.push(...it.reclaim(now, { networks: new Set(s.wanted) }));
              break;
            case 'wait':
              now += s.ms;
              break;
          }
          for (const [id, { ips }] of live) for (const ip of ips) expect(it.ownerOf(ip)).toBe(id);
          const blocks = it.blocks(now);
          expect(blocks.reduce((n, b) => n + b.used, 0)).toBe([...live.values()].length * 2);
          for (const { network: n, ips } of live.values())
            for (const ip of ips)
              expect(blocks.some((b) => b.network === n && contains(mustPrefix(b.cidr), mustIp(ip)))).toBe(true);
        }
        // When all have gone and rested, nothing is held.
        for (const { ips } of live.values()) for (const ip of ips) it.release(ip, now);
        it.reclaim(now + REST, { networks: new Set() });
        expect(it.blocks(now + REST)).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  test("never gives the node's own addresses, and uses every other", () => {
    const it = ipam(['10.244.1.0/27']);
    const given = new Set<string>();
    expect(() => {
      for (;;) given.add(it.allocate('a/x', `c${given.size}`, 0).ips[0] ?? '');
    }).toThrow(IpamError);
    const cidr = mustPrefix('10.244.1.0/27');
    const own = [0, 1, 2, 3].map((i) => nth(cidr, i));
    const reserved = [...own, { family: 4 as const, value: lastOf(cidr) }].map(formatIp);
    expect(given.size).toBe(27);
    for (const r of reserved) expect(given).not.toContain(r);
    // An instance answers for its blocks: one that held the probe source would never send it a reply.
    for (const { cidr: block } of it.blocks(0))
      for (const ip of own) expect(contains(mustPrefix(block), ip)).toBe(false);
  });

  test('many small networks fit: blocks shrink as room gets short', () => {
    const it = ipam(['10.244.1.0/24']);
    for (let i = 0; i < 110; i++) it.allocate(`n${i}/x`, `c${i}`, 0);
    expect(new Set(it.blocks(0).map((b) => b.network)).size).toBe(110);
  });

  test('an exhausted family gives back what the other family took', () => {
    const it = ipam(['10.244.1.0/30', 'fd00::/64']);
    const before = snapshotOf(it.held);
    expect(() => it.allocate('a/x', 'c1', 0)).toThrow(expect.objectContaining({ code: 'Exhausted' }));
    expect(snapshotOf(it.held)).toEqual(before);
    expect(() => new NodeIpam({ podCIDRs: [], restMs: 0 }).allocate('a/x', 'c1', 0)).toThrow(
      expect.objectContaining({ code: 'NoPodCIDR' }),
    );
  });

  test('what could not be written down is taken back whole, blocks included', () => {
    const it = ipam();
    it.allocate('a/x', 'c0', 0);
    const before = snapshotOf(it.held);
    undo(it.held, it.allocate('b/x', 'c1', 0).events);
    undo(it.held, it.prepare('c/x', 0));
    expect(snapshotOf(it.held)).toEqual(before);
  });

  test('a clock that jumps back does not make addresses rest for ever', () => {
    const it = ipam(['10.244.1.0/29']);
    const { ips } = it.allocate('a/x', 'c1', 1_000_000);
    it.release(ips[0] ?? '', 1_000_000);
    const all = Array.from({ length: 3 }, (_, i) => it.allocate('a/x', `d${i}`, 500).ips[0]);
    expect(all).toContain(ips[0]);
  });

  test('a journal that contradicts itself is refused', () => {
    const it = replayed([
      { op: 'block', cidr: '10.244.1.16/28', network: 'a/x' },
      { op: 'take', ip: '10.244.1.17', owner: 'c1' },
    ]);
    expect(() => replay(it.held, { op: 'take', ip: '10.244.1.17', owner: 'c2' })).toThrow(/two owners/);
    expect(() => replay(it.held, { op: 'block', cidr: '10.244.1.16/29', network: 'b/x' })).toThrow(/overlaps/);
    expect(() => replay(it.held, { op: 'take', ip: '10.244.1.40', owner: 'c2' })).toThrow(/no block/);
  });
});
