import { expect, test } from 'vitest';
import type { Nft } from './nft.ts';
import { type NftChange, type NftObject, renderChanges, renderFresh, type TableName } from './program.ts';

/** What nft does with our transactions; the fake must do the same. */
export function nftConformance(make: () => Nft): void {
  const T: TableName = 'inet conformance';
  const chain = (name: string, ...rules: string[]): NftObject => ({ kind: 'chain', name, rules });
  const map: NftObject = { kind: 'set', name: 'm', type: 'ifname', to: 'verdict' };
  const element = (key: string, value: string): NftObject => ({ kind: 'element', set: 'm', key, value });
  const set = (object: NftObject, before?: NftObject): NftChange => ({ verb: 'set', object, before });
  const drop = (object: NftObject): NftChange => ({ verb: 'delete', object });
  const change = (nft: Nft, changes: readonly NftChange[]): void =>
    nft.change(T, changes, (name) => (map.kind === 'set' && name === 'm' ? map : undefined));
  const code = (work: () => void): string | undefined => {
    try {
      work();
      return undefined;
    } catch (error) {
      return (error as { code?: string }).code;
    }
  };

  test('a fresh table replaces whatever was there', () => {
    const nft = make();
    nft.run(renderFresh(T, [chain('a', 'accept')]));
    nft.run(renderFresh(T, [map, chain('b', 'iifname vmap @m'), chain('c', 'drop'), element('"x"', 'goto c')]));
    expect(nft.list('list tables')).toBe(`table ${T}\n`);
    expect(code(() => change(nft, [drop(chain('a'))]))).toBe('ENOENT');
  });

  test('elements and chains come, change and go in one transaction', () => {
    const nft = make();
    nft.run(renderFresh(T, [map, chain('b', 'iifname vmap @m'), chain('c', 'drop'), element('"x"', 'goto c')]));
    change(nft, [set(chain('d', 'accept')), set(element('"x"', 'goto d'), element('"x"', 'goto c')), drop(chain('c'))]);
    change(nft, [set(chain('d', 'drop'), chain('d', 'accept')), set(element('"y"', 'goto d'))]);
    change(nft, [drop(element('"x"', 'goto d')), drop(element('"y"', 'goto d')), drop(chain('d'))]);
    change(nft, [drop(chain('b')), drop(map)]);
  });

  test('a transaction that refers to nothing is refused whole', () => {
    const nft = make();
    nft.run(renderFresh(T, [map, chain('b', 'iifname vmap @m')]));
    expect(code(() => change(nft, [set(chain('good', 'accept')), set(element('"x"', 'goto absent'))]))).toBe('ENOENT');
    expect(code(() => change(nft, [set(element('"x"', 'goto good'))]))).toBe('ENOENT');
    expect(code(() => nft.run(renderChanges('inet nowhere', [set(chain('a'))])))).toBe('ENOENT');
  });

  test('a counter must be there before a rule names it, and outlives the rule', () => {
    const nft = make();
    const counter: NftObject = { kind: 'counter', name: 'n' };
    nft.run(renderFresh(T, [chain('a')]));
    expect(code(() => change(nft, [set(chain('a', 'counter name n drop'), chain('a'))]))).toBe('ENOENT');
    change(nft, [set(counter), set(chain('a', 'counter name n drop'), chain('a'))]);
    change(nft, [set(chain('a', 'accept'), chain('a', 'counter name n drop')), drop(counter)]);
    expect(code(() => change(nft, [drop(counter)]))).toBe('ENOENT');
  });

  test('elements alone, which need no parser: all of them or none', () => {
    const nft = make();
    nft.run(renderFresh(T, [map, chain('c', 'drop'), chain('d', 'drop'), element('"x"', 'goto c')]));
    change(nft, [set(element('"x"', 'goto d'), element('"x"', 'goto c')), set(element('"y"', 'accept'))]);
    expect(code(() => change(nft, [drop(element('"y"', 'accept')), set(element('"z"', 'goto absent'))]))).toBe(
      'ENOENT',
    );
    expect(code(() => change(nft, [set(element('"w"', 'drop')), drop(element('"z"', 'drop'))]))).toBe('ENOENT');
    change(nft, [drop(element('"y"', 'accept')), drop(element('"x"', 'goto d'))]);
    expect(code(() => change(nft, [drop(element('"w"', 'drop'))]))).toBe('ENOENT');
    change(nft, [drop(chain('c')), drop(chain('d'))]);
  });

  test('what packets have taught a table can be read, and put back into a fresh one', () => {
    const nft = make();
    const types = [
      ['addr4', 'ipv4_addr', '10.0.0.1'],
      ['addr6', 'ipv6_addr', 'fd00::1'],
      [
        'tuple',
        'inet_proto . ipv4_addr . inet_service . ipv6_addr . inet_service',
        'udp . 10.0.0.1 . 53 . fd00::1 . 40000',
      ],
    ] as const;
    const sets = types.map(([name, type]): NftObject & { kind: 'set' } => ({
      kind: 'set',
      name,
      type,
      flags: ['dynamic', 'timeout'],
      timeout: 600,
    }));
    const learnt = types.map(([name, , key]): NftObject => ({ kind: 'element', set: name, key, expires: 300_000 }));
    const counted: NftObject = { kind: 'counter', name: 'n', from: { packets: 5n, bytes: 700n } };
    for (let round = 0; round < 2; round++) {
      nft.run(renderFresh(T, [...sets, counted, ...learnt]));
      const read = sets.flatMap((s) => nft.elements(T, s));
      expect(read.map(({ set: name, key }) => [name, key])).toEqual(types.map(([name, , key]) => [name, key]));
      for (const { expires = 0 } of read) expect(expires > 200_000 && expires <= 300_000).toBe(true);
      expect(nft.counters(T)).toEqual([counted]);
    }
    // One with a rate of its own would, without it, match always.
    nft.run(`add element ${T} addr4 { 10.0.0.9 limit rate over 10/second }\n`);
    expect(sets.slice(0, 1).flatMap((s) => nft.elements(T, s).map((e) => e.key))).toEqual(['10.0.0.1']);
    expect(nft.elements('inet nowhere', { kind: 'set', name: 'x', type: 'ipv4_addr' })).toEqual([]);
    expect(nft.counters('inet nowhere')).toEqual([]);
  });

  test('an element is not added twice with two values', () => {
    const nft = make();
    nft.run(renderFresh(T, [map, chain('c', 'drop'), chain('d', 'drop'), element('"x"', 'goto c')]));
    expect(code(() => change(nft, [set(element('"x"', 'goto d'))]))).toBe('EEXIST');
    expect(code(() => change(nft, [drop(element('"z"', 'goto d'))]))).toBe('ENOENT');
  });
}
