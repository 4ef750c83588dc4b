import { describe, expect, test } from 'vitest';
import { exampleNetwork, examplePod, exampleSlice, exampleState } from '../cluster/example.ts';
import type { ClusterState, EndpointSlice } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { usableBackends } from './usable.ts';

const state = exampleState();
const web = state.services.get('a/web')!;
const slice = state.slices.get('a/web-ipv4')!;
const withEndpoints = (change: (e: EndpointSlice['endpoints'][number], i: number) => object): ClusterState => ({
  ...state,
  slices: new Map(state.slices).set('a/web-ipv4', {
    ...slice,
    endpoints: slice.endpoints.map((e, i) => ({ ...e, ...change(e, i) })),
  }),
});
const target = { address: '10.96.1.1', port: 80, protocol: 'TCP' } as const;
const backends = (s: ClusterState, node = 'n9'): string[] =>
  usableBackends(viewOf(s), { service: web, network: 'a/default' }, target, {
    node,
    from: 'inside',
    by: 'instance',
  }).map((b) => b.ip);
const BOTH = ['10.244.1.5', '10.244.2.5'];

describe('backends of a Service', () => {
  test('topology hints: the zone of the node, when every endpoint has a hint and the zone has some', () => {
    const hinted = withEndpoints((_, i) => ({ zones: [`z${i + 1}`] }));
    expect(backends(hinted, 'n1')).toEqual(['10.244.1.5']);
    expect(backends(hinted, 'n2')).toEqual(['10.244.2.5']);
    expect(backends(hinted)).toEqual(BOTH);
    expect(
      backends(
        withEndpoints((_, i) => (i === 0 ? { zones: ['z1'] } : {})),
        'n2',
      ),
    ).toEqual(BOTH);
    expect(
      backends(
        withEndpoints(() => ({ zones: ['z9'] })),
        'n1',
      ),
    ).toEqual(BOTH);
  });

  test('ready ones; with none, those that still serve while they end; else none', () => {
    expect(backends(withEndpoints((_, i) => ({ ready: i === 0 })))).toEqual(['10.244.1.5']);
    const ending = { ready: false, serving: true, terminating: true };
    expect(backends(withEndpoints((_, i) => (i === 0 ? ending : { ready: false, serving: false })))).toEqual([
      '10.244.1.5',
    ]);
    expect(backends(withEndpoints((_, i) => (i === 0 ? ending : {})))).toEqual(['10.244.2.5']);
    expect(backends(withEndpoints(() => ({ ready: false, serving: false })))).toEqual([]);
  });

  test('only endpoints on its network, by whichever interface', () => {
    const other = { ...examplePod('a', 'both', 1, 77, { 'bulkhead.dev/network': 'blue' }), uid: 'both' };
    const pods = new Map(state.pods).set('a/both', other);
    const networks = new Map(state.networks).set('a/blue', exampleNetwork('a', 'blue', 9));
    const slices = new Map(state.slices).set(
      'a/web-ipv4',
      exampleSlice(
        'a',
        'web',
        [...pods.values()].filter((p) => p.namespace === 'a'),
      ),
    );
    const elsewhere = { ...state, pods, networks, slices };
    expect(backends(elsewhere)).toEqual(BOTH);
    const extra = { ifname: 'net1', network: 'a/default', ips: ['10.20.0.7', 'fd00::7'], mac: '' };
    expect(backends({ ...elsewhere, interfaces: new Map([['both', [extra]]]) })).toEqual(['10.20.0.7', ...BOTH]);
  });
});
