import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { podNamespaces } from '../../cli/target/lab-pods.ts';
import { labTarget } from '../../cli/target/lab-target.ts';
import { loadState } from '../../cli/cluster/state.ts';
import type { ClusterState } from '../../core/cluster/state.ts';
import { UNMANAGED } from '../../lab/node/kubelet.ts';
import { labClient } from '../../lab/world/lab.ts';
import { applyManifests } from '../../lib/manifests/apply.ts';
import { inside } from '../../lab/world/namespaces.ts';
import { exec } from '../../lib/exec/exec.ts';
import { type CniFigures, measurePlugin, type Plugin } from './cni.ts';
import { measurePaths, type Path } from './dataplane.ts';
import { progress } from './progress.ts';
import { median } from './statistics.ts';

/**
 * What this version costs beside another one: both have a lab of their own at the same time, and each figure is taken in turns. Set up
 * by hack/bench/beside.sh. Usage: beside.ts CHECKOUT-OF-THE-OTHER ITS-NAME [--quick]
 */

const [, , other = '', otherName = 'before'] = process.argv;
const quick = process.argv.includes('--quick');
const ROUNDS = quick ? 4 : 24;
const TURNS = quick ? 2 : 8;
const ADDS = 30;
const scratch = mkdtempSync(join(tmpdir(), 'bulkhead-beside-'));
const document = join(import.meta.dirname, '../../docs/benchmarks-beside.md');

type Side = { readonly label: string; readonly checkout: string; readonly lab: string };
const sides: readonly Side[] = [
  { label: otherName, checkout: other, lab: `before${process.pid}` },
  { label: 'now', checkout: join(import.meta.dirname, '../..'), lab: `now${process.pid}` },
];
const PATHS = [
  ['flat network, same node', 'flat/p1', 'flat/q1'],
  ['isolated network, same node', 'bench/p1', 'bench/q1'],
  ['flat network, other node', 'flat/p1', 'flat/p2'],
  ['isolated network, other node', 'bench/p1', 'bench/p2'],
] as const;

try {
  const manifest = join(scratch, 'pods.yaml');
  writeFileSync(
    manifest,
    served()
      .map((m) => JSON.stringify(m))
      .join('\n---\n'),
  );
  for (const { checkout, lab, label } of sides) {
    progress(`lab up: ${label}`);
    await exec([join(checkout, 'bulkhead'), 'lab', 'up', '--name', lab, '--nodes', '2', '-f', manifest], {
      timeoutMs: 120_000,
    });
    await using client = labClient(lab);
    await applyManifests(client, attachedByHand());
  }
  const states = await Promise.all(sides.map(({ lab }) => stateOf(lab)));
  const paths = PATHS.flatMap(([name, from, to]) => sides.map((side, i) => pathOf(side, states[i], name, from, to)));
  const packets = await measurePaths(paths, ROUNDS, progress);
  const cni = await measureCni(states);
  writeFileSync(document, report(packets, cni));
  progress('');
  process.stderr.write('wrote docs/benchmarks-beside.md\n');
} finally {
  for (const { checkout, lab } of sides)
    await exec([join(checkout, 'bulkhead'), 'lab', 'down', '--name', lab]).catch(() => undefined);
  rmSync(scratch, { recursive: true, force: true });
}

async function stateOf(lab: string): Promise<ClusterState> {
  await using target = labTarget(lab);
  return await loadState(target);
}

function pathOf(side: Side, state: ClusterState | undefined, name: string, from: string, to: string): Path {
  const namespaces = podNamespaces(side.lab);
  const podOf = (key: string) => state?.pods.get(key);
  return {
    name: `${name}|${side.label}`,
    from: namespaces.get(podOf(from)?.uid ?? '') ?? '',
    to: namespaces.get(podOf(to)?.uid ?? '') ?? '',
    address: podOf(to)?.ips.find((ip) => !ip.includes(':')) ?? '',
  };
}

/** ADD and DEL of both, turn by turn, so that a busy moment of the machine hits both. */
async function measureCni(states: readonly ClusterState[]): Promise<Map<string, CniFigures[]>> {
  const figures = new Map<string, CniFigures[]>();
  const names = Array.from({ length: ADDS }, (_, i) => `bench-${i}`);
  const inNode = (lab: string, verb: string): Promise<unknown> =>
    exec(inside(lab, { node: 'n1' }, ['sh', '-c', `for n in "$@"; do ip netns ${verb} "$n"; done`, 'sh', ...names]));
  for (let turn = 0; turn < TURNS; turn++)
    for (const [i, side] of sides.entries()) {
      progress(`CNI, turn ${turn + 1} of ${TURNS}: ${side.label}`);
      await inNode(side.lab, 'add');
      const measured = await measurePlugin(
        pluginOf(side, states[i]),
        names.map((n) => `/run/netns/${n}`),
        1,
      );
      figures.set(side.label, [...(figures.get(side.label) ?? []), measured]);
      await inNode(side.lab, 'del');
      await new Promise((resolve) => setTimeout(resolve, 1_500)); // what was deferred is done
    }
  return figures;
}

function pluginOf({ label, checkout, lab }: Side, state: ClusterState | undefined): Plugin {
  return {
    name: label,
    program: join(checkout, 'dist/cni/bulkhead'),
    config: { cniVersion: '1.0.0', name: 'bulkhead', type: 'bulkhead', socket: '/run/bulkhead/cni.sock' },
    enter: inside(lab, { node: 'n1' }, []),
    args: (i) =>
      `K8S_POD_NAMESPACE=bench;K8S_POD_NAME=cni-${i};K8S_POD_UID=${state?.pods.get(`bench/cni-${i}`)?.uid ?? ''}`,
  };
}

function report(packets: Awaited<ReturnType<typeof measurePaths>>, cni: ReadonlyMap<string, CniFigures[]>): string {
  const figure = (name: string, side: Side | undefined) => packets.find((p) => p.name === `${name}|${side?.label}`);
  const [before, now] = sides;
  const percent = (a = Number.NaN, b = Number.NaN): string =>
    `${a <= b ? '+' : '−'}${Math.abs((b / a - 1) * 100).toFixed(1)} %`;
  const rows = PATHS.map(([name]) => {
    const [a, b] = [figure(name, before), figure(name, now)];
    return `| ${name} | ${a?.halfRttUs.toFixed(2)} | ${b?.halfRttUs.toFixed(2)} | ${percent(a?.halfRttUs, b?.halfRttUs)} | ${a?.gbps.toFixed(2)} | ${b?.gbps.toFixed(2)} | ${percent(a?.gbps, b?.gbps)} |`;
  });
  const calls = (['add', 'del'] as const).map((verb) => {
    const of = (side: Side | undefined): number => median((cni.get(side?.label ?? '') ?? []).map((f) => f[verb].p50));
    return `| ${verb.toUpperCase()} | ${of(before).toFixed(1)} | ${of(now).toFixed(1)} | ${percent(of(before), of(now))} |`;
  });
  return [
    '# What this version costs beside an earlier one',
    '',
    `Written by \`make bench-beside REF=${before?.label}${quick ? ' ARGS=--quick' : ''}\` on ${new Date().toISOString().slice(0, 10)}: ${cpus().length} cores, kernel ${release()}, one shared`,
    'virtual machine. Both versions ran at the same time in labs of their own, and every figure was taken in turns; medians.',
    '',
    '## Packets: one TCP connection, 64-byte messages; one stream',
    '',
    `| path | half round trip µs, ${before?.label} | now | change | Gbit/s, ${before?.label} | now | change |`,
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
    '## CNI, from exec to exit, one caller',
    '',
    `| call | p50 ms, ${before?.label} | now | change |`,
    '|---|---|---|---|',
    ...calls,
    '',
  ].join('\n');
}

function pod(ns: string, name: string, annotations: Readonly<Record<string, string>> = {}): Record<string, unknown> {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: ns, annotations },
    spec: {
      nodeSelector: { 'kubernetes.io/hostname': name === 'p2' ? 'n2' : 'n1' },
      containers: [{ name: 'c', image: 'x' }],
    },
  };
}

/** Pods that packets go between. */
function served(): object[] {
  const namespace = (name: string, labels: Readonly<Record<string, string>>): object => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels },
  });
  return [
    namespace('bench', { 'bulkhead.dev/isolated': 'true' }),
    namespace('flat', {}),
    ...['p1', 'q1', 'p2'].flatMap((p) => [pod('bench', p), pod('flat', p)]),
  ];
}

/** Pods that no kubelet touches. */
function attachedByHand(): Record<string, unknown>[] {
  return Array.from({ length: ADDS }, (_, i) => pod('bench', `cni-${i}`, { [UNMANAGED]: 'true' }));
}
