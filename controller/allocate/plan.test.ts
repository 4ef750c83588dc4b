import { describe, expect, test } from 'vitest';
import { exampleNamespace, exampleNetwork, examplePod, exampleState } from '../../core/cluster/example.ts';
import type { ClusterState } from '../../core/cluster/state.ts';
import { viewOf } from '../../core/view/view.ts';
import { type ApiWrite, planWrites, planEvents } from './plan.ts';

type Options = Parameters<typeof planWrites>[1];
const writes = (state: ClusterState, options: Partial<Options> = {}): ApiWrite[] =>
  planWrites(viewOf(state), {
    stored: new Map(),
    usage: new Map(),
    reported: new Set(['n1', 'n2']),
    promised: new Map(),
    returned: new Set(),
    exhausted: new Map(),
    alive: new Set(['n1', 'n2']),
    ...options,
  });
const vnis = (all: readonly ApiWrite[]): Map<string, number | undefined> =>
  new Map(
    all.flatMap((d) =>
      d.do === 'network-status' ? [[`${d.network.namespace}/${d.network.name}`, d.vni] as const] : [],
    ),
  );
const fresh = (...names: string[]) =>
  new Map(names.map((n) => [`${n}/default`, exampleNetwork(n, 'default', undefined)]));

describe('planWrites', () => {
  test('a VNI is given once, never twice, and one that is not back from the API yet is not given again', () => {
    const first = vnis(writes(exampleState({ networks: fresh('x', 'y') })));
    expect(new Set(first.values()).size).toBe(2);
    const promised = new Map([...first].map(([k, v]) => [k, v ?? 0]));
    // The watch has shown none of the writes yet; a network whose name sorts before them has come.
    const second = vnis(writes(exampleState({ networks: fresh('a', 'x', 'y') }), { promised }));
    expect([second.get('x/default'), second.get('y/default')]).toEqual([
      first.get('x/default'),
      first.get('y/default'),
    ]);
    expect(new Set(second.values()).size).toBe(3);
    // After a restart the API remembers.
    const networks = new Map([...fresh('a')].concat([['x/default', exampleNetwork('x', 'default', 700)]]));
    const third = vnis(writes(exampleState({ networks })));
    expect(third.get('x/default')).toBe(700);
    expect(third.get('a/default')).not.toBe(700);
  });

  test('an isolated namespace gets its network, once; a label that is gone takes it back when no pod is on it', () => {
    const bare = exampleState({ networks: new Map() });
    expect(
      writes(bare)
        .filter((d) => d.do === 'create-network')
        .map((d) => d.namespace),
    ).toEqual(['a', 'b']);
    const managed = { ...exampleNetwork('flat', 'default', 9), managed: true };
    const networks = new Map(exampleState().networks).set('flat/default', managed);
    const gone = (state: ClusterState, options?: Partial<Options>) =>
      writes(state, options).some((d) => d.do === 'delete-network');
    expect(gone(exampleState({ networks }))).toBe(true);
    expect(gone(exampleState({ networks, attached: new Map([['flat-p1', 'flat/default']]) }))).toBe(false);
    // A node with a block of it has not spoken yet: it may have pods there.
    const blocks = new Map([['10.244.1.96/28', { cidr: '10.244.1.96/28', node: 'n1', network: 'flat/default' }]]);
    expect(gone(exampleState({ networks, blocks }), { reported: new Set(['n2']) })).toBe(false);
    expect(gone(exampleState({ networks, blocks }))).toBe(true);
  });

  test('a network that is being deleted waits for its pods and names them', () => {
    const deleting = { ...exampleNetwork('a', 'default', 2), deleting: true };
    const state = exampleState({
      networks: new Map(exampleState().networks).set('a/default', deleting),
      attached: new Map([
        ['a-p1', 'a/default'],
        ['a-p2', 'a/default'],
      ]),
    });
    expect(writes(state)).toContainEqual(
      expect.objectContaining({
        do: 'network-status',
        condition: {
          status: 'False',
          reason: 'InUse',
          message: expect.stringContaining('2 pod(s): a/p1, a/p2') as string,
        },
      }),
    );
    const empty = { ...state, pods: new Map(), attached: new Map() };
    expect(writes(empty).map((d) => d.do)).toContain('release-network');
  });

  test('blocks follow what nodes announce; those of a node that is gone go', () => {
    const state = exampleState();
    const stored = new Map([
      ['x', { cidr: '10.244.1.0/28', node: 'n1', network: 'default-network', objectName: 'x' }],
      ['y', { cidr: '10.244.9.0/28', node: 'n9', network: 'a/default', objectName: 'y' }],
    ]);
    const all = writes(state, { stored });
    expect(all.filter((d) => d.do === 'create-block')).toHaveLength(state.blocks.size - 1);
    expect(all.filter((d) => d.do === 'delete-block').map((d) => d.objectName)).toEqual(['y']);
  });

  test('news: pods that wait and labels that mean nothing, with the reason', () => {
    const namespaces = new Map(exampleState().namespaces).set(
      'odd',
      exampleNamespace('odd', { 'bulkhead.dev/isolated': 'perhaps' }),
    );
    const pods = new Map(exampleState().pods).set(
      'a/lost',
      examplePod('a', 'lost', 1, 40, { 'bulkhead.dev/network': 'nowhere' }),
    );
    const told = planEvents(viewOf(exampleState({ namespaces, pods })));
    expect(told.map((d) => [d.do, 'problem' in d ? d.problem.code : ''])).toEqual([
      ['namespace-problem', 'InvalidAnnotation'],
      ['pod-problem', 'NetworkNotFound'],
    ]);
  });
});
