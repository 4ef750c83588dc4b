import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exampleNamespace, exampleNetwork, examplePod, exampleService, exampleState } from '../cluster/example.ts';
import { type ClusterState, emptyClusterState, keyOf } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { type AdmissionRequest, reviewAdmission, type Sight } from './review.ts';

// A user of namespace "mine" asks. Everything of "hidden" has names that no request has.

function cluster(): ClusterState {
  const base = exampleState();
  const networks = [
    exampleNetwork('hidden', 'net', 20),
    {
      ...exampleNetwork('hidden', 'sub', 21),
      spec: { ...exampleNetwork('x', 'x', 1).spec!, subnets: ['10.50.0.0/16'] },
    },
    {
      ...exampleNetwork('mine', 'own', 22),
      spec: { ...exampleNetwork('x', 'x', 1).spec!, sharedWith: {}, subnets: ['10.60.0.0/16'] },
    },
  ];
  const guest = {
    ...examplePod('hidden', 'qqguest', 1, 210),
    annotations: { 'bulkhead.dev/network': 'mine/own' },
    ips: ['10.60.0.9'],
  };
  const pods = [examplePod('hidden', 'qqvault', 2, 200), guest, examplePod('mine', 'p1', 1, 220)];
  return {
    ...base,
    nodes: new Map([...base.nodes].map(([name, n]) => [`qq${name}`, { ...n, name: `qq${name}` }])),
    namespaces: new Map([...base.namespaces, ...['hidden', 'mine'].map((n) => [n, exampleNamespace(n)] as const)]),
    networks: new Map([...base.networks, ...networks.map((n) => [keyOf(n), n] as const)]),
    pods: new Map([...base.pods, ...pods.map((p) => [keyOf(p), p] as const)]),
    services: new Map(base.services).set('hidden/qqsvc', exampleService('hidden', 'qqsvc', '10.96.0.77')),
  };
}
const full = viewOf(cluster());
const empty = viewOf(emptyClusterState);
const ask = (request: Partial<AdmissionRequest>, sight: Sight, view = full) =>
  reviewAdmission(
    view,
    { uid: 'u', operation: 'CREATE', resource: { group: '', resource: 'pods' }, namespace: 'mine', ...request },
    sight,
  );
const podOn = (network: string, more: object = {}) => ({
  object: { metadata: { name: 'p', annotations: { 'bulkhead.dev/network': network, ...more } }, spec: {} },
});
const networkWith = (spec: object): Partial<AdmissionRequest> => ({
  resource: { group: 'bulkhead.dev', resource: 'virtualnetworks' },
  object: { metadata: { name: 'new', namespace: 'mine' }, spec },
});
const router = (spec: object): Partial<AdmissionRequest> => ({
  resource: { group: 'bulkhead.dev', resource: 'virtualnetworkrouters' },
  object: { metadata: { name: 'r', namespace: 'mine' }, spec },
});
const CASES: readonly (readonly [string, Partial<AdmissionRequest>])[] = [
  ['a pod on a foreign network', podOn('hidden/net')],
  ['a pod on a network that is not there', podOn('hidden/none')],
  ['a pod that asks for a taken address', podOn('mine/own', { 'bulkhead.dev/ips': '10.60.0.9' })],
  ['an interface on a foreign network', podOn('own', { 'k8s.v1.cni.cncf.io/networks': 'hidden/sub' })],
  [
    'a namespace on a foreign network',
    {
      resource: { group: '', resource: 'namespaces' },
      object: { metadata: { name: 'mine', annotations: { 'bulkhead.dev/network': 'hidden/net' } } },
    },
  ],
  ['a subnet of another network', networkWith({ subnets: ['10.50.1.0/24'] })],
  ['a subnet over a node', networkWith({ subnets: ['192.0.2.0/28'] })],
  ['a subnet over pods', networkWith({ subnets: ['10.244.0.0/20'] })],
  ['an egress address of a node', networkWith({ egress: { mode: 'NAT', addresses: ['192.0.2.11'] } })],
  ['a Service of a foreign network', networkWith({ services: { allow: [{ namespace: 'b', name: 'web' }] } })],
  ['a Service that is not there', networkWith({ services: { allow: [{ namespace: 'b', name: 'none' }] } })],
  [
    'removal of a foreign network',
    { ...networkWith({}), operation: 'DELETE', object: null, namespace: 'hidden', name: 'net' },
  ],
  ['removal of an own network', { ...networkWith({}), operation: 'DELETE', object: null, name: 'own' }],
  [
    'a router to a foreign one',
    router({ type: 'Mesh', networks: ['own'], import: [{ namespace: 'hidden', name: 'r' }] }),
  ],
  [
    'no more subnets',
    { ...networkWith({}), object: { metadata: { name: 'own', namespace: 'mine' }, spec: {} }, operation: 'UPDATE' },
  ],
  [
    'no more sharing',
    {
      ...networkWith({}),
      object: { metadata: { name: 'own', namespace: 'mine' }, spec: { subnets: ['10.60.0.0/16'] } },
      operation: 'UPDATE',
    },
  ],
];
/** Names, and addresses that the request does not have itself. */
const leaks = (text: string, request: object): string[] =>
  [/qq\w+/g, /\b10\.(244|50|60)\.\d+\.\d+\b/g, /\b192\.0\.2\.\d+\b/g, /\bhidden\/\w+/g]
    .flatMap((r) => text.match(r) ?? [])
    .filter((word) => word.split('/').some((part) => !JSON.stringify(request).includes(part)));

describe('an answer tells nothing about others', () => {
  test.each(CASES)('%s', (_name, request) => {
    const { response } = ask(request, 'Own');
    expect(leaks(JSON.stringify(response), request)).toEqual([]);
    // To a caller who is not the API server: the same as in a cluster that has nothing at all.
    expect(ask(request, 'Nothing').response).toEqual(ask(request, 'Nothing', empty).response);
    expect(ask(request, 'All').response.allowed).toBe(response.allowed);
  });

  test('a foreign network that is not shared and one that is not there read alike', () => {
    const text = (name: string): string => {
      const { status, warnings = [] } = ask(podOn(name), 'Own').response;
      return (status?.message ?? warnings.join()).replace('the pod will wait: ', '');
    };
    expect(text('hidden/net')).toBe(text('hidden/none'));
    expect(text('hidden/net')).toContain('not shared with namespace mine');
  });

  test('a user who sees everything is told by name, and every user reads about own things', () => {
    const removal = CASES.find(([name]) => name === 'removal of an own network')![1];
    expect(ask(removal, 'Own').response.warnings?.[0]).toContain('pod(s) are on this network');
    const overlap = ask(networkWith({ subnets: ['10.50.1.0/24'] }), 'All').response;
    expect(overlap.status?.message).toContain('belongs to network hidden/sub');
    expect(ask(podOn('later'), 'Own').response.warnings?.[0]).toContain('mine/later does not exist');
    expect(ask(podOn('hidden/net'), 'Own').withheld).toBe(true);
    expect(ask(podOn('later'), 'Own').withheld).toBe(false);
  });

  test('control characters of the request come back escaped', () => {
    const { response } = ask(podOn('\u001b[31mred\u202e'), 'Own');
    // oxlint-disable-next-line no-control-regex
    expect(response.status?.message).not.toMatch(/[\u0000-\u001f\u202e]/);
    expect(response.status?.message).toContain('\\x1b[31mred');
  });
});

test('whatever is asked: without sight the cluster decides nothing, with own sight nothing of others is told', () => {
  const word = fc.constantFrom(
    'own',
    'hidden/net',
    'hidden/sub',
    'hidden/none',
    'a/default',
    'default-network',
    '10.60.0.9',
    '10.60.0.77',
    'x y',
  );
  const annotations = fc.dictionary(
    fc.constantFrom(
      'bulkhead.dev/network',
      'bulkhead.dev/ips',
      'k8s.v1.cni.cncf.io/networks',
      'bulkhead.dev/open-ports',
      'bulkhead.dev/open-to',
    ),
    fc.oneof(word, fc.string()),
  );
  const cidr = fc.constantFrom(
    '10.50.0.0/24',
    '10.60.0.0/24',
    '10.244.1.0/24',
    '192.0.2.0/24',
    '10.96.0.0/16',
    '10.99.0.0/24',
    '0.0.0.0/0',
  );
  const ref = fc.record({
    namespace: fc.constantFrom('hidden', 'a', 'mine'),
    name: fc.constantFrom('r', 'web', 'net'),
  });
  const spec = fc.record(
    {
      subnets: fc.array(cidr, { maxLength: 2 }),
      egress: fc.record(
        {
          mode: fc.constantFrom('None', 'NAT'),
          addresses: fc.array(fc.constantFrom('192.0.2.11', '192.0.2.99'), { maxLength: 2 }),
        },
        { requiredKeys: ['mode'] },
      ),
      services: fc.record({ allow: fc.array(ref, { maxLength: 2 }) }),
      type: fc.constantFrom('Mesh', 'Hub', 'Spoke'),
      networks: fc.array(word, { maxLength: 2 }),
      import: fc.array(ref, { maxLength: 2 }),
    },
    { requiredKeys: [] },
  );
  const request = fc.record({
    operation: fc.constantFrom('CREATE', 'UPDATE', 'DELETE', 'CONNECT'),
    resource: fc.record({
      group: fc.constant(''),
      resource: fc.constantFrom('pods', 'namespaces', 'virtualnetworks', 'virtualnetworkrouters'),
    }),
    name: fc.constantFrom('own', 'net', 'default'),
    namespace: fc.constantFrom('mine', 'hidden', 'a'),
    object: fc.record({ metadata: fc.record({ name: fc.constantFrom('own', 'mine', 'x'), annotations }), spec }),
  });
  fc.assert(
    fc.property(request, (asked) => {
      const r = asked as Partial<AdmissionRequest>;
      expect(ask(r, 'Nothing').response).toEqual(ask(r, 'Nothing', empty).response);
      const own = ask({ ...r, namespace: 'mine' }, 'Own').response;
      expect(leaks(JSON.stringify(own), r)).toEqual([]);
    }),
    { numRuns: 1_000 },
  );
});
