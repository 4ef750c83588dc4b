import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { virtualNetworkRouterSpec } from '../../api/kinds/virtual-network-router.ts';
import { FLAT_NETWORK } from '../../api/names.ts';
import type { PortSet } from '../../api/nodeconfig.ts';
import { contains, mustPrefix, overlaps } from '../../lib/ip/prefix.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { exampleNamespace, exampleNetwork, exampleState } from '../cluster/example.ts';
import { readRouter } from '../read/objects.ts';
import type { ClusterState, Router } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { egressParts } from '../read/egress-parts.ts';
import { combine, connectNetworks } from './connect.ts';
import { peersOf } from '../node-config/peers.ts';
import { admits, intersection, portSet, unionOf } from '../cluster/ports.ts';

const routerOf = (namespace: string, name: string, spec: object, labels: Record<string, string> = {}): Router => ({
  namespace,
  name,
  uid: `${namespace}/${name}`,
  generation: 1,
  deleting: false,
  labels,
  spec: virtualNetworkRouterSpec.parse(spec),
  problems: [],
});
const withRouters = (...routers: Router[]): ClusterState =>
  exampleState({ routers: new Map(routers.map((r) => [`${r.namespace}/${r.name}`, r])) });
const own = { virtualNetworks: ['default'] };
const open = (state: ClusterState): string[] =>
  [...connectNetworks(state).connections].flatMap(([a, row]) => [...row.keys()].map((b) => `${a} ${b}`)).sort();

describe('connect', () => {
  const a = (spec: object) => routerOf('a', 'r', { ...own, ...spec });
  const b = (spec: object) => routerOf('b', 'r', { ...own, ...spec });
  const toA = { import: [{ namespace: 'a', name: 'r' }] };
  const toB = { import: [{ namespace: 'b', name: 'r' }] };
  const AB = ['a/default b/default', 'b/default a/default'];
  const cases = [
    ['both name each other', [a(toB), b(toA)], AB],
    ['one side only', [a(toB), b({})], []],
    ['the other side only', [a({}), b(toA)], []],
    ['hub with spoke', [a({ type: 'Hub', ...toB }), b({ type: 'Spoke', ...toA })], AB],
    ['hub with hub', [a({ type: 'Hub', ...toB }), b({ type: 'Hub', ...toA })], []],
    ['spoke with spoke', [a({ type: 'Spoke', ...toB }), b({ type: 'Spoke', ...toA })], []],
    ['mesh with spoke', [a(toB), b({ type: 'Spoke', ...toA })], []],
    ['no port in common', [a({ ...toB, ports: [{ port: 80 }] }), b({ ...toA, ports: [{ port: 81 }] })], []],
    ['a router that is being deleted', [a(toB), { ...b(toA), deleting: true }], []],
    ['an invalid router', [a(toB), { ...b(toA), spec: undefined, problems: ['x'] }], []],
    ['a missing network', [a({ ...toB, virtualNetworks: ['other'] }), b(toA)], []],
    [
      'by selectors',
      [a({ import: [{ namespaceSelector: {}, selector: {} }] }), b({ import: [{ namespaceSelector: {} }] })],
      AB,
    ],
  ] as const;
  test.each(cases)('%s', (_, routers, expected) => {
    const state = withRouters(...routers);
    expect(open(state)).toEqual(expected);
    // What is not open says why.
    const { pairs = [], missing = [] } = connectNetworks(state).routers.get('a/r') ?? {};
    if (expected.length === 0 && routers[0].spec?.import !== undefined)
      expect([...pairs.map((p) => p.message), ...missing, 'x'].length).toBeGreaterThan(0);
    for (const p of pairs) expect(p.message).not.toBe('');
  });

  test('a network without an identifier, or that goes, is not connected', () => {
    const state = withRouters(a(toB), b(toA));
    for (const network of [
      exampleNetwork('b', 'default', undefined),
      { ...exampleNetwork('b', 'default', 3), deleting: true },
    ])
      expect(open({ ...state, networks: new Map(state.networks).set('b/default', network) })).toEqual([]);
  });

  test('several routers add up; the flat network counts only for its namespaces', () => {
    const namespaces = new Map(exampleState().namespaces)
      .set('x', exampleNamespace('x', { team: 'ops' }, { 'bulkhead.dev/routers': 'flat/*, other/r' }))
      .set('y', exampleNamespace('y', { team: 'ops' }));
    const flat = { defaultNetwork: { namespaceSelector: { matchLabels: { team: 'ops' } } } };
    const state = {
      ...withRouters(
        routerOf('flat', 'r', { ...flat, import: [{ namespace: 'a', name: 'r' }] }),
        routerOf('flat', 's', { defaultNetwork: {}, ports: [{ port: 80 }], import: [{ namespace: 'a', name: 'r' }] }),
        a({ import: [{ namespace: 'flat', selector: {} }] }),
      ),
      namespaces,
    };
    const grants = connectNetworks(state).connections.get('a/default')?.get(FLAT_NETWORK);
    expect(combine(grants, 'x').pods).toBe('any');
    expect(combine(grants, 'flat').pods).toEqual([{ protocol: 'TCP', first: 80, last: 80 }]);
    expect(combine(grants, 'y').pods).toEqual([]);
    expect(connectNetworks(state).routers.get('flat/r')?.missing.join()).toContain('namespace y does not consent');
    expect(peersOf(viewOf(state), 'a/default')[0]?.peer.parts.map((p) => p.prefixes)).toEqual([
      ['10.244.1.37/32', '10.244.2.37/32'],
    ]);
  });

  const name = fc.constantFrom('a', 'b', 'flat', 'default', 'r', 'ghost', '', 'UPPER');
  const selector = fc.oneof(
    fc.constant({}),
    fc.record({ matchLabels: fc.dictionary(fc.string(), fc.string()) }),
    fc.record({
      matchExpressions: fc.array(
        fc.record({
          key: fc.string(),
          operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist', '?'),
          values: fc.array(fc.string()),
        }),
      ),
    }),
  );
  const junk = fc.oneof(fc.jsonValue(), name, fc.integer());
  const spec = fc.record(
    {
      type: fc.oneof(fc.constantFrom('Mesh', 'Hub', 'Spoke'), junk),
      virtualNetworks: fc.oneof(fc.array(name), junk),
      virtualNetworkSelector: fc.oneof(selector, junk),
      defaultNetwork: fc.oneof(fc.record({ namespaceSelector: selector }), junk),
      import: fc.oneof(fc.array(fc.record({ namespace: name, name, selector }, { requiredKeys: [] })), junk),
      traffic: fc.oneof(fc.constantFrom('All', 'ServicesOnly'), junk),
      ports: fc.oneof(fc.array(fc.record({ port: fc.integer(), endPort: fc.integer() })), junk),
    },
    { requiredKeys: [] },
  );

  test('10 000 generated routers never crash; what is refused opens nothing, and connections are mutual', () => {
    let refused = 0;
    fc.assert(
      fc.property(fc.array(fc.tuple(name, name, fc.oneof(spec, junk)), { maxLength: 4 }), (objects) => {
        const read = objects.map(([namespace, n, s]) => readRouter({ metadata: { namespace, name: n }, spec: s }));
        refused += read.filter((r) => r.spec === undefined).length;
        const valid = read.filter((r) => r.spec !== undefined);
        const last = (list: readonly Router[]): Map<string, Router> =>
          new Map(list.map((r) => [`${r.namespace}/${r.name}`, r]));
        const all = exampleState({ routers: last(read) });
        const { connections } = connectNetworks(all);
        for (const [x, row] of connections) for (const y of row.keys()) expect(connections.get(y)?.has(x)).toBe(true);
        // The refused are as if they were not there, unless they have taken the place of one of the same name.
        if (last(read).size === read.length) expect(open(all)).toEqual(open(exampleState({ routers: last(valid) })));
        viewOf(all);
      }),
      { numRuns: 10_000 },
    );
    expect(refused).toBeGreaterThan(1_000);
  }, 60_000);
});

describe('ports', () => {
  const range = fc
    .record({
      protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
      port: fc.integer({ min: 1, max: 30 }),
      endPort: fc.integer({ min: 1, max: 30 }),
    })
    .map((r) => ({ ...r, endPort: Math.max(r.port, r.endPort) }));
  const set = fc.option(fc.array(range, { maxLength: 4 }), { nil: undefined }).map((r): PortSet => portSet(r));
  const questions = (['TCP', 'UDP', 'SCTP', 'ICMP'] as const).flatMap((p) =>
    Array.from({ length: 32 }, (_, i) => [p, i] as const),
  );

  test('union and intersection are those of the ports, and ranges stay apart', () => {
    fc.assert(
      fc.property(set, set, (x, y) => {
        for (const [protocol, port] of questions) {
          expect(admits(unionOf([x, y]), protocol, port)).toBe(admits(x, protocol, port) || admits(y, protocol, port));
          expect(admits(intersection(x, y), protocol, port)).toBe(
            admits(x, protocol, port) && admits(y, protocol, port),
          );
        }
        const u = unionOf([x, y]);
        if (u === 'any') return;
        for (const [i, r] of u.entries())
          expect(
            u.every((s, j) => i === j || s.protocol !== r.protocol || s.first > r.last + 1 || s.last < r.first - 1),
          ).toBe(true);
      }),
    );
  });

  test('an egress allow list is cut into disjoint prefixes that allow the same', () => {
    const cidr = fc
      .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 24, max: 32 }))
      .map(([n, length]) => `203.0.113.${(n >> (32 - length)) << (32 - length)}/${length}`);
    const entry = fc.record({ cidr, ports: fc.option(fc.array(range, { maxLength: 2 }), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 5 }), (list) => {
        const parts = egressParts(list);
        const prefixes = parts.map((p) => mustPrefix(p.prefix));
        for (const [i, p] of prefixes.entries())
          for (const q of prefixes.slice(i + 1)) expect(overlaps(p, q)).toBe(false);
        for (let host = 0; host < 256; host += 7) {
          const ip = mustIp(`203.0.113.${host}`);
          for (const [protocol, port] of questions.filter((_, i) => i % 5 === 0)) {
            const expected = list.some(
              (e) => contains(mustPrefix(e.cidr), ip) && admits(portSet(e.ports), protocol, port),
            );
            const actual = parts.some((p) => contains(mustPrefix(p.prefix), ip) && admits(p.ports, protocol, port));
            expect(actual).toBe(expected);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});
