import { beforeAll, describe, expect, test } from 'vitest';
import { exec } from '../../lib/exec/exec.ts';
import { fabricAddress, nodeHost, netPath } from '../../lab/world/plan.ts';
import { HeldConnection } from '../system/held.ts';
import { pod, shop, useLab } from '../system/lab.ts';

// Only the hosts of the API server come into an isolated network by themselves: not other nodes, not what such a host forwards,
// not who writes an endpoint of `kubernetes`. In this lab node n1 is made one of them.

const lab = useLab('apisrv', { nodes: 2 });
const FAMILIES = [4, 6] as const;
const NODE_PORT = 31_080;
const API = { net: 'n1' };
const OTHER = { net: 'n2' };

/** Endpoints of default/kubernetes, as the API server keeps them. */
const apiServers = (...addresses: string[]): string =>
  JSON.stringify({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'kubernetes', namespace: 'default', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: 'IPv4',
    ports: [{ name: 'https', protocol: 'TCP', port: 6443 }],
    endpoints: addresses.map((a) => ({ addresses: [a], conditions: { ready: true } })),
  });

/** A slice that a user of the namespace writes, beside the one of the API server. */
const forged = async (name: string): Promise<string> =>
  JSON.stringify({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: 'IPv4',
    ports: [{ name: 'https', protocol: 'TCP', port: 6443 }],
    endpoints: [
      { addresses: [fabricAddress(4, nodeHost(1))], conditions: { ready: true } },
      { addresses: [await lab.ip('flat/p1')], conditions: { ready: true } },
    ],
  });

const service = (name: string, port: number, nodePort?: number): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'flat' },
    spec: {
      ...(nodePort === undefined ? {} : { type: 'NodePort' }),
      ports: [{ name: 'http', port, targetPort: 8080, ...(nodePort === undefined ? {} : { nodePort }) }],
    },
  });

/** A connection from the address of one of the fabric's hosts. */
const fromFabric = (source: string, address: string): Promise<string> =>
  exec([
    'nsenter',
    `--net=${netPath(lab.name, 'fabric')}`,
    ...['curl', '-sS', '--max-time', '2', '--interface', source, `http://${address}:8080/`],
  ]).then(
    ({ stdout }) => (stdout.includes('"namespace":"a"') ? 'open' : stdout),
    () => 'closed',
  );

const access = (value: string): Promise<string> =>
  lab.kubectl(
    ...['-n', 'a', 'patch', 'virtualnetwork', 'default', '--type=merge', '-p'],
    JSON.stringify({ spec: { apiServerAccess: value } }),
  );

beforeAll(async () => {
  await lab.apply(
    [shop('a'), shop('b'), shop('flat', { isolated: false }), pod('b', 'late', { node: 'n2' })].join('\n---\n'),
  );
  await lab.apply(apiServers(fabricAddress(4, 2), fabricAddress(4, nodeHost(0))));
  await lab.eventually(
    async () => lab.connect(API, await lab.ip('a/p2'), 8080),
    (v) => v === 'open:a/p2',
  );
});

describe('who passes for the API server', () => {
  test.each(FAMILIES)(
    'a host of the API server reaches pods of other nodes; another node does not (IPv%s)',
    async (f) => {
      for (const [from, to, verdict] of [
        [API, 'a/p2', 'open:a/p2'],
        [API, 'a/p1', 'open:a/p1'], // its own node, as ever
        [OTHER, 'a/p2', 'open:a/p2'],
        [OTHER, 'a/p1', 'rejected'],
      ] as const)
        expect([from.net, to, await lab.connect(from, await lab.ip(to, f), 8080)]).toEqual([from.net, to, verdict]);
      expect(await lab.connect(API, await lab.ip('b/p2', f), 5353, 'UDP')).toBe('open:b/p2');
      expect(await lab.connect(OTHER, await lab.ip('b/p1', f), 5353, 'UDP')).toBe('rejected');
    },
  );

  test('by the cluster IP of the network, too, as webhooks are called; other nodes are refused', async () => {
    const { clusterIPs = [] } = (await lab.view()).state.services.get('a/web') ?? {};
    for (const ip of clusterIPs) {
      const answers = await Promise.all(Array.from({ length: 12 }, () => lab.connect(API, ip, 80)));
      expect(new Set(answers).size).toBeGreaterThan(1);
      expect(answers.filter((v) => !v.startsWith('open:a/'))).toEqual([]);
    }
    const elsewhere = await Promise.all(Array.from({ length: 12 }, () => lab.connect(OTHER, clusterIPs[0] ?? '', 80)));
    expect(elsewhere).toContain('rejected'); // those that chose a backend of the other node
  });

  test.each(FAMILIES)('pods beside the API server stay what they are (IPv%s)', async (f) => {
    expect(await lab.connect('flat/p1', await lab.ip('a/p2', f), 8080)).toBe('rejected');
    expect(await lab.connect('b/p1', await lab.ip('a/p2', f), 8080)).toBe('rejected');
    expect(await lab.connect('a/p1', await lab.ip('a/p2', f), 8080)).toBe('open:a/p2');
  });

  test('what the host forwards is not the API server: a node port whose endpoints somebody wrote by hand', async () => {
    const victim = await lab.ip('a/p2');
    await lab.apply(
      [
        service('trap', 8080, NODE_PORT),
        JSON.stringify({
          apiVersion: 'discovery.k8s.io/v1',
          kind: 'EndpointSlice',
          metadata: { name: 'trap', namespace: 'flat', labels: { 'kubernetes.io/service-name': 'trap' } },
          addressType: 'IPv4',
          ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
          endpoints: [{ addresses: [victim], conditions: { ready: true } }],
        }),
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name: 'fair', namespace: 'b' },
          spec: {
            type: 'NodePort',
            selector: { app: 'web' },
            ports: [{ name: 'http', port: 80, targetPort: 8080, nodePort: NODE_PORT + 1 }],
          },
        }),
      ].join('\n---\n'),
    );
    const node = fabricAddress(4, nodeHost(0));
    const fair = await lab.eventually(
      () => lab.connect({ net: 'outside' }, node, NODE_PORT + 1),
      (v) => v.startsWith('open:b/'),
    );
    expect(fair).toMatch(/^open:b\//);
    for (const from of [{ net: 'outside' }, 'flat/p1', 'flat/p2'])
      expect([from, (await lab.connect(from, node, NODE_PORT)).split(':')[0]]).not.toEqual([from, 'open']);
  });

  test('an endpoint that a user of the namespace default writes makes no host an API server', async () => {
    await lab.apply(await forged('kubernetes-also'));
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await lab.connect(OTHER, await lab.ip('a/p1'), 8080)).toBe('rejected');
    expect(await lab.connect('flat/p1', await lab.ip('a/p2'), 8080)).toBe('rejected');
    expect(await lab.connect(API, await lab.ip('a/p2'), 8080)).toBe('open:a/p2');
    await lab.kubectl('-n', 'default', 'delete', 'endpointslice', 'kubernetes-also');
  });

  test('an API server that is no node comes in by its address, its neighbours do not', async () => {
    const target = await lab.ip('a/p2');
    const n2 = fabricAddress(4, nodeHost(1));
    await exec(['nsenter', `--net=${netPath(lab.name, 'fabric')}`, 'ip', 'route', 'add', `${target}/32`, 'via', n2]);
    expect(await fromFabric(fabricAddress(4, 2), target)).toBe('open');
    expect(await fromFabric(fabricAddress(4, 3), target)).toBe('closed');
  });
});

describe('narrowed by the network', () => {
  test('Registered: only what a webhook names, followed live', async () => {
    await access('Registered');
    const [target, own] = [await lab.ip('a/p2'), await lab.ip('a/p1')];
    const closed = await lab.eventually(
      () => lab.connect(API, target, 8080),
      (v) => v === 'rejected',
    );
    expect(closed).toBe('rejected');
    await lab.apply(WIDGETS(8443), { wait: false });
    expect(await lab.connect(API, target, 8080)).toBe('rejected'); // a port that the Service does not have
    await lab.apply(WIDGETS(80), { wait: false });
    const open = await lab.eventually(
      () => lab.connect(API, target, 8080),
      (v) => v === 'open:a/p2',
    );
    expect(open).toBe('open:a/p2');
    expect(await lab.connect(API, target, 5353, 'UDP')).toBe('rejected');
    expect(await lab.connect(OTHER, own, 8080)).toBe('rejected');
  });

  test('None: closed, and what was open ends; other networks are as they were', async () => {
    const target = await lab.ip('a/p2');
    await access('All');
    await lab.eventually(
      () => lab.connect(API, target, 5353, 'UDP'),
      (v) => v === 'open:a/p2',
    );
    const held = new HeldConnection(netPath(lab.name, API.net), target);
    expect(await held.alive(20_000)).toEqual({ tcp: true, udp: true, icmp: true });
    await access('None');
    const closed = await lab.eventually(
      () => lab.connect(API, target, 8080),
      (v) => v === 'rejected',
    );
    expect(closed).toBe('rejected');
    const ended = await lab.eventually(
      () => held.alive(500),
      ({ tcp, udp, icmp }) => !tcp && !udp && !icmp,
    );
    held.end();
    expect(ended).toEqual({ tcp: false, udp: false, icmp: false });
    expect(await lab.connect(API, await lab.ip('b/p2'), 8080)).toBe('open:b/p2');
    expect(await lab.connect('a/p1', target, 8080)).toBe('open:a/p2');
  });

  test('the switch of the cluster is a ceiling', async () => {
    await access('All');
    const target = await lab.ip('a/p2');
    await lab.eventually(
      () => lab.connect(API, target, 8080),
      (v) => v === 'open:a/p2',
    );
    await lab.apply(
      JSON.stringify({
        apiVersion: 'bulkhead.dev/v1alpha1',
        kind: 'BulkheadConfig',
        metadata: { name: 'default' },
        spec: { apiServerAccess: 'None' },
      }),
      { wait: false },
    );
    const closed = await lab.eventually(
      () => lab.connect(API, target, 8080),
      (v) => v === 'rejected',
    );
    expect(closed).toBe('rejected');
    expect(await lab.connect(API, await lab.ip('a/p1'), 8080)).toBe('open:a/p1'); // a node's own pods
  });
});

/** A kind whose versions are converted by Service a/web: one of the ways in which the API server calls a Service. */
const WIDGETS = (port: number): string =>
  JSON.stringify({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'widgets.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'widgets', singular: 'widget', kind: 'Widget' },
      conversion: {
        strategy: 'Webhook',
        webhook: {
          conversionReviewVersions: ['v1'],
          clientConfig: { service: { namespace: 'a', name: 'web', port, path: '/' } },
        },
      },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    },
  });
