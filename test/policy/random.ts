import fc from 'fast-check';

/** Manifests of policies over the pods of world.ts: whole ones, of both kinds, that overlap in every way. */

const selector = (key: string, values: readonly string[]): fc.Arbitrary<object> =>
  fc.oneof(
    fc.constant({}),
    fc.constantFrom(...values).map((v) => ({ matchLabels: { [key]: v } })),
    fc
      .tuple(fc.constantFrom('In', 'NotIn'), fc.subarray([...values], { minLength: 1 }))
      .map(([operator, some]) => ({ matchExpressions: [{ key, operator, values: some }] })),
    fc.constantFrom('Exists', 'DoesNotExist').map((operator) => ({ matchExpressions: [{ key, operator }] })),
  );
const pods = selector('pod', ['a', 'b', 'c']);
const namespaces = selector('ns', ['x', 'y', 'z']);
const cidr = fc.constantFrom(
  '0.0.0.0/0',
  '::/0',
  '10.244.0.0/16',
  '10.244.1.0/24',
  '10.244.2.17/32',
  '203.0.113.0/24',
  '203.0.113.10/32',
  '2001:db8::/64',
  'fd00:10:244:1::/64',
  '192.0.2.12/32',
);
const HOLES: Readonly<Record<string, readonly string[]>> = {
  '0.0.0.0/0': ['10.244.1.0/24', '203.0.113.0/24'],
  '::/0': ['2001:db8::/120', 'fd00:10:244:2::/64'],
  '10.244.0.0/16': ['10.244.1.0/28', '10.244.2.0/24'],
  '203.0.113.0/24': ['203.0.113.10/32', '203.0.113.128/25'],
};
const port = fc.constantFrom(1, 79, 80, 81, 82, 443, 65_535);
const protocol = fc.constantFrom('TCP', 'UDP', 'SCTP');
const options = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });

const networkPort = fc.oneof(
  fc.record({ protocol: options(protocol), port: options(port) }, { requiredKeys: [] }),
  fc.record(
    { port: fc.constantFrom('web', 'alt', 'dgram', 'none'), protocol: options(protocol) },
    { requiredKeys: ['port'] },
  ),
  fc.tuple(port, port, protocol).map(([a, b, p]) => ({ protocol: p, port: Math.min(a, b), endPort: Math.max(a, b) })),
);
const networkPeer = fc.oneof(
  pods.map((podSelector) => ({ podSelector })),
  namespaces.map((namespaceSelector) => ({ namespaceSelector })),
  fc.record({ podSelector: pods, namespaceSelector: namespaces }),
  cidr.chain((c) =>
    fc
      .subarray([...(HOLES[c] ?? [])])
      .map((except) => ({ ipBlock: { cidr: c, ...(except.length > 0 ? { except } : {}) } })),
  ),
);
const networkRule = (side: string): fc.Arbitrary<object> =>
  fc
    .tuple(options(fc.array(networkPeer, { maxLength: 3 })), options(fc.array(networkPort, { maxLength: 3 })))
    .map(([peers, ports]) => ({ ...(peers ? { [side]: peers } : {}), ...(ports ? { ports } : {}) }));

const networkPolicy = fc
  .record({
    namespace: fc.constantFrom('x', 'y', 'z'),
    podSelector: pods,
    types: fc.constantFrom(undefined, ['Ingress'], ['Egress'], ['Ingress', 'Egress']),
    ingress: fc.array(networkRule('from'), { maxLength: 3 }),
    egress: fc.array(networkRule('to'), { maxLength: 3 }),
  })
  .map(({ namespace, podSelector, types, ingress, egress }) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace },
    spec: { podSelector, ...(types ? { policyTypes: types } : {}), ingress, egress },
  }));

const destination = fc.oneof(
  port.map((number) => ({ number })),
  fc
    .tuple(port, port)
    .map(([a, b]) => (a === b ? { number: a } : { range: { start: Math.min(a, b), end: Math.max(a, b) } })),
);
const clusterProtocol = fc.oneof(
  fc
    .tuple(fc.constantFrom('tcp', 'udp', 'sctp'), options(destination))
    .map(([p, d]) => ({ [p]: d ? { destinationPort: d } : {} })),
  fc.constantFrom('web', 'alt', 'dgram').map((destinationNamedPort) => ({ destinationNamedPort })),
);
const clusterPods = fc.oneof(
  namespaces.map((n) => ({ namespaces: n })),
  fc.tuple(namespaces, pods).map(([namespaceSelector, podSelector]) => ({ pods: { namespaceSelector, podSelector } })),
);
const clusterEgress = fc.oneof(
  clusterPods,
  fc.uniqueArray(cidr, { minLength: 1, maxLength: 3 }).map((networks) => ({ networks })),
  fc.constant({ nodes: {} }),
);
const isNamed = (p: object): boolean => 'destinationNamedPort' in p;
const clusterRule = (side: string, peer: fc.Arbitrary<object>): fc.Arbitrary<object> =>
  fc
    .tuple(
      fc.constantFrom('Accept', 'Deny', 'Pass'),
      fc.array(peer, { minLength: 1, maxLength: 3 }),
      options(fc.array(clusterProtocol, { minLength: 1, maxLength: 3 })),
    )
    .map(([action, peers, protocols]) => {
      // The API server refuses named ports beside peers that are no pods.
      const plain = protocols?.filter((p) => !isNamed(p) || peers.every((x) => !('networks' in x) && !('nodes' in x)));
      return { action, [side]: peers, ...(plain && plain.length > 0 ? { protocols: plain } : {}) };
    });

const clusterPolicy = fc
  .record({
    tier: fc.constantFrom('Admin', 'Baseline'),
    priority: fc.integer({ min: 0, max: 1000 }),
    subject: clusterPods,
    ingress: fc.array(clusterRule('from', clusterPods), { maxLength: 3 }),
    egress: fc.array(clusterRule('to', clusterEgress), { maxLength: 3 }),
  })
  .map((spec) => ({
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: {},
    spec,
  }));

/** Up to five policies, with names of their own. */
export const randomPolicies: fc.Arbitrary<Record<string, unknown>[]> = fc
  .array(fc.oneof(networkPolicy, clusterPolicy), { minLength: 1, maxLength: 5 })
  .map((all) => all.map((p, i) => ({ ...p, metadata: { ...p.metadata, name: `p${i}` } })));
