import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { emptyNodeConfig, ITEM_KINDS, type NodeConfig, type StreamEvent } from '../../api/nodeconfig.ts';
import { exampleNetwork, examplePod, exampleService, exampleState } from '../cluster/example.ts';
import { keyOf, type ClusterState } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { applyEvent, compile, diffConfig } from './compile.ts';

const asJson = (c: NodeConfig): unknown =>
  Object.fromEntries(ITEM_KINDS.map((k) => [k, Object.fromEntries([...c[k]].sort(([a], [b]) => (a < b ? -1 : 1)))]));
const play = (events: readonly StreamEvent[]): NodeConfig => {
  const config = emptyNodeConfig();
  for (const e of events) applyEvent(config, e);
  return config;
};

describe('compile', () => {
  test('a node knows the networks of its own pods, their Services and blocks, and nothing of others', () => {
    const all = exampleState();
    const state = {
      ...all,
      pods: new Map([...all.pods].filter(([, p]) => !(p.namespace === 'b' && p.node === 'n1'))),
      blocks: new Map([...all.blocks].filter(([, b]) => !(b.network === 'b/default' && b.node === 'n1'))),
    };
    const n1 = compile(viewOf(state), 'n1');
    expect([...n1.network.keys()]).toEqual(['a/default']);
    expect([...n1.service.keys()].sort()).toEqual(['a/web', 'default/kubernetes', 'kube-system/kube-dns']);
    expect([...n1.block.values()]).toEqual([{ cidr: '10.244.2.16/28', node: 'n2', network: 'a/default' }]);
    expect([...n1.pod.keys()].sort()).toEqual(['a/p1', 'flat/p1']);
    expect([...compile(viewOf(state), 'n2').network.keys()].sort()).toEqual(['a/default', 'b/default']);
  });

  test('a Service has only endpoints of its own network', () => {
    const state = exampleState();
    const stray = examplePod('a', 'stray', 1, 99, { 'bulkhead.dev/network': 'blue' });
    const pods = new Map(state.pods).set('a/stray', stray);
    const [slice] = [...state.slices.values()].filter((s) => s.namespace === 'a');
    const slices = new Map(state.slices).set('a/web-ipv4', {
      ...slice!,
      endpoints: [
        ...slice!.endpoints,
        { ip: stray.ips[0]!, node: 'n1', ready: true, serving: true, terminating: false, pod: 'a/stray' },
      ],
    });
    const networks = new Map(state.networks).set('a/blue', exampleNetwork('a', 'blue', 20));
    const config = compile(viewOf({ ...state, pods, slices, networks }), 'n1');
    expect(config.service.get('a/web')?.ports[0]?.backends.map((b) => b.ip)).toEqual(['10.244.1.5', '10.244.2.5']);
  });

  test('a Service of another tenant cannot be allowed by naming it', () => {
    const state = exampleState();
    const networks = new Map(state.networks).set(
      'a/default',
      exampleNetwork('a', 'default', 2, {
        services: {
          allow: [
            { namespace: 'b', name: 'web' },
            { namespace: 'flat', name: 'web' },
          ],
        },
      }),
    );
    const config = compile(viewOf({ ...state, networks }), 'n1');
    expect(config.network.get('a/default')?.allow).toEqual(['flat/web']);
  });

  test('endpoints that end but still serve are used when no other is ready', () => {
    const state = exampleState();
    const slice = state.slices.get('a/web-ipv4')!;
    const ending = { ...slice, endpoints: slice.endpoints.map((e) => ({ ...e, ready: false, terminating: true })) };
    const config = compile(viewOf({ ...state, slices: new Map(state.slices).set('a/web-ipv4', ending) }), 'n1');
    expect(config.service.get('a/web')?.ports[0]?.backends).toHaveLength(2);
  });

  test('a snapshot equals any sequence of deltas', () => {
    const all = exampleState();
    const anyState: fc.Arbitrary<ClusterState> = fc
      .record({
        pods: fc.subarray([...all.pods.values()]),
        services: fc.subarray([...all.services.values(), exampleService('a', 'web', '10.96.9.9')]),
        networks: fc.subarray([
          ...all.networks.values(),
          exampleNetwork('a', 'default', 2, { egress: { mode: 'NAT' } }),
        ]),
        blocks: fc.subarray([...all.blocks.values()]),
        slices: fc.subarray([...all.slices.values()]),
      })
      .map((s) => ({
        ...all,
        pods: new Map(s.pods.map((p) => [keyOf(p), p])),
        services: new Map(s.services.map((x) => [keyOf(x), x])),
        networks: new Map(s.networks.map((x) => [keyOf(x), x])),
        slices: new Map(s.slices.map((x) => [keyOf(x), x])),
        blocks: new Map(s.blocks.map((b) => [b.cidr, b])),
      }));
    fc.assert(
      fc.property(
        fc.array(anyState, { minLength: 1, maxLength: 6 }),
        fc.constantFrom('n1', 'n2', 'n9'),
        (states, node) => {
          let sent: NodeConfig = emptyNodeConfig();
          const stream: StreamEvent[] = [];
          for (const state of states) {
            const next = compile(viewOf(state), node);
            stream.push(...diffConfig(sent, next));
            sent = next;
          }
          // Through JSON, as on the wire.
          const received = play(stream.map((e) => JSON.parse(JSON.stringify(e)) as StreamEvent));
          expect(asJson(received)).toEqual(JSON.parse(JSON.stringify(asJson(sent))));
          expect(asJson(play(diffConfig(emptyNodeConfig(), sent)))).toEqual(asJson(sent));
          expect(diffConfig(sent, compile(viewOf(states.at(-1)!), node))).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });
});

test('a node without pod CIDRs, or without InternalIP, is an address that pods may not reach, and no part of the overlay', () => {
  const state = exampleState();
  const [n2] = [...state.nodes.values()].filter((n) => n.name === 'n2');
  if (!n2) throw new Error('n2');
  const nodes = new Map(state.nodes)
    .set('n2', { ...n2, podCIDRs: [] })
    .set('n3', { ...n2, name: 'n3', addresses: [], further: ['203.0.113.7'] })
    .set('n4', { ...n2, name: 'n4', addresses: [] });
  const view = viewOf({ ...state, nodes });
  const { node } = compile(view, 'n1');
  expect(node.get('n2')).toMatchObject({ underlay: '192.0.2.12', podCIDRs: [] });
  expect(node.get('n3')).toMatchObject({ further: ['203.0.113.7'], podCIDRs: [] });
  expect(node.has('n4')).toBe(false);
  // Its own agent waits until there are pod CIDRs to give addresses from.
  expect(compile(view, 'n2').node.has('n2')).toBe(false);
});
