import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exampleState } from '../core/cluster/example.ts';
import { readEndpointSlice, readService } from '../core/read/objects.ts';
import { viewOf } from '../core/view/view.ts';
import { serviceItem } from '../core/services/backends.ts';
import { usableBackends } from '../core/services/usable.ts';
import { planService } from '../dataplane/plan/services.ts';
import { proxyProgram } from '../lab/node/proxy.ts';
import type { KubeObject } from '../lib/kube/client.ts';
import type { NftObject } from '../lib/nft/program.ts';
import {
  type Conditions,
  type Endpoint,
  endpointsAt,
  type FrontendKind,
  policyFor,
  type TrafficPolicy,
  usefulness,
} from '../lib/servicenat/endpoints.ts';

// Which endpoints of a Service a node uses, against the documented rules of kube-proxy: KEP-1669 (terminating endpoints), KEP-2086
// (internal traffic policy), KEP-2433 and KEP-4444 (topology hints, traffic distribution), and the short-cut of
// externalTrafficPolicy for clients of the node itself. The oracle asks of one endpoint at a time, so that it reads like the rules.

type Sample = Conditions & {
  readonly local: boolean;
  readonly zones: readonly string[];
  readonly nodes: readonly string[];
};
type Policies = { readonly internalTrafficPolicy: TrafficPolicy; readonly externalTrafficPolicy: TrafficPolicy };
type Client = 'inside' | 'outside';

const HERE = { node: 'n1', zone: 'z1' };
const FRONTENDS: readonly FrontendKind[] = ['ClusterIP', 'ExternalIP', 'LoadBalancerIP', 'NodePort'];
const POLICIES: readonly TrafficPolicy[] = ['Cluster', 'Local'];
const CLIENTS: readonly Client[] = ['inside', 'outside'];
const BOOLEANS = [true, false] as const;
const HINTS = [
  { zones: [], nodes: [] },
  { zones: ['z1'], nodes: [] },
  { zones: ['z2'], nodes: [] },
  { zones: ['z1', 'z2'], nodes: [] },
  { zones: ['z1'], nodes: ['n1'] },
  { zones: ['z1'], nodes: ['n2'] },
  { zones: ['z2'], nodes: ['n1'] },
  { zones: [], nodes: ['n2'] },
] as const;

const SAMPLES: readonly Sample[] = BOOLEANS.flatMap((ready) =>
  BOOLEANS.flatMap((serving) =>
    BOOLEANS.flatMap((terminating) =>
      BOOLEANS.flatMap((local) => HINTS.map((h) => ({ ready, serving, terminating, local, ...h }))),
    ),
  ),
);

/** Whether the rules let a client reach this one of all endpoints of the port. */
function mayAnswer(
  one: Sample,
  all: readonly Sample[],
  policies: Policies,
  frontend: FrontendKind,
  from: Client,
  place = HERE,
): boolean {
  const local =
    frontend === 'ClusterIP'
      ? policies.internalTrafficPolicy === 'Local'
      : policies.externalTrafficPolicy === 'Local' && from === 'outside';
  if (local && !one.local) return false;
  const rivals = local ? all.filter((e) => e.local) : all;
  if (!rivals.some((e) => e.ready)) return one.serving && one.terminating;
  if (!one.ready) return false;
  if (local) return true; // hints are not for Local
  const ready = all.filter((e) => e.ready);
  if (ready.every((e) => e.nodes.length > 0) && ready.some((e) => e.nodes.includes(place.node)))
    return one.nodes.includes(place.node);
  if (place.zone !== '' && ready.every((e) => e.zones.length > 0) && ready.some((e) => e.zones.includes(place.zone)))
    return one.zones.includes(place.zone);
  return true;
}

const endpointOf = (s: Sample): Endpoint & { readonly sample: Sample } => ({
  sample: s,
  node: s.local ? 'n1' : 'n2',
  ...(usefulness(s) === 'Ending' ? { ending: true as const } : {}),
  zones: s.zones,
  nodes: s.nodes,
});

describe('endpoints that a node uses, as kube-proxy does', () => {
  test.each(
    POLICIES.flatMap((internalTrafficPolicy) =>
      POLICIES.map((externalTrafficPolicy) => ({ internalTrafficPolicy, externalTrafficPolicy })),
    ),
  )('every pair of endpoints, internal $internalTrafficPolicy, external $externalTrafficPolicy', (policies) => {
    const wrong: unknown[] = [];
    for (const zone of ['z1', ''])
      for (const [i, a] of SAMPLES.entries())
        for (const b of SAMPLES.slice(i))
          for (const frontend of FRONTENDS)
            for (const from of CLIENTS) {
              const all = [a, b];
              const place = { node: 'n1', zone };
              const useful = all.filter((s) => usefulness(s) !== undefined).map(endpointOf);
              const chosen = endpointsAt(useful, policyFor(policies, frontend, from), place).map((e) => e.sample);
              const expected = all.filter((s) => mayAnswer(s, all, policies, frontend, from, place));
              if (chosen.length !== expected.length || chosen.some((s) => !expected.includes(s)))
                wrong.push({ place, all, frontend, from, chosen, expected });
            }
    expect(wrong.slice(0, 3)).toEqual([]);
  });

  test.each([4, 6] as const)('controller, agent and the proxy of the lab, by generation (IPv%s)', (family) => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...SAMPLES), { maxLength: 5 }),
        fc.constantFrom(...POLICIES),
        fc.constantFrom(...POLICIES),
        fc.boolean(),
        (all, internalTrafficPolicy, externalTrafficPolicy, affinity) => {
          const policies = { internalTrafficPolicy, externalTrafficPolicy };
          const world = worldOf(all, policies, family, affinity);
          for (const frontend of FRONTENDS)
            for (const from of CLIENTS) {
              const expected = all.flatMap((s, i) =>
                mayAnswer(s, all, policies, frontend, from) ? [addressOf(i, family)] : [],
              );
              const answers = world.answers(frontend, from);
              for (const [who, found] of Object.entries(answers))
                expect({ who, frontend, from, found: found.sort() }).toEqual({
                  who,
                  frontend,
                  from,
                  found: expected.sort(),
                });
            }
        },
      ),
      { numRuns: 150 },
    );
  });
});

const addressOf = (i: number, family: 4 | 6): string =>
  family === 4 ? `198.51.100.${i + 1}` : `2001:db8:51::${i + 1}`;
const DIALLED = {
  4: { ClusterIP: '10.96.7.7', ExternalIP: '203.0.113.7', LoadBalancerIP: '203.0.113.8', NodePort: '192.0.2.11' },
  6: {
    ClusterIP: 'fd00:10:96::7',
    ExternalIP: '2001:db8:7::7',
    LoadBalancerIP: '2001:db8:7::8',
    NodePort: '2001:db8:2::11',
  },
} as const;

/** The same Service as the API server has it, through each program that chooses. */
function worldOf(all: readonly Sample[], policies: Policies, family: 4 | 6, affinity: boolean) {
  const dialled = DIALLED[family];
  const service: KubeObject = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'x', namespace: 'a' },
    spec: {
      type: 'LoadBalancer',
      clusterIP: dialled.ClusterIP,
      clusterIPs: [dialled.ClusterIP],
      externalIPs: [dialled.ExternalIP],
      ports: [{ port: 80, nodePort: 30_080, protocol: 'TCP' }],
      ...policies,
      ...(affinity ? { sessionAffinity: 'ClientIP' } : {}),
    },
    status: { loadBalancer: { ingress: [{ ip: dialled.LoadBalancerIP }] } },
  };
  const hints = (names: readonly string[]) => names.map((name) => ({ name }));
  const slice: KubeObject = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'x-1', namespace: 'a', labels: { 'kubernetes.io/service-name': 'x' } },
    addressType: `IPv${family}`,
    ports: [{ port: 8080, protocol: 'TCP' }],
    endpoints: all.map(({ local, zones, nodes, ...conditions }, i) => ({
      addresses: [addressOf(i, family)],
      nodeName: local ? 'n1' : 'n2',
      conditions,
      hints: { forZones: hints(zones), forNodes: hints(nodes) },
    })),
  };
  const read = readService(service);
  const state = exampleState({
    services: new Map([['a/x', read]]),
    slices: new Map([['a/x-1', readEndpointSlice(slice)]]),
  });
  const view = viewOf(state);
  const instance = planService(serviceItem(view, read, 'a/default'), { place: HERE, reach: 'own' }).nft ?? [];
  const proxy = proxyProgram({ place: HERE, podCIDRs: ['10.244.0.0/16'], services: [service], slices: [slice] });
  return {
    answers(frontend: FrontendKind, from: Client): Record<string, string[]> {
      const address = dialled[frontend];
      const port = frontend === 'NodePort' ? 30_080 : 80;
      const dial = { address, port, protocol: 'TCP' } as const;
      return {
        core: usableBackends(view, { service: read, network: 'a/default' }, dial, {
          node: 'n1',
          from,
          by: 'instance',
        }).map((b) => b.ip),
        // An instance translates for pods of its own node only.
        ...(from === 'inside' ? { agent: reached(instance, 'node_port', dial, family, from) } : {}),
        proxy: reached(proxy, 'np', dial, family, from),
      };
    },
  };
}

/** Addresses that a map of a table leads to: the chains are followed as a packet would, but in all directions of a choice. */
function reached(
  table: readonly NftObject[],
  nodePorts: string,
  { address, port }: { readonly address: string; readonly port: number },
  family: 4 | 6,
  from: Client,
): string[] {
  const [set, key] =
    port === 80 ? [`svc${family}`, `${address} . tcp . 80`] : [`${nodePorts}${family}`, `tcp . ${port}`];
  const start = table.find((o) => o.kind === 'element' && o.set === set && o.key === key);
  const found = new Set<string>();
  const follow = (name: string): void => {
    const chain = table.find((o) => o.kind === 'chain' && o.name === name);
    for (const rule of chain?.kind === 'chain' ? chain.rules : []) {
      if (/saddr @pods|saddr type local/.test(rule) && rule.includes('goto') && from === 'outside') continue;
      for (const [, next = ''] of rule.matchAll(/goto (\S+?)(?=[,\s}]|$)/g)) follow(next);
      if (rule.includes('dnat'))
        for (const [ip] of rule.matchAll(family === 4 ? /198\.51\.100\.\d+/g : /2001:db8:51::\d+/g)) found.add(ip);
      if (/^(goto|drop)/.test(rule) || (rule.includes('saddr @pods') && rule.includes('goto'))) return;
    }
  };
  if (start?.kind === 'element' && start.value !== undefined) follow(start.value.replace('goto ', ''));
  return [...found];
}
