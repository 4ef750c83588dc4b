import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DEFAULT_NETWORK_NAME } from '../../api/names.ts';
import { NAMESPACES, runningPods } from '../../test/policy/world.ts';
import { randomPolicies } from '../../test/policy/random.ts';
import { keyOf } from '../cluster/state.ts';
import type { Raw } from '../read/objects.ts';
import { emptyObjects, READERS, stateFromObjects } from '../view/from-objects.ts';
import { type View, viewOf } from '../view/view.ts';
import { decideByNetworks } from './by-networks.ts';
import { decide, decideFrom, type Source } from './decide.ts';
import type { Target } from './decision.ts';
import { explain, explainPorts } from './explain.ts';
import { expectedReach } from './reach.ts';
import { traceFrom } from './trace-from.ts';

// Any world: networks, routers, Services of every kind, host ports, policies. explain, trace, reach and decide are asked the same
// questions, and what the networks alone say (by-networks, which knows no policy) bounds them. Packets: test/system/one-answer.test.ts.

type World = typeof world extends fc.Arbitrary<infer T> ? T : never;
const world = fc.record({
  isolated: fc.subarray([...NAMESPACES]),
  egress: fc.constantFrom('None', 'NAT'),
  services: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer'),
  external: fc.constantFrom('Cluster', 'Local'),
  access: fc.constantFrom('All', 'External'),
  connected: fc.boolean(),
  hostPort: fc.boolean(),
  policies: fc.oneof(fc.constant([]), randomPolicies),
});

const meta = (namespace: string, name: string, rest: object = {}): object => ({
  namespace,
  name,
  uid: `${namespace}/${name}`,
  ...rest,
});

/** Objects of the API, as the controller and the command line read them. */
function viewOfWorld(w: World): View {
  const maps = emptyObjects();
  const put = (kind: keyof typeof READERS, raw: Raw): void => {
    const { namespace, name } = raw['metadata'] as { namespace?: string; name: string };
    const value = READERS[kind](raw);
    if (value !== undefined)
      (maps[kind] as Map<string, unknown>).set(namespace === undefined ? name : `${namespace}/${name}`, value);
  };
  for (const n of [1, 2])
    put('nodes', {
      metadata: { name: `n${n}`, uid: `n${n}` },
      spec: { podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`] },
      status: { addresses: [`192.0.2.1${n}`, `2001:db8:2::1${n}`].map((address) => ({ type: 'InternalIP', address })) },
    });
  for (const pod of runningPods()) put('pods', withHostPort(pod, w));
  for (const [i, ns] of NAMESPACES.entries()) {
    const isolated = w.isolated.includes(ns);
    put('namespaces', {
      metadata: { name: ns, labels: { ns, ...(isolated ? { 'bulkhead.dev/isolated': 'true' } : {}) } },
    });
    if (isolated)
      put('virtualNetworks', {
        metadata: meta(ns, DEFAULT_NETWORK_NAME),
        spec: { egress: { mode: w.egress }, services: { nodePortAccess: w.access } },
        status: { vni: i + 2 },
      });
    if (isolated && w.connected)
      put('virtualNetworkRouters', {
        metadata: meta(ns, 'r'),
        spec: { type: 'Mesh', virtualNetworks: [DEFAULT_NETWORK_NAME], import: [{ namespaceSelector: {} }] },
      });
    putService(put, w, ns, i);
  }
  for (const p of w.policies) put(p['kind'] === 'NetworkPolicy' ? 'networkPolicies' : 'clusterNetworkPolicies', p);
  return viewOf(
    stateFromObjects(maps, {
      podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
      serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'],
    }),
  );
}

function withHostPort(pod: Raw, { hostPort }: World): Raw {
  const { name } = pod['metadata'] as { name: string };
  if (!hostPort || name !== 'c') return pod;
  const spec = pod['spec'] as { containers: { ports: object[] }[] };
  const containers = spec.containers.map((c) => ({
    ...c,
    ports: [...c.ports, { containerPort: 82, hostPort: 8_181 }],
  }));
  return { ...pod, spec: { ...spec, containers } };
}

function putService(put: (kind: keyof typeof READERS, raw: Raw) => void, w: World, ns: string, i: number): void {
  const addresses = { 4: [`10.244.2.${16 * (i + 1) + 1}`], 6: [`fd00:10:244:2::${(16 * (i + 1) + 1).toString(16)}`] };
  put('services', {
    metadata: meta(ns, 's'),
    spec: {
      type: w.services,
      clusterIPs: [`10.96.1.${i + 1}`, `fd00:10:96::10${i + 1}`],
      externalTrafficPolicy: w.external,
      ports: [{ name: 'h', port: 8_000, protocol: 'TCP', nodePort: 30_080 + i }],
    },
    ...(w.services === 'LoadBalancer'
      ? { status: { loadBalancer: { ingress: [{ ip: `198.51.100.${i + 1}` }] } } }
      : {}),
  });
  for (const family of [4, 6] as const)
    put('endpointSlices', {
      metadata: meta(ns, `s-${family}`, { labels: { 'kubernetes.io/service-name': 's' } }),
      addressType: `IPv${family}`,
      ports: [{ name: 'h', port: 80, protocol: 'TCP' }],
      endpoints: addresses[family].map((ip) => ({
        addresses: [ip],
        nodeName: 'n2',
        targetRef: { kind: 'Pod', namespace: ns, name: 'b' },
      })),
    });
}

const address = fc.constantFrom(
  ...NAMESPACES.flatMap((_, i) => [`10.96.1.${i + 1}`, `fd00:10:96::10${i + 1}`, `198.51.100.${i + 1}`]),
  ...NAMESPACES.flatMap((_, i) => [1, 2].map((n) => `10.244.${n}.${16 * (i + 1) + n - 1}`)),
  ...['192.0.2.11', '2001:db8:2::12', '10.244.1.0', '10.244.2.1', '10.244.9.9', '169.254.20.10'],
  ...['203.0.113.10', '2001:db8::10', '10.96.9.9'],
);
const target = fc.record({
  address,
  port: fc.oneof(
    fc.constantFrom(80, 81, 82, 443, 8_000, 8_181, 30_080, 30_081, 30_082),
    fc.integer({ min: 1, max: 65_535 }),
  ),
  protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
}) satisfies fc.Arbitrary<Target>;
const sender = fc.oneof(
  fc.record({ ns: fc.constantFrom(...NAMESPACES), name: fc.constantFrom('a', 'b', 'c') }),
  fc.constantFrom('n1', 'n2', 'outside'),
);

function sourceOf(view: View, from: typeof sender extends fc.Arbitrary<infer T> ? T : never, v6: boolean): Source {
  if (from === 'outside') return { kind: 'Outside', ip: v6 ? '2001:db8::10' : '203.0.113.10' };
  if (typeof from === 'string') return { kind: 'Node', node: from, ips: view.state.nodes.get(from)?.addresses ?? [] };
  return { kind: 'Pod', pod: view.state.pods.get(`${from.ns}/${from.name}`)! };
}

test('explain, trace and decide say the same of any pair, policies only close, and ports between say what their piece says', () => {
  fc.assert(
    fc.property(world, fc.array(fc.tuple(sender, target), { minLength: 5, maxLength: 30 }), (w, pairs) => {
      const view = viewOfWorld(w);
      for (const [who, to] of pairs) {
        const from = sourceOf(view, who, to.address.includes(':'));
        const decision = decideFrom(view, from, to);
        const explained = explain(view, from, to);
        const traced = traceFrom(view, from, to);
        const question = JSON.stringify([who, to]);
        expect([question, explained.verdict]).toEqual([question, decision.verdict === 'open' ? 'Accept' : 'Deny']);
        expect([question, traced.verdict, traced.why]).toEqual([question, decision.verdict, decision.why]);
        if (decision.verdict !== 'open') expect(traced.steps.at(-1)?.what).toContain(decision.why);
        // What is accepted is accepted somewhere, and what policies deny has a step that denies.
        if (decision.verdict === 'open' && explained.places.length > 0)
          expect([question, explained.places.some((p) => p.verdict === 'Accept')]).toEqual([question, true]);
        if (decision.decidedBy === 'egress policy' || decision.decidedBy === 'ingress policy')
          expect([question, explained.places.every((p) => p.verdict === 'Deny')]).toEqual([question, true]);
        if (from.kind === 'Pod') {
          const networks = decideByNetworks(view, from.pod, to);
          if (networks.verdict !== 'open') expect([question, decision.verdict]).not.toEqual([question, 'open']);
          if (w.policies.length === 0) expect([question, decision.verdict]).toEqual([question, networks.verdict]);
        }
        const piece = explainPorts(view, from, to.address).find(
          (p) => p.protocol === to.protocol && p.first <= to.port && to.port <= p.last,
        );
        expect([question, piece?.verdict]).toEqual([question, explained.verdict]);
      }
    }),
    { numRuns: 150 },
  );
}, 120_000);

test('reach expects what decide says, of every question that it asks', () => {
  fc.assert(
    fc.property(world, (w) => {
      const view = viewOfWorld(w);
      const asked = expectedReach(view, { nodePort: 30_080, outside: [] });
      expect(asked.length).toBeGreaterThan(100);
      for (const { from, to, expected } of asked)
        expect([keyOf(from), to, expected]).toEqual([keyOf(from), to, decide(view, from, to).verdict]);
    }),
    { numRuns: 20 },
  );
}, 120_000);
