import { closeSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { emptyNodeConfig, type GroupItem, type ProfileItem } from '../../api/nodeconfig.ts';
import { NamespaceWriter } from '../../dataplane/kernel/namespace-writer.ts';
import { PolicyTable } from '../../dataplane/desired/policy-table.ts';
import { RuleNumbers } from '../../dataplane/desired/rule-numbers.ts';
import type { Staged } from '../../dataplane/kernel/staged.ts';
import { TABLE } from '../../dataplane/plan/names.ts';
import { deniedFlows } from '../../dataplane/plan/denied-flows.ts';
import { Revocations } from '../../dataplane/desired/revocations.ts';
import { openConntrack } from '../../lib/netlink/conntrack.ts';
import { policyObjects, revokedRules } from '../../dataplane/plan/policy.ts';
import { libc } from '../../lib/netns/libc.ts';
import { createNetns, deleteNetns, inNetns } from '../../lib/netns/netns.ts';
import { openNetlink } from '../../lib/netlink/netlink.ts';
import { openNft } from '../../lib/nft/nft.ts';
import { exec } from '../../lib/exec/exec.ts';
import { median, quantile } from './statistics.ts';
import { progress } from './progress.ts';

/** What policies cost: a packet, a whole node, and one change. In a scratch namespace, with the agent's own tables. */

const checkout = join(import.meta.dirname, '../..');
const quick = process.argv.includes('--quick');
const ROUNDS = quick ? 5 : 15;
const CHANGES = quick ? 100 : 400;

/** A way out of the scratch namespace that swallows everything, and an address of its own. */
const SETUP = [
  'ip link set lo up; ip addr add 10.0.0.5/32 dev lo; ip link add d0 type veth peer name d1; ip addr add 192.0.2.1/32 dev d0',
  'ip link set d0 up; ip link set d1 up; sysctl -qw net.netfilter.nf_conntrack_max=1000000',
  'ip route add 10.0.0.0/8 via 192.0.2.2 dev d0 onlink; ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev d0 nud permanent',
].join('; ');

type Config = ReturnType<typeof emptyNodeConfig>;

let count = 0;

/** A namespace with the agent's table in it, as far as policies go. */
class Bench implements Disposable {
  readonly path = `/run/netns/bh-bench-${process.pid}-${count++}`;
  readonly config: Config = emptyNodeConfig();
  readonly instance: NamespaceWriter;
  readonly table: PolicyTable;
  readonly #open: Disposable[] = [];
  #staged: Staged | undefined;

  constructor() {
    createNetns(this.path);
    const netlink = openNetlink(this.path);
    const nft = openNft(this.path);
    this.#open.push(netlink, nft);
    this.instance = new NamespaceWriter('bench', TABLE, { netlink, root: netlink, nft, netns: this.path }, () => false);
    const rules = new RuleNumbers();
    this.table = new PolicyTable({
      register: 'meta mark',
      config: this.config,
      rules: { of: (o) => rules.of(o), log: false },
      set: (owner, objects) => this.instance.setNft(owner, objects),
      setElement: (set, key, value, before) => this.#staged?.set(set, key, value, before),
    });
    this.instance.table.keepElements(() => this.table.elements());
    const sets = ([4, 6] as const).map((f) => ({ kind: 'set', name: `self${f}`, type: `ipv${f}_addr` }) as const);
    this.instance.setFragment('base', { nft: [...sets, ...policyObjects('meta mark')] });
  }

  /** As the agent does, with nothing between two steps. */
  update(inUse: ReadonlySet<string>): void {
    if (this.instance.table.writes === 0) {
      this.table.update(inUse);
      return;
    }
    const staged = this.instance.table.stage();
    this.#staged = staged;
    for (const step of this.table.steps(inUse)) if (step !== 'breath') this.instance.write(staged.take());
    this.#staged = undefined;
  }

  /** Asks the policies of a profile about everything that this namespace sends. */
  ask(profile: string | undefined): void {
    const from = profile === undefined ? undefined : this.table.chainsOf(profile).from;
    const hook = { type: 'filter', hook: 'output', priority: 'filter', policy: 'accept' } as const;
    const asked = from ? [...revokedRules(), `jump ${from.name}`, 'jump ask_eg'] : [];
    const rules = ['ct state established,related accept', ...asked];
    this.instance.setFragment('output', { nft: [{ kind: 'chain', name: 'output', hook, rules }] });
    this.instance.apply('all');
  }

  [Symbol.dispose](): void {
    for (const each of this.#open) each[Symbol.dispose]();
    deleteNetns(this.path);
  }
}

const address = (i: number): string => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
const group = (indices: readonly number[]): GroupItem => ({ addresses: indices.map(address), prefixes: [] });
const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);
const isolated = (key: string, groups: readonly string[]): ProfileItem => {
  const rules = groups.map((g, i) => ({
    tier: 'NetworkPolicy' as const,
    policy: key,
    rule: `rule ${i}`,
    action: 'Accept' as const,
    matches: [
      {
        peers: [g],
        ports: [
          { protocol: 'UDP' as const, first: 9, last: 9 },
          { protocol: 'TCP' as const, first: 80, last: 80 },
        ],
      },
    ],
  }));
  return { egress: { isolatedBy: [key], rules }, ingress: { isolatedBy: [key], rules } };
};

try {
  const packets = await measurePackets();
  const loads = [
    load(
      '250 pods, one group that all share',
      250,
      (i) => (i === 0 ? range(0, 1000) : undefined),
      () => ['g0'],
    ),
    load(
      '250 pods, each its own 1000 of 250 000',
      250,
      (i) => range(i * 1000, 1000),
      (i) => [`g${i}`],
    ),
    load(
      '25 pods, each any 1000 of 10 000: no two addresses are in the same groups',
      25,
      (i) => scattered(i),
      (i) => [`g${i}`],
    ),
  ];
  const change = oneChange();
  const cut = await cutting();
  const text = report(packets, loads, change, cut);
  writeFileSync(join(checkout, 'docs/benchmarks-policy.md'), text);
  progress('');
  process.stdout.write(text);
} catch (error) {
  process.stderr.write(`${(error as Error).stack}\n`);
  process.exitCode = 1;
}

/** A thousand numbers below ten thousand, others for each seed, the same in every run. */
function scattered(seed: number): number[] {
  const found = new Set<number>();
  let x = seed * 7919 + 17;
  while (found.size < 1000) {
    x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
    found.add((x >>> 8) % 10_000);
  }
  return [...found];
}

/** Datagrams sent in a loop by one thread, µs each: on one connection, and each to another address. */
async function measurePackets(): Promise<Map<string, { established: number; first: number }>> {
  const variants = [undefined, 10, 1000, 100_000];
  const benches = variants.map((peers) => {
    const bench = new Bench();
    if (peers !== undefined) {
      bench.config.group.set('g', group(range(1, peers)));
      bench.config.profile.set('p', isolated('p', ['g']));
      bench.update(new Set(['p']));
    }
    progress(`tables with ${peers ?? 'no'} peers`);
    bench.ask(peers === undefined ? undefined : 'p');
    return { name: peers === undefined ? 'conntrack alone' : `policy, ${peers} peers`, bench, peers: peers ?? 1000 };
  });
  for (const { bench } of benches) await exec(['nsenter', `--net=${bench.path}`, 'sh', '-c', SETUP]);
  const figures = benches.map(() => ({ established: [] as number[], first: [] as number[] }));
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, { bench, name, peers }] of benches.entries()) {
      progress(`packets, round ${round + 1} of ${ROUNDS}: ${name}`);
      figures[i]?.established.push(sendAnswered(bench.path, 60_000, address(5)));
      await exec(['nsenter', `--net=${bench.path}`, 'conntrack', '-F']).catch(() => undefined);
      figures[i]?.first.push(sendMany(bench.path, 9, (n) => address(1 + (n % Math.min(peers, 9))), 2_000));
      await exec(['nsenter', `--net=${bench.path}`, 'conntrack', '-F']).catch(() => undefined);
    }
  const result = new Map(
    benches.map(({ name }, i) => [
      name,
      { established: median(figures[i]?.established ?? []), first: median(figures[i]?.first ?? []) },
    ]),
  );
  for (const { bench } of benches) bench[Symbol.dispose]();
  return result;
}

/** One connection to an address of the namespace itself, which has answered once: only then conntrack calls it established. */
function sendAnswered(netns: string, count: number, to: string): number {
  const message = Buffer.alloc(32);
  return inNetns<number>(netns, () => {
    const server = libc.socket(2, 2, 0);
    libc.bind(server, sockaddr(to, 9), 16);
    const client = libc.socket(2, 2, 0);
    libc.bind(client, sockaddr(to, 4_000), 16);
    libc.connect(client, sockaddr(to, 9), 16);
    libc.connect(server, sockaddr(to, 4_000), 16);
    libc.send(client, message, 32, 0);
    libc.send(server, message, 32, 0);
    const began = process.hrtime.bigint();
    for (let n = 0; n < count; n++) libc.send(client, message, 32, 0);
    const spent = process.hrtime.bigint() - began;
    closeSync(client);
    closeSync(server);
    return Number(spent) / 1000 / count;
  });
}

/** @param sockets each has a source port of its own, so that its packets begin new connections */
function sendMany(netns: string, count: number, to: (n: number) => string, sockets = 1): number {
  const message = Buffer.alloc(32);
  return inNetns<number>(netns, () => {
    let spent = 0n;
    for (let s = 0; s < sockets; s++) {
      const fd = libc.socket(2, 2, 0);
      const addresses = range(0, Math.min(count, 16)).map((n) => sockaddr(to(n), 9));
      libc.connect(fd, addresses[0] as Buffer, 16);
      if (sockets === 1) libc.send(fd, message, 32, 0);
      const began = process.hrtime.bigint();
      for (let n = 0; n < count; n++) {
        if (sockets > 1) libc.connect(fd, addresses[n % addresses.length] as Buffer, 16);
        libc.send(fd, message, 32, 0);
      }
      spent += process.hrtime.bigint() - began;
      closeSync(fd);
    }
    return Number(spent) / 1000 / (count * sockets);
  });
}

function sockaddr(ip: string, port: number): Buffer {
  const b = Buffer.alloc(16);
  b.writeUInt16LE(2, 0);
  b.writeUInt16BE(port, 2);
  for (const [i, part] of ip.split('.').entries()) b[4 + i] = Number(part);
  return b;
}

/** Pods that each have a profile of their own with 1000 peers: everything from nothing into the kernel, ms. */
function load(
  name: string,
  pods: number,
  members: (i: number) => number[] | undefined,
  groups: (i: number) => string[],
): { readonly name: string; readonly ms: number } {
  progress(`full load: ${name}`);
  const times: number[] = [];
  for (let round = 0; round < (quick ? 1 : 3); round++) {
    using bench = new Bench();
    bench.instance.apply('all');
    for (let i = 0; i < pods; i++) {
      const list = members(i);
      if (list) bench.config.group.set(`g${i}`, group(list));
      bench.config.profile.set(`p${i}`, isolated(`p${i}`, groups(i)));
    }
    const began = performance.now();
    bench.update(new Set(range(0, pods).map((i) => `p${i}`)));
    bench.instance.apply('all');
    times.push(performance.now() - began);
  }
  return { name, ms: median(times) };
}

/** One pod more in a group of 1000 that 250 profiles name, and one that leaves: until the kernel has it, ms. */
function oneChange(): { readonly p50: number; readonly p99: number } {
  using bench = new Bench();
  bench.config.group.set('g0', group(range(0, 1000)));
  for (let i = 0; i < 250; i++) bench.config.profile.set(`p${i}`, isolated(`p${i}`, ['g0']));
  const all = new Set(range(0, 250).map((i) => `p${i}`));
  bench.update(all);
  bench.instance.apply('all');
  const times: number[] = [];
  for (let i = 0; i < CHANGES; i++) {
    if (i % 50 === 0) progress(`one change, ${i} of ${CHANGES}`);
    const next = group(range(i, 1000));
    const began = performance.now();
    bench.config.group.set('g0', next);
    bench.update(all);
    bench.instance.apply('additions');
    times.push(performance.now() - began);
  }
  return { p50: median(times), p99: quantile(times, 0.99) };
}

/** 10 000 connections of a policed pod, of which a new rule forbids half: looked at, remembered and cut, ms. */
async function cutting(): Promise<number> {
  progress('10 000 connections');
  using bench = new Bench();
  const conntrack = openConntrack(bench.path);
  await exec(['nsenter', `--net=${bench.path}`, 'sh', '-c', SETUP]);
  bench.ask(undefined);
  bench.config.group.set('g', group(range(0, 8)));
  bench.config.profile.set('p', isolated('p', ['g']));
  const times: number[] = [];
  for (let round = 0; round < (quick ? 2 : 5); round++) {
    // 625 sockets, each to 16 addresses, of which the profile accepts eight.
    sendMany(bench.path, 16, (n) => address(n), 625);
    const began = performance.now();
    bench.update(new Set(['p']));
    const revocations = new Revocations((owner, nft) => bench.instance.setNft(owner, nft));
    const profile = bench.table.itemOf('p');
    const pods = new Map(profile ? [['192.0.2.1', { pod: 'bench/p', profile }]] : []);
    const denied = deniedFlows(conntrack.flows(), { pods, groupsOf: (ip) => bench.table.groupsOf(ip), own: new Set() });
    for (const d of denied) revocations.add(d, 0);
    bench.instance.apply('additions');
    conntrack.remove(denied.map((d) => d.flow));
    times.push(performance.now() - began);
    if (denied.length < 4_000) throw new Error(`only ${denied.length} connections were cut`);
    revocations.prune(Number.MAX_SAFE_INTEGER, () => false);
    bench.instance.apply('all');
    conntrack.remove(conntrack.flows());
  }
  return median(times);
}

function report(
  packets: Map<string, { established: number; first: number }>,
  loads: readonly { readonly name: string; readonly ms: number }[],
  change: { readonly p50: number; readonly p99: number },
  cut: number,
): string {
  const base = packets.get('conntrack alone') ?? { established: 1, first: 1 };
  const ratio = (a: number, b: number): string => (a / b).toFixed(2);
  return [
    '# Policies: benchmarks',
    '',
    `\`make bench-policy${quick ? ' ARGS=--quick' : ''}\` on ${cpus().length} cores, Linux ${release()}. One thread that sends datagrams, the variants in turn, medians of ${ROUNDS} rounds. Aims: established connections within 5 % of conntrack alone, flat; a node of 250 pods with 1000 peers each within 1.5 s; one change within 3 ms (p50) and 10 ms (p99) in the agent.`,
    '',
    '| | established (to itself), µs a packet | ratio | first packet of a connection, µs | more than conntrack alone, µs |',
    '|---|---|---|---|---|',
    ...[...packets].map(
      ([name, p]) =>
        `| ${name} | ${p.established.toFixed(2)} | ${ratio(p.established, base.established)} | ${p.first.toFixed(2)} | ${(p.first - base.first).toFixed(2)} |`,
    ),
    '',
    '| profiles of their own, 1000 peers each | ms until the kernel has it |',
    '|---|---|',
    ...loads.map((l) => `| ${l.name} | ${l.ms.toFixed(0)} |`),
    '',
    `One pod joins a group of 1000 that 250 profiles name, and another leaves: p50 ${change.p50.toFixed(2)} ms, p99 ${change.p99.toFixed(2)} ms, from the controller's word to the kernel's answer (${CHANGES} times).`,
    '',
    `A policy is tightened while 10 000 connections stand, and half of them are cut: ${cut.toFixed(0)} ms to look at all, to remember and to delete. The agent looks at most twice a second.`,
    '',
  ].join('\n');
}
