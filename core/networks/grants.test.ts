import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bulkheadConfigSpec } from '../../api/kinds/bulkhead-config.ts';
import { covers, formatPrefix, mustPrefix, overlaps, parsePrefix } from '../../lib/ip/prefix.ts';
import { exampleNetwork, exampleState } from '../cluster/example.ts';
import { readNetwork, readSettings } from '../read/objects.ts';
import type { Settings } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { compile } from '../node-config/compile.ts';
import { DEFAULT_CEILINGS } from './ceiling.ts';
import { grantsOf, refusalsOfNew } from './grants.ts';
import { ReportedRanges } from './reported-ranges.ts';

const settingsOf = (spec: object): Settings => readSettings({ spec })!;
const anything = exampleState({
  settings: settingsOf({ subnets: { pools: [{ prefixes: ['0.0.0.0/0', '::/0'], largest: { ipv4: 1, ipv6: 1 } }] } }),
});

describe('who owns a subnet', () => {
  const network = (name: string, created: number, ...subnets: string[]) => ({
    ...exampleNetwork('a', name, 9, { subnets }),
    created,
  });

  test('the older keeps it, in any order; both owners are named; refused ones take nothing from others', () => {
    const all = [
      network('old', 1, '10.20.0.0/24'),
      network('young', 2, '10.20.0.128/25', '10.50.0.0/24'),
      network('third', 3, '10.50.0.0/25'),
    ];
    for (const order of [all, all.toReversed()]) {
      const { conflicts } = grantsOf(exampleState({ networks: new Map(order.map((n) => [`a/${n.name}`, n])) }));
      expect([...conflicts.keys()]).toEqual(['a/young']);
      expect(conflicts.get('a/young')?.message).toContain(
        '10.20.0.128/25 of network a/young overlaps 10.20.0.0/24, which belongs to network a/old',
      );
    }
  });

  test.each([
    ['10.244.1.0/28', 'the pod range of the cluster'],
    ['10.240.0.0/12', 'the pod range of the cluster'],
    ['10.96.3.0/24', 'the Service range of the cluster'],
    ['192.0.2.8/29', 'node n1'],
    ['fd00:10:244:1::/96', 'the pod range of the cluster'],
  ])('%s belongs to %s', (subnet, owner) => {
    expect(refusalsOfNew(anything, network('new', 9, subnet), undefined).join()).toContain(owner);
  });

  test('prefix sets: a conflict is found exactly when two subnets overlap', () => {
    const cidr = fc
      .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 20, max: 29 }))
      .map(([n, length]) => `10.${60 + (n >> 7)}.${n & 127 & (length < 24 ? 0xf0 : 0xff)}.0/${length}`);
    fc.assert(
      fc.property(fc.uniqueArray(cidr, { maxLength: 12 }), (subnets) => {
        const networks = new Map(subnets.map((s, i) => [`a/n${i}`, network(`n${i}`, i, s)]));
        const { conflicts } = grantsOf(exampleState({ networks }));
        const accepted: string[] = [];
        for (const [i, s] of subnets.entries()) {
          const clash = accepted.some((a) => overlaps(mustPrefix(a), mustPrefix(s)));
          expect(conflicts.has(`a/n${i}`)).toBe(clash);
          if (!clash) accepted.push(s);
        }
      }),
    );
  });

  test('what is wrong with a network by itself is told all at once, with the paths', () => {
    const { problems, spec } = readNetwork({
      metadata: { namespace: 'a', name: 'x' },
      spec: {
        subnets: ['10.20.0.0/30', '127.0.0.0/8', '10.30.0.0/24', '10.30.0.128/25'],
        reservedPrefixes: ['10.99.0.0/28'],
      },
    });
    expect(spec).toBeUndefined();
    expect(problems).toEqual([
      'spec.subnets[0]: 10.20.0.0/30 is too small: at most /29',
      'spec.subnets[1]: 127.0.0.0/8 overlaps 127.0.0.0/8, which is no range for pods',
      'spec.subnets[3]: 10.30.0.128/25 overlaps spec.subnets[2], 10.30.0.0/24',
      'spec.reservedPrefixes[0]: 10.99.0.0/28 is in none of spec.subnets',
    ]);
  });
});

test.each(['100.100.0.0/16', 'fd00:ec2::/64', 'fd20:ce::/64'])('%s: a cloud serves its nodes there', (subnet) => {
  const { problems } = readNetwork({ metadata: { namespace: 'a', name: 'x' }, spec: { subnets: [subnet] } });
  expect(problems).toEqual([expect.stringContaining('where a cloud serves its nodes')]);
});

describe('what the administrator allows', () => {
  const config = (spec: object) => exampleState({ settings: settingsOf(spec) });
  const refusals = (state: ReturnType<typeof exampleState>, spec: object): string[] =>
    refusalsOfNew(state, exampleNetwork('a', 'new', undefined, spec), undefined);
  const inView = (state: ReturnType<typeof exampleState>, spec: object) => {
    const network = exampleNetwork('a', 'new', 9, spec);
    return viewOf({ ...state, networks: new Map(state.networks).set('a/new', network) });
  };

  test.each([
    ['203.0.113.0/24', /none of the pools/],
    ['200.0.0.0/5', /none of the pools/],
    ['2001:db8::/64', /none of the pools/],
    ['10.0.0.0/8', /larger than the \/16/],
    ['172.16.0.0/15', /larger than the \/16/],
    ['fd00::/40', /larger than the \/48/],
    ['11.0.0.0/16', /none of the pools/],
    ['172.32.0.0/16', /none of the pools/],
  ])('without a BulkheadConfig: %s is refused, at admission and in the view', (subnet, why) => {
    expect(refusals(exampleState(), { subnets: [subnet] }).join()).toMatch(why);
    const view = inView(exampleState(), { subnets: [subnet] });
    expect(view.state.conflicts?.get('a/new')?.reason).toBe('SubnetNotAllowed');
    const told = compile(view, 'n1');
    expect(told.cluster.get('cluster')?.podCIDRs).not.toContain(subnet);
  });

  test.each(['10.20.0.0/16', '172.31.0.0/24', '192.168.4.0/22', '100.64.0.0/16', 'fd00:20::/48', 'fc12:3::/64'])(
    'without a BulkheadConfig: %s may be had',
    (subnet) => {
      expect(refusals(exampleState(), { subnets: [subnet] })).toEqual([]);
      expect(inView(exampleState(), { subnets: [subnet] }).state.conflicts?.size).toBe(0);
    },
  );

  test('a subnet may be had exactly when one pool of its namespace covers it and it is no larger than that pool says', () => {
    const prefix = fc
      .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 8, max: 29 }))
      .map(([n, length]) => formatPrefix(parsePrefix(`${20 + (n % 3)}.${n}.0.0/${length}`, { loose: true })!));
    const pool = fc.record({
      prefixes: fc.array(prefix, { minLength: 1, maxLength: 3 }),
      largest: fc.record({ ipv4: fc.integer({ min: 8, max: 30 }) }),
      namespaceSelector: fc.constantFrom(
        {},
        { matchLabels: { 'kubernetes.io/metadata.name': 'a' } },
        { matchLabels: { x: 'y' } },
      ),
    });
    fc.assert(
      fc.property(fc.array(pool, { maxLength: 4 }), prefix, (pools, subnet) => {
        const wanted = mustPrefix(subnet);
        const may = pools.some(
          (p) =>
            p.namespaceSelector.matchLabels?.['x' as never] === undefined &&
            wanted.length >= p.largest.ipv4 &&
            p.prefixes.some((q) => covers(mustPrefix(q), wanted)),
        );
        const state = config({ subnets: { pools } });
        expect(refusals(state, { subnets: [subnet] }).length === 0).toBe(may);
        expect(inView(state, { subnets: [subnet] }).state.conflicts?.has('a/new')).toBe(!may);
      }),
    );
  });

  test('egress addresses: none by default, then those of a pool; refused ones cost the way out, not the network', () => {
    const spec = { egress: { mode: 'NAT', addresses: ['192.0.2.200'] } };
    expect(refusals(exampleState(), spec).join()).toMatch(/spec\.egress\.addresses\[0\]: 192\.0\.2\.200 lies in none/);
    const view = inView(exampleState(), spec);
    expect(view.state.limited?.get('a/new')?.reason).toBe('EgressAddressNotAllowed');
    expect(view.state.networks.get('a/new')?.spec?.egress).toEqual({ mode: 'None' });
    expect(view.state.conflicts?.has('a/new')).toBe(false);
    const allowed = config({ egress: { addressPools: [{ prefixes: ['192.0.2.192/27'] }] } });
    expect(refusals(allowed, spec)).toEqual([]);
    expect(inView(allowed, spec).state.limited?.size).toBe(0);
    const node = config({ egress: { addressPools: [{ prefixes: ['192.0.2.0/24'] }] } });
    expect(refusals(node, { egress: { mode: 'NAT', addresses: ['192.0.2.11'] } }).join()).toContain('node n1');
  });

  test('modes and Services: what is beyond a limit is refused, and counts as the least where it is stored', () => {
    const limits = config({
      egress: {
        limits: [
          { modes: ['None', 'Routed'], namespaceSelector: { matchLabels: { 'bulkhead.dev/isolated': 'true' } } },
        ],
      },
      services: { limits: [{ allow: [{ namespace: 'kube-system' }, { namespace: 'flat', name: 'web' }] }] },
    });
    const asks = { egress: { mode: 'NAT' }, services: { access: 'DefaultNetwork' } };
    expect(refusals(limits, asks)).toHaveLength(2);
    const view = inView(limits, asks);
    expect(view.state.limited?.get('a/new')?.reason).toBe('LimitExceeded');
    const spec = view.state.networks.get('a/new')?.spec;
    expect(spec?.egress.mode).toBe('None');
    expect(spec?.services.access).toBe('AllowList');
    expect(spec?.services.allow).toEqual([
      { namespace: 'flat', name: 'web' },
      { namespace: 'kube-system', name: 'kube-dns' },
    ]);
    expect(
      refusals(limits, { egress: { mode: 'Routed' }, services: { allow: [{ namespace: 'flat', name: 'web' }] } }),
    ).toEqual([]);
    expect(refusals(limits, { services: { allow: [{ namespace: 'flat', name: 'other' }] } }).join()).toMatch(
      /services\.allow\[0\]/,
    );
  });

  test('an old mistake does not keep its owner from editing the rest', () => {
    const before = exampleNetwork('a', 'new', 9, { subnets: ['203.0.113.0/24'] });
    const after = exampleNetwork('a', 'new', 9, { subnets: ['203.0.113.0/24'], mtu: 1400 });
    expect(refusalsOfNew(exampleState(), after, before)).toEqual([]);
    const more = exampleNetwork('a', 'new', 9, { subnets: ['203.0.113.0/24', '198.51.100.0/24'] });
    expect(refusalsOfNew(exampleState(), more, before)).toHaveLength(1);
  });

  test('a closed network: known to its own nodes, routed in no root, with no way to anything but itself', () => {
    const base = exampleState();
    const blocks = new Map(base.blocks)
      .set('203.0.113.0/28', { cidr: '203.0.113.0/28', node: 'n1', network: 'a/new', given: true })
      .set('203.0.113.16/28', { cidr: '203.0.113.16/28', node: 'n2', network: 'a/new', given: true });
    const spec = { subnets: ['203.0.113.0/24'], egress: { mode: 'NAT' }, services: { access: 'DefaultNetwork' } };
    const told = compile(inView({ ...base, blocks }, spec), 'n1');
    expect(told.network.get('a/new')).toMatchObject({ closed: true, egress: 'None', allow: [] });
    expect([...told.block.values()].filter((b) => b.network === 'a/new')).toEqual([
      {
        cidr: '203.0.113.0/28',
        node: 'n1',
        network: 'a/new',
        given: true,
        except: ['203.0.113.0/32', '203.0.113.1/32'],
      },
      { cidr: '203.0.113.16/28', node: 'n2', network: 'a/new' },
    ]);
    const third = compile(inView({ ...base, blocks: new Map([...blocks].slice(-1)) }, spec), 'n1');
    expect(third.block.has('203.0.113.16/28')).toBe(false);
  });

  test('addresses and routes of nodes: a network does not begin on them; one that is in use is closed when two nodes say so', () => {
    const withNodes = (further: string[][], routes: string[][], given = false) => {
      const base = exampleState();
      const nodes = new Map(
        [...base.nodes].map(([name, n], i) => [name, { ...n, further: further[i] ?? [], routes: routes[i] ?? [] }]),
      );
      const block = { cidr: '10.99.0.0/28', node: 'n2', network: 'a/new', given: true as const };
      return { ...base, nodes, blocks: given ? new Map(base.blocks).set(block.cidr, block) : base.blocks };
    };
    const asks = { subnets: ['10.99.0.0/24'] };
    const reasons = (state: ReturnType<typeof exampleState>) => {
      const { conflicts, limited } = inView(state, asks).state;
      return [conflicts?.get('a/new')?.reason, limited?.get('a/new')?.reason];
    };
    for (const [further, routes] of [
      [[['10.99.0.77']], []],
      [[], [['10.99.0.0/24']]],
      [[], [['10.98.0.0/15']]],
      [[], [['10.99.0.64/30']]],
    ]) {
      expect(refusals(withNodes(further ?? [], routes ?? []), asks).join()).toMatch(/(a route|an address) of node n1/);
      expect(reasons(withNodes(further ?? [], routes ?? []))).toEqual(['SubnetConflict', undefined]);
      expect(reasons(withNodes(further ?? [], routes ?? [], true))).toEqual([undefined, 'SubnetConflict']);
      expect(
        reasons(withNodes([...(further ?? []), ...(further ?? [])], [...(routes ?? []), ...(routes ?? [])], true)),
      ).toEqual(['SubnetConflict', undefined]);
    }
    expect(reasons(withNodes([['10.98.0.77']], [['10.99.1.0/24']]))).toEqual([undefined, undefined]);
  });

  test('what agents report is found exactly when it overlaps', () => {
    const prefix = fc
      .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 8, max: 32 }))
      .map(([c, b, length]) => formatPrefix(parsePrefix(`10.${b}.${c}.${c}/${length}`, { loose: true })!));
    fc.assert(
      fc.property(fc.array(fc.array(prefix, { maxLength: 6 }), { maxLength: 4 }), prefix, (all, asked) => {
        const nodes = all.map((routes, i) => ({ name: `n${i}`, further: [], routes }));
        const says = nodes.filter((n) => n.routes.some((r) => overlaps(mustPrefix(r), mustPrefix(asked))));
        const found = new ReportedRanges(nodes).overlapping(mustPrefix(asked));
        expect(found?.nodes.length ?? 0).toBe(Math.min(2, says.length));
        for (const node of found?.nodes ?? []) expect(says.map((n) => n.name)).toContain(node);
      }),
    );
  });

  test('the hosts of the API server', () => {
    const slice = { ...exampleState().slices.get('default/kubernetes')! };
    const slices = new Map([
      ['default/kubernetes', { ...slice, endpoints: slice.endpoints.map((e) => ({ ...e, ip: '10.50.0.10' })) }],
    ]);
    expect(refusals(exampleState({ slices }), { subnets: ['10.50.0.0/24'] }).join()).toContain(
      'the Kubernetes API server',
    );
  });

  test.each([
    ['subnets', { subnets: { pools: 'all' } }],
    ['egress', { egress: { limits: [{ modes: ['Tunnel'] }] } }],
    ['services', { services: { limits: [{ allow: [{ namespace: '' }] }] } }],
    ['apiServerAccess', { apiServerAccess: 'Some' }],
  ])('a part that cannot be read closes itself alone: %s', (part, broken) => {
    const good = {
      subnets: { pools: [{ prefixes: ['10.0.0.0/8'] }] },
      egress: { limits: [{ modes: ['None', 'NAT'] }] },
      services: { limits: [{ allow: [{ namespace: 'kube-system' }] }] },
      apiServerAccess: 'Registered',
    };
    const said = (spec: object) => {
      const { ceilings, apiServerAccess, unreadable } = settingsOf(spec);
      return {
        subnets: ceilings?.subnets.pools.length,
        egress: ceilings?.egress.limits[0]?.modes,
        services: ceilings?.services.limits[0]?.allow.length,
        apiServerAccess,
        unreadable: unreadable?.length,
      };
    };
    const closed = { subnets: 0, egress: ['None'], services: 0, apiServerAccess: 'None' };
    const open = {
      subnets: 1,
      egress: ['None', 'NAT'],
      services: 1,
      apiServerAccess: 'Registered',
      unreadable: undefined,
    };
    expect(said(good)).toEqual(open);
    expect(said({ ...good, ...broken })).toEqual({
      ...open,
      [part]: closed[part as keyof typeof closed],
      unreadable: expect.any(Number),
    });
  });

  test('what is no object at all closes everything', () => {
    const { ceilings, apiServerAccess } = readSettings({ spec: 7 });
    expect([ceilings?.subnets.pools, ceilings?.egress.limits[0]?.modes, apiServerAccess]).toEqual([
      [],
      ['None'],
      'None',
    ]);
  });

  test('unknown fields of a newer version leave the ceilings as they are', () => {
    const newer = settingsOf({ egress: { limits: [{ modes: ['None'] }], tunnels: 5 }, novel: {} });
    expect(newer.ceilings?.egress.limits).toHaveLength(1);
    expect(DEFAULT_CEILINGS.egress).toEqual(bulkheadConfigSpec.parse({}).egress);
  });
});
