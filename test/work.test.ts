import { describe, expect, test } from 'vitest';
import { BUDGETS } from '../api/budgets.ts';
import { type BlockItem, type OpeningItem, type PeerItem, type PortSet, type ProfileSide } from '../api/nodeconfig.ts';
import { planWrites, planEvents } from '../controller/allocate/plan.ts';
import { planPolicies, planPolicyEvents } from '../controller/allocate/policies.ts';
import { planSubnetBlocks } from '../controller/allocate/subnet-blocks.ts';
import { parseInterfaces } from '../core/read/interfaces.ts';
import { readNetworkStatus } from '../core/attach/status.ts';
import {
  exampleNamespace,
  exampleNetwork,
  examplePod,
  exampleService,
  exampleSlice,
  exampleState,
} from '../core/cluster/example.ts';
import { readPod } from '../core/read/objects.ts';
import { type ClusterState, keyOf, type Pod, type Router } from '../core/cluster/state.ts';
import { viewOf } from '../core/view/view.ts';
import { compile } from '../core/node-config/compile.ts';
import { readAddressRequest } from '../core/read/address-requests.ts';
import { networkProblems } from '../core/read/network-problems.ts';
import { readOpenings } from '../core/openings/openings.ts';
import { clashes } from '../core/decide/clashes.ts';
import { compileCell } from '../core/policy/cell.ts';
import { policyKey } from '../core/cluster/policy.ts';
import { parseClusterNetworkPolicy } from '../core/read/cluster-network-policy.ts';
import { parseNetworkPolicy } from '../core/read/network-policy.ts';
import { planOpening, planPeer } from '../dataplane/plan/peers.ts';
import { PrefixClasses } from '../dataplane/plan/prefix-classes.ts';
import { staleFlows } from '../dataplane/plan/stale-flows.ts';
import { type Flow, PROTOCOL_NUMBER } from '../lib/netlink/flow.ts';
import { countWork } from './work.ts';

// Whatever is made four times as large is at most some more than four times the work: n log n, for all that reads or decides on what
// users write. Counted, not timed. A case that is quadratic comes out near 16.

const MOST = 6;
const each = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const list = (count: number, make: (i: number) => string): string => each(count, make).join(',');
const cidr = (i: number): string => `20.${i >> 8}.${i & 255}.0/24`;

test('the count sees what is quadratic', async () => {
  const twice = (n: number) => () => void each(n, (i) => i).filter((x, _, all) => all.includes(x + n));
  expect((await countWork(twice(400))) / (await countWork(twice(100)))).toBeGreaterThan(10);
  const once = (n: number) => () => void each(n, (i) => i).filter((x) => x > 3);
  expect((await countWork(once(400))) / (await countWork(once(100)))).toBeLessThan(MOST);
});

const manyPorts = (n: number): PortSet => each(n, (i) => ({ protocol: 'TCP', first: 1 + 2 * i, last: 1 + 2 * i }));

/** Each makes its input for a size, and returns what is counted. */
const READERS: Readonly<Record<string, (n: number) => () => unknown>> = {
  'interfaces by comma': (n) => () => parseInterfaces({ 'k8s.v1.cni.cncf.io/networks': list(n, () => 'a') }, 'ns'),
  'interfaces as JSON': (n) => () =>
    parseInterfaces({ 'k8s.v1.cni.cncf.io/networks': JSON.stringify(each(n, (i) => ({ name: `n${i}` }))) }, 'ns'),
  'network-status': (n) => () =>
    readNetworkStatus({
      annotations: {
        'k8s.v1.cni.cncf.io/network-status': JSON.stringify(
          each(n, (i) => ({ name: 'a/b', interface: `i${i}`, ips: [] })),
        ),
      },
    }),
  addresses: (n) => () => readAddressRequest({ 'bulkhead.dev/ips': list(n, (i) => `10.0.0.${i}`) }),
  'open ports': (n) => () =>
    readOpenings({
      'bulkhead.dev/open-ports': list(n, (i) => `${1 + i}`),
      'bulkhead.dev/open-to': list(n, (i) => `n${i}`),
    }),
  'a pod with many containers and annotations': (n) => () =>
    readPod({
      metadata: { name: 'p', namespace: 'a', annotations: Object.fromEntries(each(n, (i) => [`k${i}`, 'v'])) },
      spec: { containers: each(n, (i) => ({ name: `c${i}`, ports: [{ containerPort: 1 + i }] })) },
    }),
  'NetworkPolicy: rules': (n) => () =>
    parseNetworkPolicy({
      metadata: {},
      spec: { podSelector: {}, ingress: each(n, (i) => ({ from: [{ ipBlock: { cidr: cidr(i) } }] })) },
    }),
  'NetworkPolicy: ports and peers': (n) => () =>
    parseNetworkPolicy({
      metadata: {},
      spec: {
        podSelector: {},
        egress: [{ to: each(n, (i) => ({ ipBlock: { cidr: cidr(i) } })), ports: each(n, (i) => ({ port: 1 + i })) }],
      },
    }),
  'NetworkPolicy: exceptions and selectors': (n) => () =>
    parseNetworkPolicy({
      metadata: {},
      spec: {
        podSelector: { matchExpressions: [{ key: 'x', operator: 'In', values: each(n, (i) => `v${i}`) }] },
        egress: [{ to: [{ ipBlock: { cidr: '20.0.0.0/8', except: each(n, cidr) } }] }],
      },
    }),
  ClusterNetworkPolicy: (n) => () =>
    parseClusterNetworkPolicy({
      metadata: { name: 'x' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: {} },
        egress: each(n, () => ({ action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] })),
      },
    }),
  'policies of one priority': (n) => {
    const policies = each(n, (i) =>
      parseClusterNetworkPolicy({
        metadata: { name: `x${i}` },
        spec: { tier: 'Admin', priority: 1, subject: { namespaces: {} }, ingress: [] },
      }),
    );
    return () => clashes(policies);
  },
  'cells of many ports': (n) => {
    const side = profileSide(n);
    return () => compileCell(side, new Set(['g']));
  },
  'classes of prefixes': (n) => () =>
    new PrefixClasses([['g', { addresses: [], prefixes: each(n, (i) => `20.${i >> 8}.${i & 255}.0/26`) }]]),
  openings: (n) => {
    const item: OpeningItem = {
      pod: 'a/p',
      network: 'a/default',
      ips: ['10.0.0.1'],
      ports: each(n, (i) => ({ protocol: 'TCP', first: 1 + 2 * i, last: 1 + 2 * i })),
      namespaces: ['x'],
    };
    return () => planOpening(item, () => 7);
  },
  'a peer of many prefixes': (n) => {
    const peer: PeerItem = {
      network: 'a/default',
      other: 'b/default',
      services: [],
      parts: [{ prefixes: each(n, cidr), pods: manyPorts(n), services: manyPorts(n) }],
    };
    return () => planPeer(peer, () => 7);
  },
  'connections that stand': (n) => {
    const flow = (i: number): Flow => ({
      family: 4,
      protocol: PROTOCOL_NUMBER.TCP,
      orig: { src: `30.0.${i >> 8}.${i & 255}`, dst: '10.0.0.1', sport: 4_000, dport: 80 },
      reply: { src: '10.0.0.1', dst: `30.0.${i >> 8}.${i & 255}`, sport: 80, dport: 4_000 },
      mark: 0,
      tcpState: 3,
      handle: { tuple: Buffer.alloc(0), id: undefined },
    });
    const opening = (i: number): OpeningItem => ({
      pod: `a/p${i}`,
      network: 'a/default',
      ips: [`10.1.${i >> 8}.${i & 255}`],
      ports: [{ protocol: 'TCP', first: 80, last: 80 }],
      namespaces: ['x'],
    });
    const flows = each(n, flow);
    const rules = {
      network: { egress: 'None' as const },
      own: each(n, (i) => `10.1.${i >> 8}.${i & 255}/32`).concat('10.0.0.1/32'),
      pods: ['30.0.0.0/8'],
      cluster: ['30.0.0.0/8'],
      nodes: each(n, (i) => `31.0.${i >> 8}.${i & 255}`),
      peers: [
        {
          network: 'a',
          other: 'b',
          services: [],
          parts: [{ prefixes: each(n, cidr), pods: 'any' as const, services: 'any' as const }],
        },
      ],
      masqueraded: [],
      probes: [],
      mapped: new Set<string>(),
      openings: each(n, opening),
      sources: new Map([['x', { prefixes: each(n, (i) => `32.0.${i >> 8}.${i & 255}/32`) }]]),
      services: [],
      place: { node: 'n1', zone: '' },
      nodeAddresses: [],
    };
    return () => staleFlows(flows, rules);
  },
  'egress.allow': (n) => () =>
    networkProblems({
      egress: {
        mode: 'NAT',
        allow: each(Math.min(n, 32), (i) => ({
          cidr: cidr(i),
          ports: each(Math.floor(n / 32), (p) => ({ protocol: 'TCP' as const, port: 1 + 2 * p })),
        })),
      },
      services: { allow: [], access: 'AllowList', nodePortAccess: 'All' },
    } as never),
};

function profileSide(n: number): ProfileSide {
  const rules = each(n, (i) => ({
    tier: 'NetworkPolicy' as const,
    policy: 'NetworkPolicy a/p',
    rule: `ingress[${i}]`,
    action: 'Accept' as const,
    matches: [{ peers: ['g'], ports: [{ protocol: 'TCP' as const, first: 1 + 3 * i, last: 2 + 3 * i }] }],
  }));
  return { isolatedBy: ['NetworkPolicy a/p'], rules };
}

describe('reading and planning one object', () => {
  test.each(Object.entries(READERS))('%s', async (_, make) => {
    const [small, large] = [256, 1_024];
    make(32)();
    const few = await countWork(() => void make(small)());
    const many = await countWork(() => void make(large)());
    expect(many / few).toBeLessThan(MOST);
  });
});

/** A cluster in which one thing comes by the hundred; all else is the example. */
const CLUSTERS: Readonly<Record<string, (n: number) => Partial<ClusterState>>> = {
  'pods that wait for addresses of their own': (n) =>
    withPods(n, (i) => ({ 'bulkhead.dev/ips': `10.60.${i >> 8}.${i & 255}`, 'bulkhead.dev/network': 'sub' })),
  'pods with further interfaces': (n) => withPods(n, () => ({ 'k8s.v1.cni.cncf.io/networks': 'sub,sub@x1,sub@x2' })),
  'pods that open themselves to a namespace of many pods': (n) => {
    const base = withPods(n, () => ({ 'bulkhead.dev/open-ports': '80', 'bulkhead.dev/open-to': 'flat' }), true);
    const flat = each(n, (i) => ({ ...examplePod('flat', `f${i}`, 2, 1), ips: [`10.244.2.${i & 255}`] }));
    return {
      ...base,
      namespaces: new Map([...(base.namespaces ?? []), ['flat', exampleNamespace('flat')]]),
      pods: new Map([...(base.pods ?? []), ...flat.map((p) => [keyOf(p), p] as const)]),
    };
  },
  'blocks of single addresses': (n) => {
    const base = withPods(
      n,
      (i) => ({ 'bulkhead.dev/ips': `10.60.${i >> 8}.${i & 255}`, 'bulkhead.dev/network': 'sub' }),
      true,
    );
    const blocks = each(
      n,
      (i): BlockItem => ({
        cidr: `10.60.${i >> 8}.${i & 255}/32`,
        node: 'n1',
        network: 'a/sub',
        given: true as const,
      }),
    );
    return { ...base, blocks: new Map([...exampleState().blocks, ...blocks.map((b) => [b.cidr, b] as const)]) };
  },
  'Services with their endpoints': (n) => {
    const services = each(n, (i) => exampleService('a', `s${i}`, `10.96.${i >> 8}.${i & 255}`));
    const pods = each(n, (i) => examplePod('a', `p${i}`, 1, i));
    return {
      pods: new Map(pods.map((p) => [keyOf(p), p])),
      services: new Map(services.map((s) => [keyOf(s), s])),
      slices: new Map(services.map((s, i) => [`a/${s.name}`, exampleSlice('a', s.name, pods.slice(i, i + 1))])),
    };
  },
  'endpoints of one Service': (n) => {
    const pods = each(n, (i) => examplePod('a', `p${i}`, 1, i));
    const slices = each(Math.ceil(n / 100), (i) => ({
      ...exampleSlice('a', 'web', pods.slice(100 * i, 100 * i + 100)),
      name: `web${i}`,
    }));
    return {
      pods: new Map(pods.map((p) => [keyOf(p), p])),
      services: new Map([['a/web', exampleService('a', 'web', '10.96.1.1')]]),
      slices: new Map(slices.map((s) => [keyOf(s), s])),
    };
  },
  'NetworkPolicies of one namespace': (n) => {
    const policies = each(n, (i) =>
      parseNetworkPolicy({
        metadata: { namespace: 'a', name: `p${i}` },
        spec: { podSelector: {}, ingress: [{ ports: [{ port: 1 + i }] }] },
      }),
    );
    return { policies: new Map(policies.map((p) => [policyKey(p), p])) };
  },
  'pods that policies name': (n) => {
    const policy = parseNetworkPolicy({
      metadata: { namespace: 'a', name: 'p' },
      spec: { podSelector: {}, ingress: [{ from: [{ namespaceSelector: {} }, { podSelector: {} }] }] },
    });
    return { ...withPods(n, () => ({}), true), policies: new Map([[policyKey(policy), policy]]) };
  },
  'networks that share nothing': (n) => ({ networks: networks(n) }),
  'networks of one router': (n) => ({ networks: networks(n), routers: new Map([['a/r', router('r')]]) }),
  'routers that import each other': (n) => ({
    networks: networks(2),
    routers: new Map(each(n, (i) => [`a/r${i}`, router(`r${i}`, { import: [{ selector: {} }] })])),
  }),
};

function networks(n: number): ClusterState['networks'] {
  const made = each(n, (i) =>
    exampleNetwork('a', `n${i}`, 100 + i, { subnets: [`10.${100 + (i >> 8)}.${i & 255}.0/24`] }),
  );
  return new Map([...exampleState().networks, ...made.map((m) => [keyOf(m), m] as const)]);
}

function router(name: string, spec: object = {}): Router {
  return {
    namespace: 'a',
    name,
    uid: name,
    generation: 1,
    deleting: false,
    labels: {},
    spec: { type: 'Mesh', traffic: 'All', virtualNetworkSelector: {}, ...spec } as Router['spec'],
    problems: [],
  };
}

function withPods(
  n: number,
  annotations: (i: number) => Record<string, string>,
  running = false,
): Partial<ClusterState> {
  const pods = each(
    n,
    (i): Pod => ({
      ...examplePod('a', `p${i}`, 1, 0, annotations(i)),
      ips: running ? [`10.244.${3 + (i >> 8)}.${i & 255}`] : [],
      created: i,
    }),
  );
  const sub = exampleNetwork('a', 'sub', 77, { subnets: ['10.60.0.0/16'], staticPrefixes: ['10.60.0.0/16'] });
  return {
    namespaces: exampleState().namespaces,
    networks: new Map(exampleState().networks).set('a/sub', sub),
    pods: new Map(pods.map((p) => [keyOf(p), p])),
  };
}

describe('a view of the cluster, what a node is told, and what is written and said', () => {
  test.each(Object.entries(CLUSTERS))('%s', async (_, make) => {
    const run = (change: Partial<ClusterState>): void => {
      const view = viewOf(exampleState(change));
      compile(view, 'n1');
      const nothing = {
        stored: new Map(),
        usage: new Map(),
        reported: new Set<string>(),
        promised: new Map(),
        returned: new Set<string>(),
      };
      planWrites(view, { ...nothing, exhausted: new Map(), alive: new Set(['n1']) });
      planEvents(view);
      planSubnetBlocks(view, view.state.blocks, new Map());
      planPolicies(view);
      planPolicyEvents(view);
    };
    const [small, large] = [make(200), make(800)];
    run(make(40));
    const few = await countWork(() => run(small));
    const many = await countWork(() => run(large));
    expect(many / few).toBeLessThan(MOST);
  });
});

test('every budget is written down for users, with its number', async () => {
  const { readFileSync } = await import('node:fs');
  const text = readFileSync(new URL('../docs/reference/budgets.md', import.meta.url), 'utf8');
  const told = Object.fromEntries(
    [...text.matchAll(/^\| `([a-zA-Z]+)` \| ([\d ]+) \|/gm)].map(([, k, n]) => [k, Number(n?.replaceAll(' ', ''))]),
  );
  expect(told).toEqual(BUDGETS);
});
