import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { itemsOf } from './items.ts';

type Tree = { readonly list: readonly Tree[] } | { readonly name: string };
const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'medium' },
    fc.record({ name: fc.string() }),
    fc.record({ list: fc.array(tie('tree'), { maxLength: 4 }) }),
  ),
}));
const documentOf = (t: Tree): object =>
  'list' in t
    ? { apiVersion: 'v1', kind: 'List', items: t.list.map(documentOf) }
    : { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: t.name } };
const leaves = (t: Tree): string[] => ('list' in t ? t.list.flatMap(leaves) : [t.name]);

describe('objects of a document', () => {
  test('what lists hold at any depth, in order', () => {
    fc.assert(
      fc.property(tree, (t) => {
        const { items, problem } = itemsOf(documentOf(t));
        expect(problem).toBeUndefined();
        expect(items.map(({ object }) => (object['metadata'] as { name: string }).name)).toEqual(leaves(t));
      }),
    );
  });

  test('the items of a list of one kind take its kind', () => {
    expect(
      itemsOf({ apiVersion: 'bulkhead.dev/v1alpha1', kind: 'VirtualNetworkList', items: [{ metadata: { name: 'a' } }] })
        .items,
    ).toEqual([
      {
        object: { apiVersion: 'bulkhead.dev/v1alpha1', kind: 'VirtualNetwork', metadata: { name: 'a' } },
        place: { index: 0, list: undefined },
      },
    ]);
  });

  test.each([
    [{ apiVersion: 'v1', kind: 'List' }, undefined],
    [{ apiVersion: 'v1', kind: 'PodList', items: null }, undefined],
    [{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicyList', metadata: {} }, undefined],
    [{ apiVersion: 'v1', kind: 'List', items: null }, undefined],
    [{ apiVersion: 'v1', kind: 'List', items: 7 }, /items of a List must be a list/],
    [{ apiVersion: 'v1', kind: 'List', items: [7] }, /without apiVersion and kind/],
    [{ apiVersion: 'v1', kind: 'List', items: [null] }, /without apiVersion and kind/],
    [{ apiVersion: 'v1', kind: 'List', items: [{}] }, /without apiVersion and kind/],
    [{ apiVersion: 'v1', items: [] }, /without apiVersion and kind/],
    [7, /without apiVersion and kind/],
    [[], /without apiVersion and kind/],
  ])('%j', (document, problem) => {
    const found = itemsOf(document);
    if (problem === undefined) expect(found).toEqual({ items: [] });
    else expect(found.problem).toMatch(problem);
  });

  test('an item whose kind is null takes that of its list', () => {
    const { items } = itemsOf({ apiVersion: 'v1', kind: 'PodList', items: [{ kind: null, apiVersion: null }] });
    expect(items.map(({ object }) => object)).toEqual([{ apiVersion: 'v1', kind: 'Pod' }]);
  });

  test('a kind whose name ends in List and that has a name is no list', () => {
    const object = { apiVersion: 'example.com/v1', kind: 'AllowList', metadata: { name: 'a' }, spec: {} };
    expect(itemsOf(object).items).toEqual([{ object }]);
  });

  test('a list inside of lists, very deep', () => {
    let document: object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: {} };
    for (let i = 0; i < 100_000; i++) document = { apiVersion: 'v1', kind: 'List', items: [document] };
    expect(itemsOf(document).items).toHaveLength(1);
  });

  test('no document breaks it', () => {
    fc.assert(fc.property(fc.anything(), (document) => void itemsOf(document)));
  });
});
