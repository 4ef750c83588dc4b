import { describe, expect, test } from 'vitest';
import { type AdmissionRequest, reviewAdmission } from '../admission/review.ts';
import { assignNamespace } from '../networks/assign.ts';
import { exampleNamespace, exampleNetwork, examplePod, exampleService, exampleState } from '../cluster/example.ts';
import { readNetwork } from '../read/objects.ts';
import { type ClusterState, keyOf, type Namespace, type Settings } from '../cluster/state.ts';
import { viewOf } from '../view/view.ts';
import { planConversion } from './convert.ts';
import { decide } from './decide.ts';
import { nodeConditions } from '../nodes/conditions.ts';

const settings = (change: Partial<Settings> = {}): Settings => ({
  isolateNew: true,
  since: 1_000,
  exceptNames: ['kube-system'],
  exceptLabels: { team: 'platform' },
  egress: 'NAT',
  ...change,
});
const made = (name: string, created: number, labels: Record<string, string> = {}): Namespace => ({
  ...exampleNamespace(name, labels),
  created,
});

describe('isolating new namespaces', () => {
  test.each([
    ['made before the switch: as it was', made('x', 1_000), settings(), 'default-network'],
    ['made after it: waits until it is labelled, never flat', made('x', 1_001), settings(), 'NetworkNotReady'],
    ['an exception by name', made('kube-system', 2_000), settings(), 'default-network'],
    ['an exception by labels', made('x', 2_000, { team: 'platform' }), settings(), 'default-network'],
    ['no exceptions by labels', made('x', 2_000), settings({ exceptLabels: undefined }), 'NetworkNotReady'],
    ['says "false" itself', made('x', 2_000, { 'bulkhead.dev/isolated': 'false' }), settings(), 'default-network'],
    ['the switch is off', made('x', 2_000), settings({ isolateNew: false }), 'default-network'],
    ['the switch has not begun', made('x', 2_000), settings({ since: undefined }), 'default-network'],
  ])('%s', (_, namespace, s, wanted) => {
    const got = assignNamespace(
      { namespaces: new Map([[namespace.name, namespace]]), networks: new Map(), settings: s },
      namespace.name,
    );
    expect('network' in got ? got.network : got.problem.code).toBe(wanted);
  });
});

describe('converting a namespace', () => {
  test('the dry run names the pods and just the connections that end', () => {
    const plan = planConversion(viewOf(exampleState()), 'flat', { nodePort: 10_250 });
    expect(plan.restart.map(keyOf)).toEqual(['flat/p1', 'flat/p2']);
    const lines = plan.changes.map((c) => `${c.from} -> ${c.to}: ${c.before} -> ${c.after}`);
    expect(lines).toContain('pods of flat -> the outside: open -> rejected');
    expect(lines).toContain('pods of flat -> nodes: open -> rejected');
    expect(lines.filter((l) => l.includes('-> pods of flat:') && l.startsWith('pods of flat'))).toEqual([]);
    expect(lines.filter((l) => l.includes('kube-dns') || l.includes('the Kubernetes API'))).toEqual([]);
  });

  test('a pod that waits for the network already shifts nothing: each change names its own ends', () => {
    const state = exampleState();
    // The first source of the list: without a network before, on the namespace's own afterwards.
    const early = examplePod('flat', 'early', 1, 44, { 'bulkhead.dev/network': 'default' });
    const pods = new Map([[keyOf(early), early], ...state.pods]);
    const plan = planConversion(viewOf({ ...state, pods }), 'flat', { nodePort: 10_250 });
    const without = planConversion(viewOf(state), 'flat', { nodePort: 10_250 });
    const others = (changes: typeof plan.changes): string[] =>
      changes.filter((c) => c.before === 'open').map((c) => `${c.from} -> ${c.to}: ${c.before} -> ${c.after}`);
    expect(others(plan.changes)).toEqual(others(without.changes));
    // What opens is that pod's own.
    expect(new Set(plan.changes.filter((c) => c.after === 'open').map((c) => c.from))).toEqual(
      new Set(['pods of flat']),
    );
  });

  test('the Kubernetes API stays open to all when namespace default is isolated', () => {
    const plan = planConversion(viewOf(exampleState()), 'default', { nodePort: 10_250 });
    expect(plan.changes.filter((c) => c.to === 'the Kubernetes API')).toEqual([]);
  });

  test('what cannot be converted is said', () => {
    const view = viewOf(exampleState());
    expect(planConversion(view, 'a', { nodePort: 1 }).obstacle).toContain('on network a/default already');
    expect(planConversion(view, 'nowhere', { nodePort: 1 }).obstacle).toContain('does not exist');
  });
});

describe('node ports', () => {
  const withPort = (spec: object): ClusterState => {
    const web = {
      ...exampleService('a', 'web', '10.96.1.1'),
      type: 'NodePort',
      ports: [{ name: '', protocol: 'TCP' as const, port: 80, nodePort: 30_080 }],
    };
    const state = exampleState();
    return {
      ...state,
      services: new Map(state.services).set('a/web', web),
      networks: new Map(state.networks).set('a/default', exampleNetwork('a', 'default', 2, spec)),
    };
  };
  const ask = (state: ClusterState, from: string, port: number): string => {
    const view = viewOf(state);
    const pod = view.state.pods.get(from);
    if (!pod) throw new Error(from);
    return decide(view, pod, { address: '192.0.2.12', port, protocol: 'TCP' }).verdict;
  };

  test('nodePortAccess External closes a port to the flat network, and no other port', () => {
    expect(ask(withPort({}), 'flat/p1', 30_080)).toBe('open');
    const closed = withPort({ services: { nodePortAccess: 'External' } });
    expect(ask(closed, 'flat/p1', 30_080)).toBe('rejected');
    expect(ask(closed, 'flat/p1', 30_081)).toBe('open');
    expect(ask(closed, 'b/p1', 30_080)).toBe('rejected');
  });
});

describe('node conditions', () => {
  const fine = { problems: [], faults: [], serving: true };
  const short = (c: ReturnType<typeof nodeConditions>): string[] => c.map((x) => `${x.type}=${x.status} ${x.reason}`);
  test.each([
    ['all is well', fine, ['NetworkUnavailable=False BulkheadIsUp', 'BulkheadReady=True Ready']],
    ['an agent that restarts takes no network away', { ...fine, serving: false }, ['BulkheadReady=False Starting']],
    [
      'a missing kernel feature',
      {
        ...fine,
        serving: false,
        problems: [{ reason: 'KernelFeatureMissing' as const, message: 'vxlan', blocking: true }],
      },
      ['NetworkUnavailable=True BulkheadIsDown', 'BulkheadReady=False KernelFeatureMissing'],
    ],
    [
      'another network comes first',
      { ...fine, problems: [{ reason: 'OtherNetworkConfigured' as const, message: '10-x', blocking: false }] },
      ['NetworkUnavailable=False BulkheadIsUp', 'BulkheadReady=False OtherNetworkConfigured'],
    ],
    [
      'a network that fails',
      { ...fine, faults: [{ network: 'a/x', message: 'no' }] },
      ['NetworkUnavailable=False BulkheadIsUp', 'BulkheadReady=False NetworkFault'],
    ],
  ])('%s', (_, report, wanted) => {
    expect(short(nodeConditions(report, []))).toEqual(wanted);
  });

  test('a silent agent is told only where one has spoken', () => {
    expect(nodeConditions(undefined, [])).toEqual([]);
    const before = nodeConditions(fine, []);
    expect(short(nodeConditions(undefined, before))).toEqual(['BulkheadReady=Unknown AgentSilent']);
  });
});

describe('admission', () => {
  const view = viewOf(
    exampleState({
      networks: new Map([
        ['a/blue', exampleNetwork('a', 'blue', 9)],
        ['a/default', exampleNetwork('a', 'default', 2)],
      ]),
    }),
  );
  const review = (resource: string, object: object, change: Partial<AdmissionRequest> = {}) =>
    reviewAdmission(
      view,
      {
        uid: '1',
        operation: 'CREATE',
        resource: { group: '', resource },
        namespace: 'flat',
        object: object as Record<string, unknown>,
        ...change,
      },
      'All',
    ).response;
  const podNaming = (network: string): object => ({
    metadata: { name: 'p', annotations: { 'bulkhead.dev/network': network } },
    spec: {},
  });

  test('a pod on a network that is not shared is refused; a missing network only warns', () => {
    expect(review('pods', podNaming('a/blue'))).toMatchObject({ allowed: false, status: { code: 403 } });
    expect(review('pods', podNaming('a/blue'), { namespace: 'a' })).toEqual({ uid: '1', allowed: true });
    const missing = review('pods', podNaming('later'));
    expect(missing.allowed).toBe(true);
    expect(missing.warnings?.[0]).toContain('flat/later does not exist');
  });

  test('a network in use goes with a warning that names the pods; an open Service that is not there warns', () => {
    const gone = review('virtualnetworks', {}, { operation: 'DELETE', namespace: 'a', name: 'default' });
    expect(gone.warnings?.[0]).toContain('a/p1');
    const allow = {
      metadata: { name: 'n', namespace: 'a' },
      spec: {
        services: {
          allow: [
            { namespace: 'b', name: 'web' },
            { namespace: 'x', name: 'y' },
          ],
        },
      },
    };
    expect(review('virtualnetworks', allow, { namespace: 'a' }).warnings).toEqual([
      'spec.services.allow: Service b/web is not on the flat network, so this opens nothing',
      'spec.services.allow: Service x/y does not exist yet',
    ]);
  });
});

test('a field of a newer kind is passed over, what is known still counts', () => {
  const network = readNetwork({
    metadata: { name: 'n', namespace: 'a' },
    spec: { mtu: 1400, egress: { mode: 'NAT', shiny: 1 }, services: { newer: true } },
  });
  expect(network.problems).toEqual([]);
  expect(network.spec).toMatchObject({ mtu: 1400, egress: { mode: 'NAT' } });
});
