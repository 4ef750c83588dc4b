import { describe, expect, test } from 'vitest';
import { exampleNetwork, exampleState } from '../cluster/example.ts';
import type { ClusterState } from '../cluster/state.ts';
import { readSettings } from '../read/objects.ts';
import { policyKey } from '../cluster/policy.ts';
import { parsePolicy } from '../read/policy.ts';
import { viewOf } from '../view/view.ts';
import { decide } from './decide.ts';
import type { Target, Verdict } from './decision.ts';
import { trace } from './trace.ts';

const state = exampleState();
const withEgress: ClusterState = {
  ...state,
  networks: new Map(state.networks).set('a/default', exampleNetwork('a', 'default', 2, { egress: { mode: 'NAT' } })),
};
const withEgressAddress: ClusterState = {
  ...state,
  networks: new Map(state.networks).set('a/default', {
    ...exampleNetwork('a', 'default', 2, { egress: { mode: 'NAT', addresses: ['192.0.2.200'] } }),
    egressNode: 'n2',
  }),
  settings: readSettings({ spec: { egress: { addressPools: [{ prefixes: ['192.0.2.192/27'] }] } } })!,
};
const noEndpoints: ClusterState = { ...state, slices: new Map([...state.slices].filter(([k]) => !k.startsWith('a/'))) };
const local: ClusterState = {
  ...state,
  services: new Map(state.services).set('a/web', { ...state.services.get('a/web')!, internalTrafficPolicy: 'Local' }),
  slices: new Map(state.slices).set('a/web-ipv4', {
    ...state.slices.get('a/web-ipv4')!,
    endpoints: state.slices.get('a/web-ipv4')!.endpoints.filter((e) => e.node === 'n1'),
  }),
};

const tcp = (address: string, port: number): Target => ({ address, port, protocol: 'TCP' });
const ping = (address: string): Target => ({ address, port: 0, protocol: 'ICMP' });
type Row = readonly [name: string, from: string, to: Target, verdict: Verdict, why: RegExp, state?: ClusterState];

const RAW: Row[] = [
  ['itself', 'a/p1', tcp('10.244.1.5', 8080), 'open', /itself/],
  ['same network, other node', 'a/p1', tcp('10.244.2.5', 8080), 'open', /both pods are on network a\/default/],
  [
    'other network',
    'a/p1',
    tcp('10.244.1.21', 8080),
    'rejected',
    /network a\/default lets nothing out to network b\/default/,
  ],
  ['flat from isolated', 'a/p1', ping('10.244.2.37'), 'rejected', /lets nothing out to the flat network/],
  [
    'isolated from flat',
    'flat/p1',
    ping('10.244.2.5'),
    'rejected',
    /network a\/default lets nothing in from the flat network/,
  ],
  ['flat to flat', 'flat/p1', ping('10.244.2.37'), 'open', /both pods are on the flat network/],
  ['own Service', 'a/p1', tcp('10.96.1.1', 80), 'open', /Service a\/web is on network a\/default/],
  ["another's Service", 'a/p1', tcp('10.96.1.2', 80), 'rejected', /does not exist on network a\/default/],
  ['a flat Service that is not allowed', 'a/p1', tcp('10.96.1.3', 80), 'rejected', /does not exist/],
  [
    'an isolated Service from the flat network',
    'flat/p1',
    tcp('10.96.1.1', 80),
    'rejected',
    /lets nothing in from the flat network/,
  ],
  [
    'a node by an address of its pod CIDR, from the flat network',
    'flat/p1',
    ping('10.244.2.0'),
    'open',
    /reaches nodes/,
  ],
  ['the source of its probes', 'flat/p1', tcp('10.244.2.1', 10_250), 'open', /reaches nodes/],
  ['an address of a pod CIDR that no node has', 'flat/p1', ping('10.244.2.2'), 'rejected', /is not in use/],
  [
    'a node by an address of its pod CIDR, from a network',
    'a/p1',
    ping('10.244.2.0'),
    'rejected',
    /does not reach nodes/,
  ],
  [
    'a fixed egress address, on its node',
    'a/p1',
    ping('192.0.2.200'),
    'rejected',
    /does not reach nodes/,
    withEgressAddress,
  ],
  ['the same from the flat network', 'flat/p1', ping('192.0.2.200'), 'open', /reaches nodes/, withEgressAddress],
  ['the API', 'a/p1', tcp('10.96.0.1', 443), 'open', /allows Service default\/kubernetes/],
  ['the API, directly', 'a/p1', tcp('192.0.2.2', 6443), 'rejected', /egress.mode None/],
  [
    'DNS has no endpoint here',
    'a/p1',
    { address: '10.96.0.10', port: 53, protocol: 'UDP' },
    'rejected',
    /no ready endpoint/,
  ],
  ['a port that the Service does not have', 'a/p1', tcp('10.96.1.1', 81), 'rejected', /has no port 81/],
  ['no endpoints', 'a/p1', tcp('10.96.1.1', 80), 'rejected', /no ready endpoint/, noEndpoints],
  ['local endpoints only, here', 'a/p1', tcp('10.96.1.1', 80), 'open', /./, local],
  [
    'local endpoints only, elsewhere',
    'a/p2',
    tcp('10.96.1.1', 80),
    'rejected',
    /internalTrafficPolicy is Local/,
    local,
  ],
  ['a node from isolated', 'a/p1', tcp('192.0.2.11', 10250), 'rejected', /does not reach nodes/],
  ['a node from flat', 'flat/p1', tcp('192.0.2.11', 10250), 'open', /./],
  ['an unused pod address', 'a/p1', ping('10.244.9.9'), 'rejected', /pod address/],
  ['an unused Service address', 'a/p1', tcp('10.96.77.77', 80), 'rejected', /Service address/],
  ['link-local', 'a/p1', tcp('169.254.169.254', 80), 'rejected', /link-local/],
  ['outside, no egress', 'a/p1', tcp('203.0.113.10', 80), 'rejected', /egress.mode None/],
  ['outside, NAT', 'a/p1', tcp('203.0.113.10', 80), 'open', /egress.mode NAT/, withEgress],
  ['NAT does not open the cluster', 'a/p1', tcp('10.244.1.37', 8080), 'rejected', /lets nothing out/, withEgress],
  ['NAT does not open nodes', 'a/p1', tcp('192.0.2.12', 22), 'rejected', /nodes/, withEgress],
  ['outside from flat', 'flat/p1', tcp('203.0.113.10', 80), 'open', /./],
];

const ROWS = RAW.map(([name, from, to, verdict, why, at = state]) => ({ name, from, to, verdict, why, at }));

test("the sender's policies are asked before a gate refuses the address of another network's Service", () => {
  const policy = parsePolicy({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: 'a', name: 'no-egress' },
    spec: { podSelector: {}, policyTypes: ['Egress'] },
  })!;
  const from = state.pods.get('a/p1')!;
  const foreign = tcp('10.96.1.2', 80);
  expect(decide(viewOf(state), from, foreign)).toMatchObject({ verdict: 'rejected', decidedBy: 'service map' });
  const policed = { ...state, policies: new Map([[policyKey(policy), policy]]) };
  expect(decide(viewOf(policed), from, foreign)).toMatchObject({ verdict: 'closed', decidedBy: 'egress policy' });
});

test('with externalTrafficPolicy Local a gate sees the flat pod itself behind an outer address', () => {
  const outer = (externalTrafficPolicy: 'Cluster' | 'Local'): Verdict => {
    const web = { ...state.services.get('a/web')!, externalTrafficPolicy, frontends: [{ ip: '198.51.100.9' }] };
    const view = viewOf({ ...state, services: new Map(state.services).set('a/web', web) });
    return decide(view, state.pods.get('flat/p1')!, tcp('198.51.100.9', 80)).verdict;
  };
  expect([outer('Cluster'), outer('Local')]).toEqual(['open', 'rejected']);
});

describe('decide', () => {
  test.each(ROWS)('$name', ({ from, to, verdict, why, at }) => {
    const decision = decide(viewOf(at), at.pods.get(from)!, to);
    expect(decision.verdict).toBe(verdict);
    expect(decision.why).toMatch(why);
  });

  test.each(ROWS)(
    '$name: the trace ends as the decision says, and names who decides',
    ({ from, to, verdict, why, at }) => {
      const told = trace(viewOf(at), at.pods.get(from)!, to);
      expect(told.verdict).toBe(verdict);
      expect(told.why).toMatch(why);
      expect(told.steps.length).toBeGreaterThan(1);
      expect(told.steps.every((s) => s.where !== '' && s.what !== '' && s.by !== '')).toBe(true);
      if (verdict !== 'open') expect(told.steps.at(-1)?.what).toContain(told.why);
    },
  );
});
