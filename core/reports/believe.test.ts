import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FLAT_NETWORK } from '../../api/names.ts';
import { emptyNodeConfig, type NodeConfig } from '../../api/nodeconfig.ts';
import { nodeReport, type NodeReport } from '../../api/report.ts';
import { contains, covers, mustPrefix, parsePrefix } from '../../lib/ip/prefix.ts';
import { parseIp } from '../../lib/ip/address.ts';
import { exampleNetwork, examplePod, exampleState } from '../cluster/example.ts';
import type { ClusterState, Pod } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { compile, diffConfig } from '../node-config/compile.ts';
import { attachedBy } from './attached.ts';
import { believeReports, type Evidence, noEvidence } from './believe.ts';

// Namespaces a and b are isolated; "secret" has pods on n2 only. n1's token is the attacker's.

function cluster(change: Partial<ClusterState> = {}): ClusterState {
  const base = exampleState(change);
  const secret = examplePod('secret', 'vault', 2, 200);
  return {
    ...base,
    namespaces: new Map(base.namespaces).set('secret', {
      name: 'secret',
      uid: 'secret',
      labels: { 'bulkhead.dev/isolated': 'true' },
      annotations: {},
      deleting: false,
    }),
    networks: new Map(base.networks).set('secret/default', exampleNetwork('secret', 'default', 9)).set('secret/own', {
      ...exampleNetwork('secret', 'own', 10),
      spec: { ...spec(base), subnets: ['10.77.0.0/16'] },
    }),
    pods: new Map(base.pods).set('secret/vault', secret),
    blocks: new Map(),
    attached: new Map(),
  };
}
const spec = (s: ClusterState) => [...s.networks.values()].find((n) => n.spec)!.spec!;
const STORED = [
  { cidr: '10.244.2.192/28', node: 'n2', network: 'secret/default' },
  { cidr: '10.77.0.0/26', node: 'n2', network: 'secret/own', given: true as const },
  { cidr: '10.77.0.64/26', node: 'n1', network: 'secret/own', given: true as const },
];
const report = (fields: Partial<Record<keyof NodeReport, unknown>> = {}, node = 'n1'): NodeReport =>
  nodeReport.parse({ node, revision: 1, blocks: [], endpoints: [], faults: [], ...fields });
const block = (cidr: string, network: string, given = false) => ({ cidr, network, used: 1, free: 2, given });
const endpoint = (pod: Pod | undefined, network: string, ips: readonly string[], fields: object = {}) => ({
  namespace: pod?.namespace ?? 'x',
  pod: pod?.name ?? 'x',
  uid: pod?.uid ?? 'nobody',
  network,
  ips,
  ...fields,
});

function believe(
  state: ClusterState,
  reports: readonly NodeReport[],
  {
    stored = STORED,
    evidence = noEvidence,
    now = 0,
  }: { stored?: typeof STORED; evidence?: Evidence; now?: number } = {},
) {
  const believed = believeReports(state, new Map(reports.map((r) => [r.node, r])), { stored, evidence, now });
  const view = viewOf({ ...state, ...attachedBy(believed.reports, { stored, pods: state.pods.values() }) });
  const reasons = believed.refused.map((r) => r.reason);
  return { ...believed, view, reasons, n1: believed.reports.get('n1')! };
}
const pods = (s: ClusterState, node: string): Pod[] => [...s.pods.values()].filter((p) => p.node === node);
/** Every byte of a node's stream. */
const stream = (config: NodeConfig): string => JSON.stringify(diffConfig(emptyNodeConfig(), config));

describe('what the token of n1 says', () => {
  const state = cluster();
  const [mine] = pods(state, 'n1').filter((p) => p.namespace === 'a');
  const vault = state.pods.get('secret/vault');

  test('of its own pods and blocks is taken', () => {
    const { n1, reasons, view } = believe(state, [
      report({
        blocks: [block('10.244.1.0/28', 'a/default'), block('10.244.1.16/28', FLAT_NETWORK)],
        endpoints: [endpoint(mine, 'a/default', ['10.244.1.5'])],
        faults: [{ network: 'a/default', message: 'x' }],
      }),
    ]);
    expect(reasons).toEqual([]);
    expect([n1.blocks.length, n1.endpoints.length, n1.faults.length]).toEqual([2, 1, 1]);
    expect(view.state.attached.get(mine!.uid)).toBe('a/default');
  });

  test.each([
    ['a block of another node', { blocks: [block('10.244.2.16/28', 'a/default')] }, 'BlockNotOfNode'],
    ['a block of a foreign network', { blocks: [block('10.244.1.32/28', 'secret/default')] }, 'NetworkNotOnNode'],
    ['a whole range', { blocks: [block('0.0.0.0/0', 'a/default')] }, 'BlockNotOfNode'],
    ['a block that another node was given', { blocks: [block('10.77.0.0/26', 'secret/own', true)] }, 'BlockNotGiven'],
    ['a part of it', { blocks: [block('10.77.0.8/29', 'secret/own', true)] }, 'BlockNotGiven'],
    [
      'a block that the controller assigned to no node',
      { blocks: [block('10.77.9.0/26', 'secret/own', true)] },
      'BlockNotGiven',
    ],
    ['no prefix', { blocks: [block('x', 'a/default')] }, 'Unreadable'],
    ['a pod of another node', { endpoints: [endpoint(vault, FLAT_NETWORK, ['10.244.1.40'])] }, 'PodNotOnNode'],
    ['an own pod on a foreign network', { endpoints: [endpoint(mine, 'secret/default', [])] }, 'NetworkNotOnNode'],
    ['an isolated pod on the flat network', { endpoints: [endpoint(mine, FLAT_NETWORK, [])] }, 'NetworkNotOnNode'],
    [
      "an own pod with another node's address",
      { endpoints: [endpoint(mine, 'a/default', ['10.244.2.197'])] },
      'AddressNotInBlock',
    ],
    ['the return of a foreign block', { returned: ['10.77.0.0/26'] }, 'BlockNotGiven'],
    ['the return of what the controller assigned to no node', { returned: ['10.77.0.0/16'] }, 'BlockNotGiven'],
  ] as const)('of %s is not', (_name, fields, reason) => {
    const { n1, reasons, view } = believe(state, [report(fields)]);
    expect(reasons).toEqual([reason]);
    expect([n1.blocks, n1.endpoints, n1.returned]).toEqual([[], [], []]);
    expect(stream(compile(view, 'n1'))).toBe(stream(compile(believe(state, [report()]).view, 'n1')));
    expect(stream(compile(view, 'n2'))).toBe(stream(compile(believe(state, [report()]).view, 'n2')));
  });

  test('of a fault of a foreign network is not', () => {
    expect(believe(state, [report({ faults: [{ network: 'secret/default', message: 'x' }] })]).n1.faults).toEqual([]);
  });

  test('of its assigned block and of its return is taken, from the first report on', () => {
    const { n1, reasons } = believe(state, [
      report({ blocks: [block('10.77.0.64/26', 'secret/own', true)], returned: ['10.77.0.64/26'] }),
    ]);
    expect([n1.blocks.length, n1.returned, reasons]).toEqual([1, ['10.77.0.64/26'], []]);
  });

  test('counts no more addresses than a block has', () => {
    const { n1 } = believe(state, [
      report({ blocks: [{ ...block('10.244.1.0/28', 'a/default'), used: 1e15, free: 1e15 }] }),
    ]);
    expect(n1.blocks).toMatchObject([{ used: 16, free: 0 }]);
  });

  test('two nodes that claim one pod: the API decides', () => {
    const forged = endpoint(vault, FLAT_NETWORK, []);
    const right = endpoint(vault, 'secret/default', ['10.244.2.200']);
    for (const order of [
      [report({ endpoints: [forged] }), report({ endpoints: [right] }, 'n2')],
      [report({ endpoints: [right] }, 'n2'), report({ endpoints: [forged] })],
    ])
      expect(believe(state, order).view.state.attached.get(vault!.uid)).toBe('secret/default');
  });
});

describe('what is true waits, and stays', () => {
  const early = cluster();
  const late = examplePod('secret', 'late', 1, 60);
  const seen = { ...early, pods: new Map(early.pods).set('secret/late', late) };
  const claims = report({
    blocks: [block('10.244.1.48/28', 'secret/default')],
    endpoints: [endpoint(late, 'secret/default', ['10.244.1.60'])],
  });

  test('a pod that no watch has shown counts as soon as one shows it, without another report', () => {
    const before = believe(early, [claims]);
    expect([before.n1.blocks, before.n1.endpoints]).toEqual([[], []]);
    const after = believe(seen, [claims], before);
    expect([after.n1.blocks.length, after.n1.endpoints.length]).toEqual([1, 1]);
  });

  test('a pod keeps its network while its annotation changes', () => {
    const before = believe(seen, [claims]);
    const moved = { ...late, annotations: { 'bulkhead.dev/network': 'secret/own' } };
    const changed = { ...seen, pods: new Map(seen.pods).set('secret/late', moved) };
    const after = believe(changed, [claims], before);
    expect(after.view.state.attached.get(late.uid)).toBe('secret/default');
    expect(after.n1.blocks.length).toBe(1);
  });

  test('also across a change of controllers: the AddressBlock and the status of the pod bear it out', () => {
    const moved = { ...late, annotations: { 'bulkhead.dev/network': 'secret/own' }, ips: ['10.244.1.60'] };
    const changed = { ...seen, pods: new Map(seen.pods).set('secret/late', moved) };
    const stored = [...STORED, { cidr: '10.244.1.48/28', node: 'n1', network: 'secret/default' }];
    expect(believe(changed, [claims], { stored }).n1.endpoints.length).toBe(1);
    expect(believe(changed, [claims]).n1.endpoints).toEqual([]);
  });

  test('a block outlives its last pod for a while, not for ever; and saying it again does not help', () => {
    const before = believe(seen, [claims]);
    const gone = believe(early, [claims], { ...before, now: 60_000 });
    expect(gone.n1.blocks.length).toBe(1);
    const over = believe(early, [claims], { ...gone, now: 700_000 });
    expect(over.n1.blocks).toEqual([]);
    const stored = [...STORED, { cidr: '10.244.1.48/28', node: 'n1', network: 'secret/default' }];
    const again = believe(early, [report()], { ...gone, stored, now: 700_001 });
    expect(believe(early, [claims], { ...again, stored, now: 700_002 }).n1.blocks).toEqual([]);
  });

  test('an assigned block whose object a user deleted stays assigned', () => {
    const used = report({ blocks: [block('10.77.0.64/26', 'secret/own', true)] });
    const before = believe(seen, [used]);
    const rest = STORED.slice(0, 2);
    expect(believe(seen, [used], { ...before, stored: rest }).n1.blocks.length).toBe(1);
    expect(believe(seen, [used], { stored: rest }).n1.blocks).toEqual([]);
    const pod = { ...late, ips: ['10.77.0.70'] };
    const live = { ...seen, pods: new Map(seen.pods).set('secret/late', pod) };
    expect(believe(live, [used], { stored: rest }).n1.blocks.length).toBe(1);
  });
});

test('random reports of n1 change nothing of what n2 is told but what is n1 own, and draw no network to n1', () => {
  const state = cluster();
  const uids = [...state.pods.values()].map((p) => p.uid);
  const networks = fc.constantFrom(...state.networks.keys(), FLAT_NETWORK, 'no/such');
  const cidr = fc.oneof(
    fc.constantFrom(
      '10.244.1.0/28',
      '10.244.1.48/28',
      '10.244.1.0/24',
      '10.244.2.192/28',
      '10.244.2.0/24',
      '10.77.0.0/26',
    ),
    fc.constantFrom(
      '10.77.0.64/26',
      '10.77.1.0/26',
      '10.0.0.0/8',
      '0.0.0.0/0',
      '::/0',
      'fd00:10:244:1::/120',
      'fd00:10:244:2::/120',
      'x',
    ),
    fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([a, l]) => `${a}/${l}`),
  );
  const ip = fc.oneof(
    fc.constantFrom('10.244.1.5', '10.244.1.60', '10.244.2.200', '192.0.2.12', 'fd00:10:244:2::5', 'x'),
    fc.ipV4(),
  );
  const anyReport = fc.record({
    blocks: fc.array(fc.record({ cidr, network: networks, used: fc.nat(), free: fc.nat(), given: fc.boolean() }), {
      maxLength: 6,
    }),
    returned: fc.array(cidr, { maxLength: 3 }),
    endpoints: fc.array(
      fc.record({
        namespace: fc.constantFrom('a', 'b', 'secret', 'flat'),
        pod: fc.constantFrom('p1', 'p2', 'vault'),
        uid: fc.constantFrom(...uids, '', 'none'),
        network: networks,
        ips: fc.array(ip, { maxLength: 2 }),
        ifname: fc.constantFrom('eth0', 'net1'),
        extra: fc.boolean(),
      }),
      { maxLength: 6 },
    ),
    faults: fc.array(fc.record({ network: networks, message: fc.string() }), { maxLength: 2 }),
    multus: fc.boolean(),
  });
  const cidrs = state.nodes.get('n1')!.podCIDRs.map(mustPrefix);
  const isOwn = (text: string): boolean => {
    const prefix = parsePrefix(text);
    const address = parseIp(text);
    return cidrs.some((c) => (prefix && covers(c, prefix)) || (address && contains(c, address)));
  };
  const told = (
    reports: readonly NodeReport[],
    evidence: Evidence,
  ): { n1: NodeConfig; n2: NodeConfig; evidence: Evidence } => {
    const { view, evidence: next } = believe(state, reports, { evidence });
    return { n1: compile(view, 'n1'), n2: compile(view, 'n2'), evidence: next };
  };
  const theirs = (config: NodeConfig): string =>
    stream({
      ...config,
      block: new Map([...config.block].filter(([c]) => !isOwn(c))),
      group: new Map([...config.group].map(([k, g]) => [k, { ...g, addresses: g.addresses.filter((x) => !isOwn(x)) }])),
    });
  const n2 = report({ blocks: [block('10.244.2.192/28', 'secret/default')] }, 'n2');
  const honest = told([report(), n2], noEvidence);
  const allowed = new Set(['a/default', 'b/default']);
  for (const p of pods(state, 'n1')) allowed.add(`${p.namespace}/default`);
  fc.assert(
    fc.property(fc.array(anyReport, { minLength: 1, maxLength: 3 }), (said) => {
      let evidence = noEvidence;
      for (const fields of said) {
        const parsed = nodeReport.safeParse({ node: 'n1', revision: 1, ...fields });
        if (!parsed.success) continue;
        const now = told([parsed.data, n2], evidence);
        ({ evidence } = now);
        expect(theirs(now.n2)).toBe(theirs(honest.n2));
        for (const network of now.n1.network.keys()) expect([...allowed, 'secret/own']).toContain(network);
        expect(stream(now.n1)).not.toContain('secret/default');
        for (const [key, item] of now.n1.pod) expect(item).toEqual(honest.n1.pod.get(key));
      }
    }),
    { numRuns: 500 },
  );
});
