import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { labTarget } from '../../cli/target/lab-target.ts';
import { loadState } from '../../cli/cluster/state.ts';
import { podNamespaces } from '../../cli/target/lab-pods.ts';
import { connectAll } from '../../lib/connect/connect.ts';
import { labClient, labDown, labUp } from '../../lab/world/lab.ts';
import { applyManifests } from '../../lib/manifests/apply.ts';
import { inside } from '../../lab/world/namespaces.ts';
import { exec } from '../../lib/exec/exec.ts';
import { measurePaths, type Path, type PathFigures } from './dataplane.ts';
import { median } from './statistics.ts';
import { progress } from './progress.ts';

/** Routers and Services of networks: what they cost a packet, and how long a change takes to reach the kernel. */

const checkout = join(import.meta.dirname, '../..');
const quick = process.argv.includes('--quick');
const ROUNDS = quick ? 2 : 5;
const SERVICES = quick ? 200 : 1000;
const NETWORKS = quick ? 40 : 200;
const HUBS = NETWORKS / 4;
const name = `benchnet${process.pid}`;
type Manifest = Record<string, unknown>;

try {
  await labUp({ name, nodes: 2, family: 'ipv4', manifests: [], checkout, progress, nodeCidrLength: 20 });
  const client = labClient(name);
  await using target = labTarget(name);
  const apply = (objects: readonly Manifest[]): Promise<unknown> => applyManifests(client, objects);
  await apply([...shop('a'), ...shop('b'), ...shop('flat', false), router('a', ['b']), router('b', ['a'])]);
  await ready();
  const before = await measurePaths(await paths(), ROUNDS, progress);

  progress(`${SERVICES} Services with 10 endpoints each`);
  const filled = await timed(async () => {
    await apply(Array.from({ length: SERVICES }, (_, i) => [service(i), slice(i, 10)]).flat());
    await until(async () => (await serviceChains()) >= SERVICES);
  });
  const changes: number[] = [];
  for (let i = 0; i < 9; i++) {
    progress(`one endpoint more, ${i + 1} of 9`);
    const id = i * 7;
    changes.push(
      await timed(async () => {
        await apply([slice(id, 11)]);
        await until(async () => (await chain(id)).includes(`10.99.${id % 250}.11`));
      }),
    );
  }
  const after = await measurePaths(await paths(), ROUNDS, progress);
  await exec(
    [
      'kubectl',
      '--kubeconfig',
      `/run/bulkhead-lab/${name}/kubeconfig`,
      'delete',
      'svc',
      '-n',
      'a',
      '-l',
      'bench=many',
      '--wait=false',
    ],
    { timeoutMs: 300_000 },
  );

  progress(`${NETWORKS} networks, each with a pod on n1`);
  for (let i = 0; i < NETWORKS; i += 20) {
    await apply(Array.from({ length: 20 }, (_, j) => [ns(`m${i + j}`, true), pod(`m${i + j}`, 'p1')]).flat());
    await ready();
  }
  progress(`${HUBS} routers with three spokes each`);
  const spokes = (hub: number): number[] => [1, 2, 3].map((k) => HUBS * k + hub);
  const connected = await timed(async () => {
    await apply(
      Array.from({ length: HUBS }, (_, hub) => [
        router(
          `m${hub}`,
          spokes(hub).map((s) => `m${s}`),
          'Hub',
        ),
        ...spokes(hub).map((s) => router(`m${s}`, [`m${hub}`], 'Spoke')),
      ]).flat(),
    );
    await until(async () =>
      (await verdicts(Array.from({ length: HUBS }, (_, h) => [`m${h}/p1`, `m${HUBS + h}/p1`] as const))).every(
        (v) => v === 'open',
      ),
    );
  });
  const cuts: number[] = [];
  const joins: number[] = [];
  for (let hub = 0; hub < 7; hub++) {
    progress(`a router goes and comes back, ${hub + 1} of 7`);
    const pair = [`m${hub}/p1`, `m${HUBS + hub}/p1`] as const;
    const is = (wanted: string) => until(async () => (await verdicts([pair]))[0] === wanted);
    cuts.push(
      await timed(async () => {
        await client.delete(
          { group: 'bulkhead.dev', version: 'v1alpha1', plural: 'virtualnetworkrouters' },
          'r',
          `m${HUBS + hub}`,
        );
        await is('rejected');
      }),
    );
    joins.push(
      await timed(async () => {
        await apply([router(`m${HUBS + hub}`, [`m${hub}`], 'Spoke')]);
        await is('open');
      }),
    );
  }
  const many = await measurePaths(await paths(), ROUNDS, progress);
  writeFileSync(
    join(checkout, 'docs/benchmarks-networks.md'),
    document({
      before,
      after,
      many,
      filled,
      change: median(changes),
      connected,
      cut: median(cuts),
      join: median(joins),
    }),
  );
  progress('');
  process.stderr.write('wrote docs/benchmarks-networks.md\n');

  async function ready(): Promise<void> {
    await until(async () => {
      const { items } = await client.list({ group: '', version: 'v1', plural: 'pods' });
      return items.every((p) => (p['status'] as { phase?: string } | undefined)?.phase === 'Running');
    });
  }
  async function places(): Promise<(key: string) => { netns: string; ip: string }> {
    const state = await loadState(target);
    const namespaces = podNamespaces(name);
    return (key) => {
      const p = state.pods.get(key);
      return { netns: namespaces.get(p?.uid ?? '') ?? '', ip: p?.ips[0] ?? '' };
    };
  }
  async function paths(): Promise<Path[]> {
    const of = await places();
    const { services } = await loadState(target);
    const between = (label: string, from: string, to: string): Path => ({
      name: label,
      from: of(from).netns,
      to: of(to).netns,
      address: of(to).ip,
    });
    const via = (label: string, from: string, to: string, service_: string): Path => ({
      ...between(label, from, to),
      address: services.get(service_)?.clusterIPs[0] ?? '',
    });
    return [
      between('in a network, same node', 'a/p1', 'a/q1'),
      via('its Service, same node', 'a/p1', 'a/q1', 'a/web'),
      between('through a router, same node', 'a/p1', 'b/q1'),
      via("the other network's Service, same node", 'a/p1', 'b/q1', 'b/web'),
      via("flat Service by the lab's proxy, same node", 'flat/p1', 'flat/q1', 'flat/web'),
      between('in a network, other node', 'a/p1', 'a/p2'),
      between('through a router, other node', 'a/p1', 'b/p2'),
    ];
  }
  async function verdicts(pairs: readonly (readonly [string, string])[]): Promise<string[]> {
    const of = await places();
    const outcomes = await connectAll(
      pairs.map(([from, to]) => ({
        netns: of(from).netns,
        address: of(to).ip,
        port: 8080,
        protocol: 'TCP',
        timeoutMs: 500,
        identify: false,
      })),
    );
    return outcomes.map((o) => o.verdict);
  }
  async function onNode(...argv: string[]): Promise<string> {
    return (await exec(inside(name, { node: 'n1' }, argv))).stdout;
  }
  async function instance(): Promise<string> {
    const vni = (await loadState(target)).networks.get('a/default')?.vni ?? 0;
    return `bh-${vni}`;
  }
  async function serviceChains(): Promise<number> {
    const text = await onNode(
      'ip',
      'netns',
      'exec',
      await instance(),
      'nft',
      'list',
      'map',
      'inet',
      'bulkhead',
      'svc4',
    );
    return [...text.matchAll(/goto svc4\/a\/many/g)].length;
  }
  async function chain(id: number): Promise<string> {
    return await onNode(
      'ip',
      'netns',
      'exec',
      await instance(),
      'nft',
      'list',
      'chain',
      'inet',
      'bulkhead',
      `svc4/a/many-${id}/tcp/80`,
    );
  }
} finally {
  await labDown(name);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 300_000;
  for (;;) {
    let last: unknown;
    if (await holds().catch((error: unknown) => ((last = error), false))) return;
    if (performance.now() > end) throw new Error('gave up waiting', { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function ns(namespace: string, isolated: boolean): Manifest {
  const labels = isolated ? { 'bulkhead.dev/isolated': 'true' } : {};
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels } };
}
function pod(namespace: string, podName: string): Manifest {
  const node = podName === 'p2' ? 'n2' : 'n1';
  const labels = podName === 'q1' ? { app: 'web' } : {};
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: podName, namespace, labels },
    spec: {
      nodeSelector: { 'kubernetes.io/hostname': node },
      containers: [{ name: 'c', image: 'x', ports: [{ containerPort: 8080 }] }],
    },
  };
}
function shop(namespace: string, isolated = true): Manifest[] {
  const web = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace },
    spec: { selector: { app: 'web' }, ports: [{ port: 7007 }] },
  };
  return [ns(namespace, isolated), ...['p1', 'q1', 'p2'].map((p) => pod(namespace, p)), web];
}
function router(namespace: string, others: readonly string[], type = 'Mesh'): Manifest {
  return {
    apiVersion: 'bulkhead.dev/v1alpha1',
    kind: 'VirtualNetworkRouter',
    metadata: { name: 'r', namespace },
    spec: { type, virtualNetworks: ['default'], import: others.map((o) => ({ namespace: o, name: 'r' })) },
  };
}
function service(id: number): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `many-${id}`, namespace: 'a', labels: { bench: 'many' } },
    spec: { ports: [{ name: 'p', port: 80 }] },
  };
}
function slice(id: number, count: number): Manifest {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `many-${id}`,
      namespace: 'a',
      labels: { 'kubernetes.io/service-name': `many-${id}`, bench: 'many' },
    },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 80, protocol: 'TCP' }],
    endpoints: Array.from({ length: count }, (_, i) => ({
      addresses: [`10.99.${id % 250}.${i + 1}`],
      conditions: { ready: true },
    })),
  };
}

type Figures = {
  readonly before: readonly PathFigures[];
  readonly after: readonly PathFigures[];
  readonly many: readonly PathFigures[];
  readonly filled: number;
  readonly change: number;
  readonly connected: number;
  readonly cut: number;
  readonly join: number;
};

function document(f: Figures): string {
  const ratio = (x: number, base: number | undefined): string =>
    base === undefined ? '–' : `${(x / base).toFixed(2)}×`;
  const base = (path: string): PathFigures | undefined =>
    f.before.find((p) => p.name === `in a network, ${path.split(', ').at(-1)}`);
  const rows = f.before.map((p, i) => {
    const [then, later] = [f.after[i], f.many[i]];
    const cells = [
      p.halfRttUs.toFixed(1),
      ratio(p.halfRttUs, base(p.name)?.halfRttUs),
      p.gbps.toFixed(1),
      ratio(then?.halfRttUs ?? 0, p.halfRttUs),
      ratio(later?.halfRttUs ?? 0, p.halfRttUs),
    ];
    return `| ${p.name} | ${cells.join(' | ')} |`;
  });
  return [
    '# Benchmarks of networks',
    '',
    `Written by \`make bench-networks${quick ? ' ARGS=--quick' : ''}\` on ${new Date().toISOString().slice(0, 10)}: ${cpus().length} cores, kernel ${release()}, one shared virtual machine that runs both nodes, the controller and the API server.`,
    'Interleaved, medians; read the ratios.',
    '',
    '## What a way costs a packet',
    '',
    `| path | half round trip µs | against the network itself | Gbit/s | with ${SERVICES} Services × 10 endpoints, against before | with ${NETWORKS} networks and ${HUBS} hubs, against before |`,
    '|---|---|---|---|---|---|',
    ...rows,
    '',
    '## How long a change takes',
    '',
    'From the first request at the API server to the kernel of the node, everything between included.',
    '',
    '| what | ms |',
    '|---|---|',
    `| ${SERVICES} Services × 10 endpoints in one network, made one after another (2 × ${SERVICES} objects), all in the kernel | ${f.filled.toFixed(0)} |`,
    `| one endpoint more in one of them | ${f.change.toFixed(0)} |`,
    `| ${HUBS} hubs with 3 spokes each (${HUBS * 4} routers) on a node with ${NETWORKS} networks, packets pass | ${f.connected.toFixed(0)} |`,
    `| one spoke taken away there, packets are refused | ${f.cut.toFixed(0)} |`,
    `| and given back, packets pass | ${f.join.toFixed(0)} |`,
    '',
    "The lab's proxy stands for kube-proxy in nftables mode: the same kind of maps, in the root. kube-proxy itself is measured on a cluster only.",
    '',
  ].join('\n');
}
