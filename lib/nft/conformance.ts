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

  test('an element is not added twice with two values', () => {
    const nft = make();
    nft.run(renderFresh(T, [map, chain('c', 'drop'), chain('d', 'drop'), element('"x"', 'goto c')]));
    expect(code(() => change(nft, [set(element('"x"', 'goto d'))]))).toBe('EEXIST');
    expect(code(() => change(nft, [drop(element('"z"', 'goto d'))]))).toBe('ENOENT');
  });
}
