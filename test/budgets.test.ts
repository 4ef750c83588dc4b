import { describe, expect, test } from 'vitest';
import { type Budget, BUDGETS } from '../api/budgets.ts';
import { planEvents } from '../controller/allocate/plan.ts';
import { planPolicyEvents } from '../controller/allocate/policies.ts';
import { reviewAdmission, type Sight } from '../core/admission/review.ts';
import { exampleNamespace, exampleNetwork, examplePod, exampleService, exampleState } from '../core/cluster/example.ts';
import { readNetwork } from '../core/read/objects.ts';
import {
  type ClusterState,
  type EndpointSlice,
  keyOf,
  type Pod,
  type Router,
  type Service,
} from '../core/cluster/state.ts';
import { type View, viewOf } from '../core/view/view.ts';
import { compile } from '../core/node-config/compile.ts';
import { type Policy, policyKey } from '../core/cluster/policy.ts';
import { policiesOf } from '../core/view/policies.ts';
import { parseClusterNetworkPolicy } from '../core/read/cluster-network-policy.ts';
import { parseNetworkPolicy } from '../core/read/network-policy.ts';

// Each budget: at the limit all is as asked, one more closes that object alone, says which budget, and leaves others as they are.

const each = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const list = (count: number, make: (i: number) => string): string => each(count, make).join(',');
const NETWORKS = 'k8s.v1.cni.cncf.io/networks';
const OPEN = (ports: string, to: string): Record<string, string> => ({
  'bulkhead.dev/open-ports': ports,
  'bulkhead.dev/open-to': to,
});

/** All that the controller would post as events: kind of object, and message. */
const news = (view: View): string[] =>
  [...planEvents(view), ...planPolicyEvents(view)].map((d) =>
    'problem' in d ? d.problem.message : 'message' in d ? d.message : '',
  );

describe('pods', () => {
  const world = (annotations: Record<string, string>, ips: readonly string[] = []): View => {
    const pod: Pod = { ...examplePod('a', 'new', 1, 9, annotations), ips };
    const base = exampleState();
    const nets = each(20, (i) => exampleNetwork('a', `x${i}`, 100 + i, { subnets: [`10.${50 + i}.0.0/24`] }));
    return viewOf({
      ...base,
      pods: new Map([...base.pods, [keyOf(pod), pod]]),
      networks: new Map([...base.networks, ...nets.map((n) => [keyOf(n), n] as const)]),
    });
  };
  const admit = (annotations: Record<string, string>, sight: Sight = 'Own') =>
    reviewAdmission(
      world({}),
      {
        uid: 'u',
        operation: 'CREATE',
        resource: { group: '', resource: 'pods' },
        namespace: 'a',
        object: { metadata: { name: 'new', annotations } },
      },
      sight,
    ).response;

  test.each<[Budget, Record<string, string>, Record<string, string>]>([
    ['interfaces', { [NETWORKS]: list(16, (i) => `x${i}`) }, { [NETWORKS]: list(17, (i) => `x${i}`) }],
    ['interfaces', { [NETWORKS]: list(16, (i) => `x${i}`) }, { [NETWORKS]: list(1_500, () => 'a') }],
    ['annotationLength', { [NETWORKS]: `x0${' '.repeat(4_094)}` }, { [NETWORKS]: `x0${' '.repeat(4_095)}` }],
    ['annotationLength', { [NETWORKS]: 'x0' }, { [NETWORKS]: list(125_000, () => 'a') }],
    ['annotationLength', { [NETWORKS]: 'x0' }, { [NETWORKS]: `[${list(20_000, () => '{"name":"x0"}')}]` }],
    ['annotationLength', {}, { 'bulkhead.dev/ips': list(1_000, (i) => `10.50.0.${i}`) }],
    ['annotationLength', {}, { 'bulkhead.dev/network': 'x'.repeat(4_097) }],
  ])('%s: a pod waits, and the budget is named', (budget, allowed, over) => {
    expect(world(allowed).podAssignment.get('a/new')).toEqual({ network: 'a/default' });
    expect(admit(allowed).allowed).toBe(true);
    const view = world(over);
    const assignment = view.podAssignment.get('a/new');
    expect(assignment).toMatchObject({ problem: { code: 'OverBudget' } });
    expect(JSON.stringify(assignment)).toContain(`the budget ${budget} allows ${BUDGETS[budget]}`);
    expect(JSON.stringify(assignment).length).toBeLessThan(600);
    expect(news(view).join()).toContain(`the budget ${budget} allows`);
    expect(admit(over)).toMatchObject({ allowed: false, status: { message: expect.stringContaining(budget) } });
    for (const [key, assigned] of world({}).podAssignment)
      if (key !== 'a/new') expect(view.podAssignment.get(key)).toEqual(assigned);
  });

  test.each<[Budget, Record<string, string>, Record<string, string>]>([
    [
      'openPorts',
      OPEN(
        list(64, (i) => `${1 + 2 * i}`),
        '*',
      ),
      OPEN(
        list(65, (i) => `${1 + 2 * i}`),
        '*',
      ),
    ],
    [
      'openNamespaces',
      OPEN(
        '80',
        list(32, (i) => `n${i}`),
      ),
      OPEN(
        '80',
        list(33, (i) => `n${i}`),
      ),
    ],
    [
      'openingElements',
      OPEN(
        list(64, (i) => `${1 + 2 * i}`),
        list(32, (i) => `n${i}`),
      ),
      OPEN(
        list(64, (i) => `${1 + 3 * i}-${2 + 3 * i}`),
        list(32, (i) => `n${i}`),
      ),
    ],
    [
      'annotationLength',
      OPEN('80', '*'),
      OPEN(
        list(32_000, (i) => `${1 + 2 * i}`),
        '*',
      ),
    ],
    [
      'annotationLength',
      OPEN('80', '*'),
      OPEN(
        '80',
        list(20_000, (i) => `n${i}`),
      ),
    ],
  ])('%s: a pod opens nothing, and runs', (budget, allowed, over) => {
    const opening = (annotations: Record<string, string>) =>
      compile(world(annotations, ['10.244.1.9']), 'n1').opening.get('a/new');
    expect(opening(allowed)?.ports).not.toEqual([]);
    expect(admit(allowed).allowed).toBe(true);
    expect(opening(over)).toBeUndefined();
    const view = world(over, ['10.244.1.9']);
    expect(view.podAssignment.get('a/new')).toEqual({ network: 'a/default' });
    expect(news(view).join()).toMatch(new RegExp(`pod a/new opens nothing: .*the budget ${budget} allows`));
    expect(admit(over)).toMatchObject({ allowed: false, status: { message: expect.stringContaining(budget) } });
  });

  test('networkOpeningElements: what the oldest pods of a network have opened stays open', () => {
    const base = exampleState();
    const annotations = OPEN(
      list(64, (i) => `${1 + 2 * i}`),
      list(32, (i) => `n${i}`),
    );
    const pods = each(9, (i): Pod => ({ ...examplePod('a', `o${i}`, 1, 100 + i, annotations), created: i }));
    const other = { ...examplePod('b', 'o', 1, 200, OPEN('80', '*')), created: 99 };
    const view = viewOf({
      ...base,
      pods: new Map([...base.pods, ...[...pods, other].reverse().map((p) => [keyOf(p), p] as const)]),
    });
    expect([...compile(view, 'n1').opening.keys()].sort()).toEqual([...each(8, (i) => `a/o${i}`), 'b/o']);
    expect(news(view).filter((m) => m.includes('networkOpeningElements'))).toEqual([
      expect.stringContaining('pod a/o8 opens nothing'),
    ]);
  });
});

describe('policies', () => {
  const np = (spec: object, name = 'p', created = 0, namespace = 'a') => ({
    kind: 'NetworkPolicy',
    metadata: {
      name,
      namespace,
      uid: `${namespace}/${name}`,
      creationTimestamp: new Date(created * 1000).toISOString(),
    },
    spec: { podSelector: {}, ...spec },
  });
  const cidr = (i: number) => ({ ipBlock: { cidr: `20.${i >> 8}.${i & 255}.0/24` } });
  const ports = (count: number, step = 2) => each(count, (i) => ({ protocol: 'TCP', port: 1 + step * i }));
  const rules = (count: number) => each(count, (i) => ({ from: [cidr(i)], ports: [{ port: 80 }] }));
  const admit = (object: object, oldObject?: object) =>
    reviewAdmission(
      viewOf(exampleState()),
      {
        uid: 'u',
        operation: oldObject ? 'UPDATE' : 'CREATE',
        resource: { group: 'networking.k8s.io', resource: 'networkpolicies' },
        namespace: 'a',
        object: object as Record<string, unknown>,
        ...(oldObject ? { oldObject: oldObject as Record<string, unknown> } : {}),
      },
      'Nothing',
    ).response;
  const scattered = (count: number) => each(count, (i) => `${i + 1}.0.0.1/32`);

  test.each<[Budget, object, object]>([
    ['policyRules', { ingress: rules(128) }, { ingress: rules(129) }],
    ['policyPeers', { ingress: [{ from: each(512, cidr) }] }, { ingress: [{ from: each(513, cidr) }] }],
    [
      'policyPeers',
      { ingress: [{ from: each(512, cidr), ports: ports(1_024) }] },
      { ingress: [{ from: each(2_000, cidr), ports: ports(2_000) }] },
    ],
    ['policyPorts', { ingress: [{ ports: ports(1_024) }] }, { ingress: [{ ports: ports(1_025) }] }],
    ['policyPorts', { ingress: [{ ports: ports(1_024) }] }, { egress: [{ ports: ports(15_000, 4) }] }],
    [
      'policyPrefixes',
      {
        egress: [
          {
            to: [
              {
                ipBlock: {
                  cidr: '20.0.0.0/8',
                  except: each(1_000, (i) => `20.${i >> 8}.${i & 255}.0/24`).slice(0, 500),
                },
              },
            ],
          },
        ],
      },
      {
        egress: [
          { to: [{ ipBlock: { cidr: '20.0.0.0/8', except: each(1_024, (i) => `20.${i >> 8}.${i & 255}.0/24`) } }] },
        ],
      },
    ],
    [
      'policyRanges',
      { egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0', except: scattered(200) } }] }] },
      { egress: [{ to: each(2, () => ({ ipBlock: { cidr: '0.0.0.0/0', except: scattered(200) } })) }] },
    ],
    [
      'policyCells',
      { ingress: [...each(60, (i) => ({ from: [cidr(i)] })), { ports: ports(60) }] },
      { ingress: [...each(60, (i) => ({ from: [cidr(i)] })), { ports: ports(70) }] },
    ],
    [
      'policySelectorTerms',
      { podSelector: { matchExpressions: [{ key: 'x', operator: 'NotIn', values: each(2_047, (i) => `v${i}`) }] } },
      { podSelector: { matchExpressions: [{ key: 'x', operator: 'NotIn', values: each(2_048, (i) => `v${i}`) }] } },
    ],
  ])('%s: a NetworkPolicy closes the pods that it selects', (budget, allowed, over) => {
    expect(parseNetworkPolicy(np(allowed)).problems).toEqual([]);
    expect(admit(np(allowed)).allowed).toBe(true);
    const closed = parseNetworkPolicy(np(over));
    expect(closed).toMatchObject({ overBudget: true, subject: { namespace: 'a' } });
    const directions = [...('egress' in over ? [closed.ingress, closed.egress] : [closed.ingress])];
    expect(directions).toEqual(directions.map(() => []));
    expect(closed.problems.join()).toContain(`the budget ${budget} allows ${BUDGETS[budget]}`);
    expect(admit(np(over))).toMatchObject({ allowed: false, status: { message: expect.stringContaining(budget) } });
    expect(admit(np(over), np(over)).allowed).toBe(true);
    const base = exampleState();
    const view = viewOf({ ...base, policies: new Map([[policyKey(closed), closed]]) });
    const config = compile(view, 'n1');
    const policed = [...config.pod.values()].filter((p) => p.profile !== undefined);
    expect(policed.length).toBeGreaterThan(0);
    expect(policed.every((p) => p.namespace === 'a')).toBe(true);
    for (const p of policed) expect(config.profile.get(p.profile ?? '')?.ingress).toMatchObject({ rules: [] });
    expect(news(view).join()).toContain(budget);
  });

  test('a selector over its budget selects every pod of its namespace', () => {
    const over = {
      podSelector: { matchExpressions: [{ key: 'x', operator: 'In', values: each(3_000, (i) => `v${i}`) }] },
    };
    expect(parseNetworkPolicy(np(over)).subject).toEqual({ namespace: 'a', pods: {} });
  });

  test('a ClusterNetworkPolicy over a budget: Accept matches nothing, Deny denies everything', () => {
    const of = (action: string, count: number) =>
      parseClusterNetworkPolicy({
        kind: 'ClusterNetworkPolicy',
        metadata: { name: 'p' },
        spec: {
          tier: 'Admin',
          priority: 1,
          subject: { namespaces: {} },
          egress: each(25, (r) => ({
            action,
            to: each(25, (i) => ({ networks: each(count, (n) => `${10 + r}.${i}.${n}.0/24`) })),
          })),
        },
      });
    expect(of('Accept', 1)).toMatchObject({ problems: [], egress: { length: 25 } });
    expect(of('Accept', 2)).toMatchObject({ overBudget: true, egress: [] });
    expect(of('Deny', 2)).toMatchObject({ overBudget: true, egress: [{ action: 'Deny', peers: 'any', ports: 'any' }] });
    expect(of('Deny', 2).problems.join()).toContain('policyPrefixes');
  });

  const stateWith = (policies: readonly Policy[], pods: readonly Pod[] = []): ClusterState => {
    const base = exampleState();
    return {
      ...base,
      pods: new Map([...base.pods, ...pods.map((p) => [keyOf(p), p] as const)]),
      policies: new Map(policies.map((p) => [policyKey(p), p])),
    };
  };
  const closedIn = (view: View): string[] => [...policiesOf(view).index.crowdedOut().policies.keys()].sort();

  test('namespacePolicies: the newest of a namespace are closed, those of others are not', () => {
    const many = each(257, (i) =>
      parseNetworkPolicy(np({ podSelector: { matchLabels: { x: 'y' } }, ingress: [{}] }, `p${i}`, 1_000 - i)),
    );
    const other = parseNetworkPolicy(np({ ingress: [{}] }, 'other', 5_000, 'b'));
    expect(closedIn(viewOf(stateWith([...many.slice(1), other])))).toEqual([]);
    const view = viewOf(stateWith([...many, other]));
    expect(closedIn(view)).toEqual(['NetworkPolicy a/p0']);
    expect(news(view).join()).toContain('the budget namespacePolicies allows 256');
  });

  test('namespacePolicyPeers: the same for their peers', () => {
    const many = each(5, (i) =>
      parseNetworkPolicy(
        np({ podSelector: { matchLabels: { x: 'y' } }, ingress: [{ from: each(512, cidr) }] }, `p${i}`, i),
      ),
    );
    expect(closedIn(viewOf(stateWith(many.slice(0, 4))))).toEqual([]);
    expect(closedIn(viewOf(stateWith(many)))).toEqual(['NetworkPolicy a/p4']);
  });

  test('namespacePolicyRanges: the same for their prefixes, with what they leave out', () => {
    const selector = { podSelector: { matchLabels: { x: 'y' } } };
    const from = [{ ipBlock: { cidr: '20.0.0.0/8', except: each(80, (i) => `20.${i}.7.9/32`) } }];
    const holes = each(5, (i) => parseNetworkPolicy(np({ ...selector, ingress: [{ from }] }, `p${i}`, i)));
    expect(closedIn(viewOf(stateWith(holes.slice(0, 4))))).toEqual([]);
    const view = viewOf(stateWith(holes));
    expect(closedIn(view)).toEqual(['NetworkPolicy a/p4']);
    expect(news(view).join()).toContain('the budget namespacePolicyRanges allows 8192');
  });

  test('namespacePolicyMembers: many ways to name every pod; equal ones count once', () => {
    const pods = each(1_000, (i): Pod => ({ ...examplePod('b', `m${i}`, 1, i), created: i }));
    const everyBut = (key: string) => ({
      namespaceSelector: {},
      podSelector: { matchExpressions: [{ key, operator: 'DoesNotExist' }] },
    });
    const named = (i: number, key: (n: number) => string) =>
      parseNetworkPolicy(
        np(
          { podSelector: { matchLabels: { x: 'y' } }, ingress: each(64, (n) => ({ from: [everyBut(key(n))] })) },
          `p${i}`,
          i,
        ),
      );
    const same = each(4, (i) => named(i, (n) => `k${n}`));
    expect(closedIn(viewOf(stateWith(same, pods)))).toEqual([]);
    const different = each(4, (i) => named(i, (n) => `k${i} ${n}`.replace(' ', '-')));
    const view = viewOf(stateWith(different, pods));
    expect(closedIn(view)).toEqual(['NetworkPolicy a/p2', 'NetworkPolicy a/p3']);
    expect(news(view).join()).toContain('the budget namespacePolicyMembers allows 131072');
  });

  test('profileCells: policies that multiply each other; the oldest hold, the newest admits nothing', () => {
    const peers = (i: number, at: number) =>
      parseNetworkPolicy(np({ ingress: each(100, (n) => ({ from: [cidr(1_000 * i + n)] })) }, `peers${i}`, at));
    const open = parseNetworkPolicy(np({ ingress: [{ ports: ports(30) }] }, 'ports', 50));
    expect(closedIn(viewOf(stateWith([peers(0, 1), peers(1, 2), open])))).toEqual([]);
    const view = viewOf(stateWith([peers(0, 1), peers(1, 2), open, peers(2, 99)]));
    expect(closedIn(view)).toEqual(['NetworkPolicy a/peers2']);
    const config = compile(view, 'n1');
    const profile = [...config.profile.values()][0];
    expect(profile?.ingress.rules.map((r) => r.policy)).not.toContain('NetworkPolicy a/peers2');
    expect(profile?.ingress.isolatedBy).toContain('NetworkPolicy a/peers2');
    expect(news(view).join()).toContain('the budget profileCells allows');
  });

  test('namespaceCells: pods that differ in their policies; the newest pods of the node are closed', () => {
    const labels = (i: number) => ({ [`l${i}`]: 'x' });
    const policies = each(40, (i) =>
      parseNetworkPolicy(
        np(
          {
            podSelector: { matchLabels: labels(i) },
            ingress: each(50, (n) => ({ from: [cidr(n)], ports: ports(20) })),
          },
          `p${i}`,
          i,
        ),
      ),
    );
    const pods = each(40, (i): Pod => ({ ...examplePod('a', `d${i}`, 1, 100 + i), labels: labels(i), created: i + 1 }));
    const neighbour = parseNetworkPolicy(np({ ingress: [{ ports: ports(3) }] }, 'n', 1, 'b'));
    const view = viewOf(stateWith([...policies, neighbour], pods));
    const config = compile(view, 'n1');
    const closed = [...policiesOf(view).index.crowdedOut().pods.keys()];
    expect(closed).toEqual(each(40, (i) => `a/d${i}`).slice(40 - closed.length));
    const kept = Math.floor(BUDGETS.namespaceCells / (50 * 20 + 52));
    expect(closed).toHaveLength(40 - kept);
    const profiles = new Set(closed.map((key) => config.pod.get(key)?.profile));
    expect(profiles.size).toBe(1);
    expect(config.profile.get([...profiles][0] ?? '')?.ingress).toMatchObject({ rules: [], isolatedBy: { length: 1 } });
    expect(news(view).filter((m) => m.includes('namespaceCells'))).toHaveLength(closed.length);
    const other = [...config.pod.values()].find((p) => p.namespace === 'b' && p.profile !== undefined);
    expect(config.profile.get(other?.profile ?? '')?.ingress.rules).toHaveLength(1);
  });
});

describe('Services', () => {
  type World = readonly [services: number, ports: number, endpoints: number, affinitySeconds?: number];
  const world = (...[count, ports, endpoints, affinitySeconds]: World): View => {
    const base = exampleState();
    const services = each(
      count,
      (i): Service => ({
        ...exampleService('a', `s${i}`, `10.96.${8 + (i >> 8)}.${i & 255}`),
        affinitySeconds,
        created: i,
        ports: each(ports, (n) => ({ name: `p${n}`, protocol: 'TCP' as const, port: 1 + n })),
      }),
    );
    const slices = services.map(
      (s): EndpointSlice => ({
        namespace: 'a',
        name: s.name,
        service: s.name,
        family: 4,
        ports: s.ports,
        endpoints: each(endpoints, (n) => ({
          ip: `10.244.1.${n & 255}`,
          node: 'n1',
          ready: true,
          serving: true,
          terminating: false,
          pod: '',
        })),
      }),
    );
    return viewOf({
      ...base,
      services: new Map([...base.services, ...services.map((s) => [keyOf(s), s] as const)]),
      slices: new Map([...base.slices, ...slices.map((s) => [keyOf(s), s] as const)]),
    });
  };
  const programmed = (view: View): string[] =>
    [...compile(view, 'n1').service.values()].filter((s) => s.name.startsWith('s') && s.ports.length > 0).map(keyOf);

  test.each<[Budget, World, World, number]>([
    ['servicePorts', [1, 256, 1], [1, 257, 1], 0],
    ['serviceElements', [1, 16, 1_000], [1, 16, 1_024], 0],
    ['namespaceServices', [2_000, 1, 0], [2_100, 1, 0], 2_000],
    ['namespaceServicePorts', [15, 128, 1], [16, 128, 1], 15],
    ['namespaceAffinityElements', [2, 16, 60, 600], [3, 16, 60, 600], 2],
    ['namespaceServiceElements', [4, 16, 1_000], [5, 16, 1_000], 4],
  ])('%s: one more is not programmed', (budget, allowed, over, left) => {
    expect(programmed(world(...allowed))).toHaveLength(allowed[0]);
    const view = world(...over);
    const still = programmed(view).length;
    expect(still).toBeLessThan(over[0]);
    expect(still).toBeGreaterThanOrEqual(left);
    expect(news(view).join()).toContain(`the budget ${budget} allows ${BUDGETS[budget]}`);
    const others = (v: View) => [...compile(v, 'n1').service.values()].filter((s) => s.namespace !== 'a');
    expect(others(view)).toEqual(others(world(0, 0, 0)));
  });
});

describe('networks and routers', () => {
  test('egressElements: nested prefixes with many ports', () => {
    const allow = (count: number) =>
      each(count, (i) => ({
        cidr: `${64 + (i >> 4)}.0.0.0/${8 + (i & 15)}`,
        ports: each(16, (p) => ({ port: 1 + 2 * (16 * i + p) })),
      }));
    const read = (count: number) =>
      readNetwork({ metadata: { namespace: 'a', name: 'n' }, spec: { egress: { mode: 'NAT', allow: allow(count) } } });
    expect(read(16)).toMatchObject({ problems: [] });
    expect(read(128)).toMatchObject({
      spec: undefined,
      problems: [expect.stringContaining('the budget egressElements allows')],
    });
  });

  const connected = (networks: number, routers: readonly Partial<Router['spec']>[]): View => {
    const base = exampleState();
    const nets = each(networks, (i) => ({ ...exampleNetwork('r', `n${i}`, 200 + i), created: i }));
    const made = routers.map(
      (spec, i): Router => ({
        namespace: 'r',
        name: `r${i}`,
        uid: `r${i}`,
        generation: 1,
        deleting: false,
        labels: {},
        created: i,
        spec: { type: 'Mesh', traffic: 'All', virtualNetworkSelector: {}, ...spec } as Router['spec'],
        problems: [],
      }),
    );
    return viewOf({
      ...base,
      namespaces: new Map(base.namespaces).set('r', exampleNamespace('r')),
      networks: new Map([...base.networks, ...nets.map((n) => [keyOf(n), n] as const)]),
      routers: new Map(made.map((r) => [keyOf(r), r])),
    });
  };
  const told = (view: View, router: string): string => view.routers.get(router)?.missing.join('; ') ?? '';

  test('routerMembers: the newest are left out', () => {
    expect(told(connected(64, [{}]), 'r/r0')).toBe('');
    const view = connected(66, [{}]);
    expect(view.routers.get('r/r0')?.members).toHaveLength(64);
    expect(told(view, 'r/r0')).toMatch(/the budget routerMembers allows 64.*left out, r\/n64, r\/n65$/);
    expect(view.connections.has('r/n65')).toBe(false);
    expect(view.connections.get('r/n0')?.size).toBe(63);
  });

  test('routerImports, namespaceRouters, routerPairs and namespaceRouterPairs: the rest connects nothing', () => {
    const many = connected(
      2,
      each(66, () => ({ import: [{ selector: {} }] })),
    );
    expect(told(many, 'r/r0')).toContain('the budget routerImports allows 64');
    expect(told(many, 'r/r65')).toContain('the budget namespaceRouters allows 64');
    expect(many.routers.get('r/r65')?.pairs).toEqual([]);
    const pairs = connected(64, [{}, {}, {}]);
    expect(told(pairs, 'r/r1')).toBe('');
    expect(told(pairs, 'r/r2')).toContain('the budget namespaceRouterPairs allows 4096');
    const wide = connected(40, [{ import: [{ name: 'r1' }, { name: 'r2' }] }, {}, {}]);
    expect(told(wide, 'r/r0')).toContain('the budget routerPairs allows 2048');
  });
});
