import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FLAT_NETWORK } from '../../api/names.ts';
import type { ItemKind, Items, ServiceItem, StreamEvent } from '../../api/nodeconfig.ts';
import { desiredBy } from '../desired/desired.ts';
import { OTHER, SELF } from '../plan/golden/states.ts';
import { ConfigStore } from './config-store.ts';

// What a change does not concern stays as it was: only the networks that the store names are planned again.

const NETWORKS = ['a/x', 'b/x', 'c/x'] as const;
const SERVICES = ['s/1', 's/2', 's/3'] as const;
const network = fc.constantFrom(...NETWORKS);

const upsert = <K extends ItemKind>(kind: K, key: string, value: Items[K]): StreamEvent =>
  ({ type: 'upsert', kind, key, value }) as StreamEvent;
const event = <K extends ItemKind>(kind: K, key: fc.Arbitrary<string>, value: fc.Arbitrary<Items[K]>) =>
  fc.oneof(
    { weight: 3, arbitrary: fc.tuple(key, value).map(([k, v]) => upsert(kind, k, v)) },
    { weight: 1, arbitrary: key.map((k): StreamEvent => ({ type: 'delete', kind, key: k })) },
  );
const service = (key: string, of: string): ServiceItem => ({
  namespace: 's',
  name: key.slice(2),
  network: of,
  clusterIPs: ['10.96.0.7'],
  internalTrafficPolicy: 'Cluster',
  exposed: false,
  ports: [],
});

const events: fc.Arbitrary<StreamEvent> = fc.oneof(
  event(
    'service',
    fc.constantFrom(...SERVICES),
    fc.constantFrom(...NETWORKS, FLAT_NETWORK).map((n) => service('s/1', n)),
  ),
  fc
    .tuple(network, fc.subarray([...SERVICES]))
    .map(([key, allow]) => upsert('network', key, { key, vni: NETWORKS.indexOf(key) + 2, egress: 'None', allow })),
  fc
    .tuple(network, fc.constantFrom(...NETWORKS, FLAT_NETWORK), fc.option(fc.subarray([...SERVICES])))
    .map(([of, other, services]): StreamEvent => {
      const key = `${of}|${other}`;
      if (services === null) return { type: 'delete', kind: 'peer', key };
      return upsert('peer', key, { network: of, other, parts: [], services });
    }),
  event(
    'opening',
    fc.constantFrom('p/1', 'p/2'),
    fc
      .tuple(network, fc.subarray(['n1', 'n2']))
      .map(([of, namespaces]) => ({ pod: 'p', network: of, ips: ['10.244.1.5'], ports: 'any' as const, namespaces })),
  ),
  event('source', fc.constantFrom('n1', 'n2'), fc.constant({ prefixes: ['10.244.2.5/32'] })),
  event(
    'block',
    fc.constantFrom('10.244.2.16/28', '10.244.2.32/28'),
    network.map((of) => ({ cidr: '10.244.2.16/28', node: 'n2', network: of })),
  ),
  event('node', fc.constant('n2'), fc.constantFrom(OTHER, { ...OTHER, addresses: ['192.0.2.13'] })),
  event('group', fc.constant('g'), fc.constant({ addresses: [], prefixes: [] })),
  event(
    'namespace',
    fc.constant('n1'),
    network.map((of) => ({ name: 'n1', assignment: { network: of } })),
  ),
);

/** What the plans of each network depend on, by fragment. */
function plans(
  store: ConfigStore,
  desired: ReturnType<typeof desiredBy>,
): Map<string, Map<string, readonly unknown[]>> {
  const instances = [...store.config.network.values()].map((n) => ({ network: n, mtu: 1450 }));
  const deps = (wishes: ReturnType<typeof desired.wanted.root>) => new Map([...wishes].map(([o, w]) => [o, w.deps]));
  return new Map([
    [FLAT_NETWORK, deps(desired.wanted.root(SELF, 1450, instances, []))],
    ...instances.map(({ network: n }) => [n.key, deps(desired.wanted.instance(n, SELF, 1450, []))] as const),
  ]);
}

describe('the configuration of a node', () => {
  test('a change concerns the networks that the store names, and no other', () => {
    fc.assert(
      fc.property(fc.array(fc.array(events, { minLength: 1, maxLength: 3 }), { maxLength: 20 }), (batches) => {
        const store = new ConfigStore();
        store.apply([upsert('node', SELF.name, SELF), upsert('node', OTHER.name, OTHER)]);
        const desired = desiredBy(store, SELF.name);
        for (const batch of batches) {
          store.takeChanges();
          const before = plans(store, desired);
          store.apply(batch);
          const { plan, allPlans } = store.takeChanges();
          for (const [key, after] of plans(store, desired)) {
            if (allPlans || plan.has(key)) continue;
            const was = before.get(key) ?? new Map<string, readonly unknown[]>();
            expect([...after.keys()]).toEqual([...was.keys()]);
            for (const [owner, deps] of after) expect(deps.every((d, i) => d === was.get(owner)?.[i])).toBe(true);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test('connections are looked at where rules may have got narrower', () => {
    const store = new ConfigStore();
    const changesOf = (...batch: StreamEvent[]) => {
      store.takeChanges();
      store.apply(batch);
      const { connections, allConnections } = store.takeChanges();
      return allConnections ? 'all' : [...connections].sort();
    };
    expect(changesOf(upsert('node', 'n2', OTHER))).toBe('all');
    expect(changesOf(upsert('node', 'n2', { ...OTHER, zone: 'z' }))).toEqual([]);
    expect(changesOf(upsert('service', 's/1', service('s/1', 'a/x')))).toEqual(['a/x']);
    // Of the network that had it as well.
    expect(changesOf(upsert('service', 's/1', service('s/1', 'b/x')))).toEqual(['a/x', 'b/x']);
    const cluster = { podCIDRs: [], serviceCIDRs: [] };
    expect(changesOf(upsert('cluster', 'cluster', cluster))).toEqual([]);
    expect(changesOf(upsert('cluster', 'cluster', { ...cluster, apiServers: { nodes: ['n2'], addresses: [] } }))).toBe(
      'all',
    );
  });

  test('a port that is closed is named once, when it is closed', () => {
    const store = new ConfigStore();
    const cluster = { podCIDRs: [], serviceCIDRs: [], closedNodePorts: [{ protocol: 'TCP' as const, port: 30080 }] };
    store.apply([upsert('cluster', 'cluster', cluster)]);
    expect([...store.takeChanges().closed.values()]).toEqual([{ protocol: 'tcp', port: 30080 }]);
    store.apply([upsert('cluster', 'cluster', { ...cluster, podCIDRs: ['10.244.0.0/16'] })]);
    expect(store.takeChanges().closed.size).toBe(0);
  });

  test('those who wait go on with the next revision, or after their time', async () => {
    const store = new ConfigStore();
    const waiting = store.next(10_000);
    store.synced();
    await waiting;
    await store.next(1);
  });
});
