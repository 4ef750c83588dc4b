import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { labClient, labDown, labUp } from '../../lab/world/lab.ts';
import { applyManifests } from '../../lib/manifests/apply.ts';
import { listProcesses, logPath } from '../../lab/world/processes.ts';
import { core, type KubeClient, type Resource } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import { systemClock } from '../../lib/reconcile/clock.ts';
import { type Hostile, hostileObjects, type Manifest } from './hostile-objects.ts';
import { progress } from './progress.ts';
import { median } from './statistics.ts';

/**
 * What one tenant's largest objects cost another tenant: how long its pods take to become Ready on the same node, how long the agent takes
 * for their ADD, the longest time in which it answers nothing, and the memory of agent and controller. Each case is a lab of its own, in
 * which the same is measured first without the objects, then while they come, then while they go. `--checkout DIR` measures programs of
 * another checkout; `--seconds N` sets how long each case is watched; `--only WORD` measures some cases, and does not write
 * docs/benchmarks-budgets.md.
 */

const option = (name: string, fallback: string): string => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : (process.argv[at + 1] ?? fallback);
};
const checkout = option('checkout', join(import.meta.dirname, '../..'));
const only = option('only', '');
const seconds = Number(option('seconds', '15'));
/** Above this the case is ended: the machine is not to suffer. */
const MOST_MEGABYTES = 2_500;
const lab = `bench-budgets-${process.pid}`;

const NEIGHBOUR: Manifest[] = [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'neighbour', labels: { 'bulkhead.dev/isolated': 'true' } } },
  {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'own', namespace: 'neighbour' },
    spec: { podSelector: { matchLabels: { app: 'policed' } }, ingress: [{ from: [{ podSelector: {} }] }] },
  },
];

type Figures = {
  readonly ready: readonly number[];
  /** Of the neighbour's pods, as the agent logs it. */
  readonly adds: readonly number[];
  readonly stall: number;
  readonly megabytes: number;
  readonly controllerMegabytes: number;
};

/** Watches one process from outside: its memory, and how long it leaves a question unanswered. */
class Watch {
  stall = 0;
  megabytes = 0;
  controllerMegabytes = 0;
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;

  constructor() {
    this.#done = Promise.all([this.#ask(), this.#weigh()]);
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #ask(): Promise<void> {
    const socket = `/proc/${pidOf('agent-n1')}/root/run/bulkhead/cni.sock`;
    while (!this.#stop.signal.aborted) {
      const began = performance.now();
      await status(socket, this.#stop.signal);
      this.stall = Math.max(this.stall, performance.now() - began);
      await systemClock.sleep(10);
    }
  }

  async #weigh(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.megabytes = Math.max(this.megabytes, residentOf('agent-n1'));
      this.controllerMegabytes = Math.max(this.controllerMegabytes, residentOf('controller'));
      await systemClock.sleep(100);
    }
  }
}

const pidOf = (role: string): number => listProcesses(lab).find((p) => p.role === role)?.pid ?? 0;

/** Resident megabytes of a program of the lab. What was started is a chain of `nsenter`, which becomes the program. */
function residentOf(role: string): number {
  try {
    const text = readFileSync(`/proc/${pidOf(role)}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? 0) / 1024;
  } catch {
    return 0; // it has just ended
  }
}

/** Asks the agent for its state by the CNI socket, and waits for the answer. */
function status(path: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (): void => {
      socket.destroy();
      signal.removeEventListener('abort', end);
      resolve();
    };
    signal.addEventListener('abort', end);
    socket.on('error', end).on('data', end);
    socket.write(
      `${JSON.stringify({ verb: 'STATUS', containerID: '', netns: '', ifname: '', args: {}, config: {} })}\n`,
    );
  });
}

/** Milliseconds from the creation of a pod until it is Ready; undefined when that takes longer than `most`. */
async function readyAfter(
  client: KubeClient,
  name: string,
  most: number,
  labels: Readonly<Record<string, string>>,
): Promise<number | undefined> {
  const pods = core('pods');
  const began = performance.now();
  await client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'neighbour', labels },
    spec: { nodeSelector: { 'kubernetes.io/hostname': 'n1' }, containers: [{ name: 'c', image: 'x' }] },
  });
  for (;;) {
    const pod = await client.get(pods, name, 'neighbour');
    const took = performance.now() - began;
    if (JSON.stringify(pod['status'] ?? {}).includes('"type":"Ready","status":"True"')) return took;
    if (took > most || residentOf('agent-n1') > MOST_MEGABYTES) return undefined;
    await systemClock.sleep(10);
  }
}

/** Milliseconds of each ADD of the neighbour's pods that the agent has logged. */
const addsIn = (log: string): number[] =>
  [...log.matchAll(/"verb":"ADD","pod":"neighbour\/[^"]*","ms":([\d.]+)/g)].map(([, ms]) => Number(ms));

async function probe(
  client: KubeClient,
  prefix: string,
  ms: number,
  neighbour: Readonly<Record<string, string>>,
): Promise<Figures> {
  const logged = statSync(logPath(lab, 'agent-n1')).size;
  const watch = new Watch();
  const ready: number[] = [];
  const until = performance.now() + ms;
  for (let i = 0; performance.now() < until; i++) {
    const name = `${prefix}-${i}`;
    const took = await readyAfter(client, name, 60_000, neighbour);
    ready.push(took ?? Number.POSITIVE_INFINITY);
    if (took === undefined) break;
    await client.delete(core('pods'), name, 'neighbour').catch((error: unknown) => {
      if (!isKube(error, 'NotFound')) throw error;
    });
    await systemClock.sleep(100);
  }
  await watch.end();
  const adds = addsIn(readFileSync(logPath(lab, 'agent-n1')).subarray(logged).toString());
  return {
    ready,
    adds,
    stall: watch.stall,
    megabytes: watch.megabytes,
    controllerMegabytes: watch.controllerMegabytes,
  };
}

async function measure({ objects, flat }: Hostile): Promise<Row> {
  await labUp({ name: lab, nodes: 3, family: 'dual', manifests: [], checkout, progress: () => undefined });
  try {
    await using client = labClient(lab);
    // The neighbour is as the attacker: in a network of its own, or in the flat one, with a policy of its own.
    const neighbour = NEIGHBOUR.map((o) =>
      flat && o['kind'] === 'Namespace' ? { ...o, metadata: { name: 'neighbour' } } : o,
    );
    await applyManifests(client, [...neighbour, ...objects.filter((o) => o['kind'] === 'Namespace')]);
    await systemClock.sleep(1_000);
    const before = await probe(client, 'before', 8_000, { app: 'policed' });
    const others = objects.filter((o) => o['kind'] !== 'Namespace');
    const tell = (error: unknown): void => progress((error as Error).message.slice(0, 200));
    const applying = applyManifests(client, others).catch(tell);
    const beside = await probe(client, 'beside', seconds * 1000, { app: 'policed' });
    await Promise.race([applying, systemClock.sleep(5_000)]);
    const going = removeAll(client, others).catch(tell);
    const after = await probe(client, 'after', seconds * 1000, { app: 'policed' });
    await Promise.race([going, systemClock.sleep(5_000)]);
    return { before, beside, after };
  } finally {
    await labDown(lab);
  }
}

const PLURALS: Readonly<Record<string, Resource>> = {
  Pod: core('pods'),
  Service: core('services'),
  NetworkPolicy: { group: 'networking.k8s.io', version: 'v1', plural: 'networkpolicies' },
};

/** One after the other: this process also measures how long the agent is silent. */
async function removeAll(client: KubeClient, objects: readonly Manifest[]): Promise<void> {
  for (const object of objects) await remove(client, object);
}

async function remove(client: KubeClient, object: Manifest): Promise<void> {
  const { name, namespace } = object['metadata'] as { name: string; namespace: string };
  const resource = PLURALS[object['kind'] as string];
  if (!resource) throw new Error(`the bench does not know how to delete a ${String(object['kind'])}`);
  await client.delete(resource, name, namespace).catch((error: unknown) => {
    if (!isKube(error, 'NotFound')) throw error;
  });
}

type Row = { readonly before: Figures; readonly beside: Figures; readonly after: Figures };

const whole = (n: number): string => (Number.isFinite(n) ? String(Math.round(n)) : '> 60 000');
const both = (all: readonly number[]): string =>
  all.length === 0 ? 'none' : `${whole(median(all))}, ${whole(Math.max(...all))}`;

/** Columns of a row: before, while the objects come, while they go. */
const cells = (name: string, { before, beside, after }: Row): string[] => [
  name,
  ...[(f: Figures) => both(f.ready), (f: Figures) => both(f.adds), (f: Figures) => whole(f.stall)].map((show) =>
    [before, beside, after].map(show).join(' / '),
  ),
  ...[(f: Figures) => f.megabytes, (f: Figures) => f.controllerMegabytes].map(
    (of) => `${whole(of(before))} + ${whole(Math.max(of(beside), of(after)) - of(before))}`,
  ),
];
const asRow = (columns: readonly string[]): string => `| ${columns.join(' | ')} |`;
const HEAD = [
  asRow([
    'objects of one tenant',
    "Ready of another's pods: median, longest, ms",
    'their ADD in the agent: median, longest, ms',
    'longest silence of the agent, ms',
    'agent, MB',
    'controller, MB',
  ]),
  asRow(Array.from({ length: 6 }, () => '---')),
];

/** What there is so far: a run that is ended early has not been in vain. */
function writeDocument(rows: readonly string[]): void {
  writeFileSync(
    join(checkout, 'docs/benchmarks-budgets.md'),
    `# Budgets: benchmarks

Written by \`make bench-budgets\` on ${new Date().toISOString().slice(0, 10)}: ${cpus().length} cores, Linux ${release()}, one shared virtual machine, three nodes of a lab on it.
One tenant writes objects that are too large, or as many as its budgets allow, and another starts pods on the same node, one after the other.
Each cell has three figures: before the objects are there, for ${seconds} s while they come, and for ${seconds} s while they are deleted. Both tenants have networks of their own,
in the rows that end in "flat" both are in the flat network. Ready includes the lab's API server, scheduler and kubelet, which the same objects keep busy. The silence of an agent is the longest time
from a question on its CNI socket to the answer. Memory is the largest resident size before the objects, and what it grew by until the end.

The aim: no silence and no ADD of more than 100 ms, and no agent that grows by more than 50 MB. [adr/0012](adr/0012-budgets.md) says what holds where it is not met.

${[...HEAD, ...rows].join('\n')}
`,
  );
}

for (const line of HEAD) console.log(line);
const rows: string[] = [];
for (const hostile of hostileObjects()) {
  if (!hostile.name.includes(only)) continue;
  progress(hostile.name);
  rows.push(asRow(cells(hostile.name, await measure(hostile))));
  console.log(rows.at(-1));
  if (only === '') writeDocument(rows);
}
