import { describe, expect, test } from 'vitest';
import { keyOf } from '../../lib/nft/program.ts';
import { ConnectionShares, type TrackedTable } from './connection-shares.ts';

/** A table whose entries are a map, and a clock that is moved by hand. */
class World {
  readonly shares = new ConnectionShares(() => this.now);
  now = 0;
  dumps = 0;
  refused: string[] = [];
  forgotten: [string, number][] = [];
  sources = new Map<string, number>();
  fails = false;

  table(network = 'default-network'): TrackedTable {
    return {
      network,
      limits: { source: 100, owner: 200, all: 600 },
      ownerOf: (source) => (source === '192.0.2.11' ? undefined : source),
      refuse: (elements) => {
        this.refused = elements.map(keyOf);
      },
      conntrack: {
        flows: () => [],
        remove: () => undefined,
        count: () => {
          if (this.fails) throw new Error('no file left');
          return [...this.sources.values()].reduce((a, n) => a + n, 0);
        },
        sources: async () => {
          this.dumps++;
          return await Promise.resolve(this.sources);
        },
        forget: async (excess) => {
          this.forgotten.push(...excess);
          return await Promise.resolve(0);
        },
      },
    };
  }
  async look(...tables: TrackedTable[]): Promise<void> {
    this.now += 1_000;
    await this.shares.look(tables.length > 0 ? tables : [this.table()]);
  }
}

describe('shares of connection tracking', () => {
  test('below the share of one source nothing is read but a number', async () => {
    const world = new World();
    world.sources.set('10.0.0.1', 100);
    await world.look();
    expect(world.dumps).toBe(0);
    expect(world.shares.status()).toEqual([{ network: 'default-network', entries: 100, refused: 0 }]);
  });

  test('who has too much is refused until it has less', async () => {
    const world = new World();
    world.sources = new Map([
      ['10.0.0.1', 150],
      ['fd00::1', 20],
      ['192.0.2.11', 300],
    ]);
    await world.look();
    expect(world.refused).toEqual(['element over4 10.0.0.1']);
    expect(world.forgotten).toEqual([]);
    world.sources.set('10.0.0.1', 90);
    await world.look();
    expect(world.refused).toEqual([]);
    world.sources.set('fd00::1', 130);
    await world.look();
    expect(world.refused).toEqual(['element over6 fd00::1']);
    world.sources = new Map([['fd00::1', 30]]);
    await world.look();
    expect(world.refused).toEqual([]);
  });

  test('a busy table that stays as it is is counted now and then only', async () => {
    const world = new World();
    for (let i = 0; i < 4; i++) world.sources.set(`10.0.0.${i}`, 90);
    for (let i = 0; i < 30; i++) await world.look();
    expect(world.dumps).toBeLessThanOrEqual(3);
    world.sources.set('10.0.0.1', 110);
    await world.look();
    expect(world.refused).toEqual(['element over4 10.0.0.1']);
  });

  test('close to full, what is beyond a share is forgotten', async () => {
    const world = new World();
    for (let i = 0; i < 6; i++) world.sources.set(`10.0.0.${i}`, 80);
    world.sources.set('10.0.0.9', 200);
    await world.look();
    expect(world.forgotten).toEqual([['10.0.0.9', 100]]);
  });

  test('one table that cannot be read does not keep the others from being looked at', async () => {
    const [bad, good] = [new World(), new World()];
    bad.fails = true;
    good.sources.set('10.0.0.1', 150);
    await expect(good.look(bad.table(), good.table('a/default'))).rejects.toThrow('no file left');
    expect(good.refused).toEqual(['element over4 10.0.0.1']);
  });

  test('hundreds of tables are looked at in turns', async () => {
    const world = new World();
    const seen = new Set<string>();
    const tables = Array.from({ length: 100 }, (_, i): TrackedTable => {
      const table = world.table(`n${i}`);
      return { ...table, conntrack: { ...table.conntrack, count: () => (seen.add(table.network), 0) } };
    });
    await world.look(world.table(), ...tables);
    expect(seen.size).toBe(32);
    for (let i = 0; i < 3; i++) await world.look(world.table(), ...tables);
    expect(seen.size).toBe(100);
  });
});
