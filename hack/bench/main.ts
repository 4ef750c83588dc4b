import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { podNamespaces } from '../../cli/target/lab-pods.ts';
import { labTarget } from '../../cli/target/lab-target.ts';
import { loadState } from '../../cli/cluster/state.ts';
import { exec } from '../../lib/exec/exec.ts';
import { createNetns, deleteNetns } from '../../lib/netns/netns.ts';
import { applyManifests } from '../../lib/manifests/apply.ts';
import { UNMANAGED } from '../../lab/node/kubelet.ts';
import { labClient, labDown, labUp, waitForPods } from '../../lab/world/lab.ts';
import { inside } from '../../lab/world/namespaces.ts';
import { type CniFigures, measurePlugin, type Plugin } from './cni.ts';
import { measurePaths, type Path, type PathFigures } from './dataplane.ts';
import { progress } from './progress.ts';

const checkout = join(import.meta.dirname, '../..');
const quick = process.argv.includes('--quick');
const SCALES = quick ? [1, 100] : [1, 100, 500];
const ADDS = quick ? 30 : 120;
const ROUNDS = quick ? 2 : 5;
const name = `bench${process.pid}`;
const scratch = mkdtempSync(join(tmpdir(), 'bulkhead-bench-'));
const bare = ['a', 'b', 'c', 'na', 'nb'].map((x) => `/run/netns/${name}-${x}`);

type Section = {
  readonly networks: number;
  readonly cni: readonly CniFigures[];
  readonly paths: readonly PathFigures[];
};

try {
  const lab = await labUp({
    name,
    nodes: 2,
    family: 'dual',
    manifests: [],
    checkout,
    progress,
    agentArgs: ['--address-rest', '1'],
    nodeCidrLength: 20,
  });
  const client = labClient(name);
  await using target = labTarget(name);
  await applyManifests(client, [
    ns('bench', true),
    ns('flat', false),
    ...['p1', 'q1', 'p2'].flatMap((p) => [pod('bench', p), pod('flat', p)]),
    ...Array.from({ length: ADDS }, (_, i) => pod('bench', `cni-${i}`)),
  ]);
  await ready();
  await bareWorld();
  const sections: Section[] = [];
  let networks = 1;
  for (const scale of SCALES) {
    progress(`making ${scale - networks} more networks on n1`);
    for (; networks < scale; networks++) {
      await applyManifests(client, [ns(`many-${networks}`, true), pod(`many-${networks}`, 'p1')]);
      if (networks % 25 === 0) await ready();
    }
    await ready();
    const cni: CniFigures[] = [];
    for (const callers of [1, 4]) cni.push(...(await interleaved(callers)));
    sections.push({ networks: scale, cni, paths: await measurePaths(await paths(), ROUNDS, progress) });
  }
  writeFileSync(join(checkout, 'docs/benchmarks.md'), document(sections, await versionTimes()));
  progress('');
  process.stderr.write('wrote docs/benchmarks.md\n');

  async function ready(): Promise<void> {
    // The pods that the benchmark attaches itself stay pending, on purpose.
    const end = performance.now() + 300_000;
    for (;;) {
      const { items } = await client.list(
        { group: '', version: 'v1', plural: 'pods' },
        { fieldSelector: 'status.phase=Pending' },
      );
      if (items.every((p) => p.metadata.name.startsWith('cni-'))) return;
      if (performance.now() > end) await waitForPods(client, lab, 0, progress);
      await new Promise((r) => setTimeout(r, 200));
    }
  }

  async function paths(): Promise<Path[]> {
    const state = await loadState(target);
    const namespaces = podNamespaces(name);
    const of = (key: string): { netns: string; ip: string } => {
      const p = state.pods.get(key);
      return { netns: namespaces.get(p?.uid ?? '') ?? '', ip: p?.ips.find((x) => !x.includes(':')) ?? '' };
    };
    const between = (label: string, from: string, to: string): Path => ({
      name: label,
      from: of(from).netns,
      to: of(to).netns,
      address: of(to).ip,
    });
    return [
      { name: 'bare veth, routed, same node', from: bare[0] ?? '', to: bare[2] ?? '', address: '10.77.0.3' },
      between('flat network, same node', 'flat/p1', 'flat/q1'),
      between('isolated network, same node', 'bench/p1', 'bench/q1'),
      { name: 'bare veth + VXLAN, other node', from: bare[0] ?? '', to: bare[1] ?? '', address: '10.77.0.2' },
      between('flat network, other node', 'flat/p1', 'flat/p2'),
      between('isolated network, other node', 'bench/p1', 'bench/p2'),
    ];
  }

  /** All plugins with few callers, in small turns, so that a busy moment of the machine hits all of them. */
  async function interleaved(callers: number): Promise<CniFigures[]> {
    const state = await loadState(target);
    const plugins: Plugin[] = [
      {
        name: 'bulkhead',
        program: join(checkout, 'dist/cni/bulkhead'),
        config: { cniVersion: '1.0.0', name: 'bulkhead', type: 'bulkhead', socket: '/run/bulkhead/cni.sock' },
        enter: inside(name, { node: 'n1' }, []),
        args: (i: number) =>
          `K8S_POD_NAMESPACE=bench;K8S_POD_NAME=cni-${i};K8S_POD_UID=${state.pods.get(`bench/cni-${i}`)?.uid ?? ''}`,
      },
      ...['ptp', 'bridge'].map(
        (type): Plugin => ({
          name: `${type} + host-local`,
          program: `/usr/lib/cni/${type}`,
          config: {
            cniVersion: '1.0.0',
            name: `bench-${type}`,
            type,
            bridge: 'benchbr0',
            ipam: { type: 'host-local', subnet: '10.88.0.0/16', dataDir: join(scratch, type) },
          },
          // Its node is a namespace of its own; nsenter is paid by all three.
          enter: ['nsenter', `--net=${bare[3]}`, '--'],
          args: () => '',
        }),
      ),
    ].filter((p) => existsSync(p.program));
    const turns = 3;
    const all = new Map<string, CniFigures[]>();
    for (let turn = 0; turn < turns; turn++) {
      for (const plugin of plugins) {
        progress(`CNI, ${callers} caller(s), turn ${turn + 1} of ${turns}: ${plugin.name}`);
        const count = Math.floor(ADDS / turns);
        const netns = await sandboxes(count, plugin.name === 'bulkhead');
        const figures = await measurePlugin(plugin, netns, callers);
        all.set(plugin.name, [...(all.get(plugin.name) ?? []), figures]);
        await removeSandboxes(count, plugin.name === 'bulkhead');
        await new Promise((r) => setTimeout(r, 1200)); // what was deferred is done, and addresses have rested
      }
    }
    const middle = (f: readonly CniFigures[], get: (x: CniFigures) => number): number =>
      f.map(get).sort((a, b) => a - b)[f.length >> 1] ?? Number.NaN;
    return [...all].map(([plugin, f]) => ({
      name: plugin,
      callers,
      add: { p50: middle(f, (x) => x.add.p50), p99: middle(f, (x) => x.add.p99) },
      del: { p50: middle(f, (x) => x.del.p50), p99: middle(f, (x) => x.del.p99) },
      addsPerSecond: middle(f, (x) => x.addsPerSecond),
    }));
  }

  async function sandboxes(count: number, inNode: boolean): Promise<string[]> {
    const names = Array.from({ length: count }, (_, i) => `bench-${i}`);
    if (inNode)
      await exec(
        inside(name, { node: 'n1' }, ['sh', '-c', `for n in "$@"; do ip netns add "$n"; done`, 'sh', ...names]),
      );
    else for (const n of names) createNetns(`/run/netns/${name}-${n}`);
    return names.map((n) => (inNode ? `/run/netns/${n}` : `/run/netns/${name}-${n}`));
  }
  async function removeSandboxes(count: number, inNode: boolean): Promise<void> {
    const names = Array.from({ length: count }, (_, i) => `bench-${i}`);
    if (inNode)
      await exec(
        inside(name, { node: 'n1' }, ['sh', '-c', `for n in "$@"; do ip netns del "$n"; done`, 'sh', ...names]),
      );
    else for (const n of names) deleteNetns(`/run/netns/${name}-${n}`);
  }

  /** The time from exec to exit of VERSION, which needs no agent. */
  async function versionTimes(): Promise<number> {
    const times: number[] = [];
    for (let i = 0; i < 41; i++) {
      const began = performance.now();
      await exec([join(checkout, 'dist/cni/bulkhead')], {
        input: '{"cniVersion":"1.0.0"}',
        env: { CNI_COMMAND: 'VERSION' },
      });
      times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b)[20] ?? Number.NaN;
  }
} finally {
  await labDown(name);
  for (const n of bare) deleteNetns(n);
  rmSync(scratch, { recursive: true, force: true });
}

function ns(nsName: string, isolated: boolean): Record<string, unknown> {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: nsName, labels: isolated ? { 'bulkhead.dev/isolated': 'true' } : {} },
  };
}
function pod(namespace: string, podName: string, node = podName === 'p2' ? 'n2' : 'n1'): Record<string, unknown> {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: podName,
      namespace,
      ...(podName.startsWith('cni-') ? { annotations: { [UNMANAGED]: 'true' } } : {}),
    },
    spec: { nodeSelector: { 'kubernetes.io/hostname': node }, containers: [{ name: 'c', image: 'x' }] },
  };
}

/** Two nodes with nothing on them but veth, routes and one VXLAN: the floor. a and c are on node na, b on nb. */
async function bareWorld(): Promise<void> {
  for (const n of bare) createNetns(n);
  const [a, b, c, na, nb] = bare;
  const ip = (netns: string | undefined, ...lines: string[]): Promise<unknown> =>
    exec(['nsenter', `--net=${netns}`, 'ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  const attach = async (
    node: string | undefined,
    podNs: string | undefined,
    dev: string,
    host: number,
  ): Promise<void> => {
    await ip(
      node,
      `link add ${dev} mtu 1450 type veth peer name eth0 mtu 1450 netns ${podNs}`,
      `link set ${dev} up`,
      `addr add 169.254.1.1/32 dev ${dev}`,
      `route add 10.77.0.${host}/32 dev ${dev}`,
    );
    await ip(
      podNs,
      'link set lo up',
      'link set eth0 up',
      `addr add 10.77.0.${host}/32 dev eth0`,
      'route add 169.254.1.1 dev eth0',
      'route add default via 169.254.1.1',
    );
  };
  await ip(
    na,
    'link set lo up',
    `link add wire type veth peer name wire netns ${nb}`,
    'link set wire up',
    'addr add 192.0.2.1/24 dev wire',
  );
  await ip(nb, 'link set lo up', 'link set wire up', 'addr add 192.0.2.2/24 dev wire');
  for (const [node, local, remote, mac] of [
    [na, '192.0.2.1', '192.0.2.2', '02:00:00:00:00:01'],
    [nb, '192.0.2.2', '192.0.2.1', '02:00:00:00:00:02'],
  ] as const) {
    await ip(
      node,
      `link add vx address ${mac} mtu 1450 type vxlan id 9 local ${local} remote ${remote} dstport 4789 nolearning`,
      'link set vx up',
    );
    await exec(['nsenter', `--net=${node}`, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  }
  await attach(na, a, 'va', 1);
  await attach(na, c, 'vc', 3);
  await attach(nb, b, 'vb', 2);
  await ip(na, 'addr add 10.78.0.1/24 dev vx', 'route add 10.77.0.2/32 via 10.78.0.2 dev vx');
  await ip(
    nb,
    'addr add 10.78.0.2/24 dev vx',
    'route add 10.77.0.1/32 via 10.78.0.1 dev vx',
    'route add 10.77.0.3/32 via 10.78.0.1 dev vx',
  );
}

function document(sections: readonly Section[], versionMs: number): string {
  const ratio = (x: number, base: number): string => (Number.isFinite(x / base) ? `${(x / base).toFixed(2)}×` : '–');
  const lines = [
    '# Benchmarks',
    '',
    `Written by \`make bench${quick ? ' ARGS=--quick' : ''}\` on ${new Date().toISOString().slice(0, 10)}: ${cpus().length} cores, kernel ${release()}, one shared virtual machine. Everything in a table was measured in one run,`,
    'interleaved; figures are medians of turns. Read the ratios: absolute values of such a machine move from run to run.',
    '',
    `VERSION (start of the plugin's process, nothing else): ${versionMs.toFixed(1)} ms.`,
  ];
  for (const s of sections) {
    lines.push(
      '',
      `## ${s.networks} network(s) on the node`,
      '',
      '### ADD and DEL, from exec to exit',
      '',
      '| plugin | callers | ADD p50 ms | ADD p99 ms | ADD against ptp | DEL p50 ms | DEL p99 ms | DEL against ptp | ADD/s |',
      '|---|---|---|---|---|---|---|---|---|',
    );
    for (const f of s.cni) {
      const ptp = s.cni.find((x) => x.name.startsWith('ptp') && x.callers === f.callers);
      lines.push(
        `| ${f.name} | ${f.callers} | ${f.add.p50.toFixed(1)} | ${f.add.p99.toFixed(1)} | ${ratio(f.add.p50, ptp?.add.p50 ?? Number.NaN)} | ${f.del.p50.toFixed(1)} | ${f.del.p99.toFixed(1)} | ${ratio(f.del.p50, ptp?.del.p50 ?? Number.NaN)} | ${f.addsPerSecond.toFixed(0)} |`,
      );
    }
    lines.push(
      '',
      '### Packets: one TCP connection, 64-byte messages; one stream',
      '',
      '| path | half round trip µs | against bare | Gbit/s | against bare |',
      '|---|---|---|---|---|',
    );
    for (const p of s.paths) {
      const base = s.paths.find((x) => x.name.startsWith('bare') && x.name.endsWith(p.name.split(', ').at(-1) ?? ''));
      lines.push(
        `| ${p.name} | ${p.halfRttUs.toFixed(1)} | ${ratio(p.halfRttUs, base?.halfRttUs ?? Number.NaN)} | ${p.gbps.toFixed(1)} | ${ratio(p.gbps, base?.gbps ?? Number.NaN)} |`,
      );
    }
  }
  lines.push(
    '',
    '## How to read this',
    '',
    '- The plugin is one TypeScript program compiled to an executable; its start is most of an ADD. All plugins pay for `nsenter` alike.',
    '- DEL answers when the address is resting in the journal; the kernel work is done in batches behind it. ptp and bridge wait for the kernel.',
    '- "bare" is veth, a routing node and VXLAN without conntrack or any rule: the floor, not a network for use.',
    `- A ratio of one row to the same row at ${SCALES[0]} network(s) says what many networks on a node cost.`,
    '',
  );
  return lines.join('\n');
}
