import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { labClient, labDown, labUp } from '../../lab/world/lab.ts';
import { applyManifests } from '../../lib/manifests/apply.ts';
import { listProcesses } from '../../lab/world/processes.ts';
import { core, type KubeClient } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import { systemClock } from '../../lib/reconcile/clock.ts';
import { hostileObjects, type Manifest } from './hostile-objects.ts';
import { progress } from './progress.ts';
import { median } from './statistics.ts';

/**
 * What one tenant's largest objects cost another tenant: how long its pods take to become Ready on the same node, the longest time
 * in which the agent or the controller does not answer, and the memory of both. `--checkout DIR` measures programs of another
 * checkout; `--only WORD` measures one case; `--seconds N` sets how long each case is watched.
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
];

type Figures = {
  readonly ready: readonly number[];
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
async function readyAfter(client: KubeClient, name: string, most: number): Promise<number | undefined> {
  const pods = core('pods');
  const began = performance.now();
  await client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'neighbour' },
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

async function probe(client: KubeClient, prefix: string, ms: number): Promise<Figures> {
  const watch = new Watch();
  const ready: number[] = [];
  const until = performance.now() + ms;
  for (let i = 0; performance.now() < until; i++) {
    const name = `${prefix}-${i}`;
    const took = await readyAfter(client, name, 60_000);
    ready.push(took ?? Number.POSITIVE_INFINITY);
    if (took === undefined) break;
    await client.delete(core('pods'), name, 'neighbour').catch((error: unknown) => {
      if (!isKube(error, 'NotFound')) throw error;
    });
    await systemClock.sleep(100);
  }
  await watch.end();
  return { ready, stall: watch.stall, megabytes: watch.megabytes, controllerMegabytes: watch.controllerMegabytes };
}

async function measure(objects: readonly Manifest[]): Promise<readonly [Figures, Figures]> {
  await labUp({ name: lab, nodes: 3, family: 'dual', manifests: [], checkout, progress: () => undefined });
  try {
    await using client = labClient(lab);
    await applyManifests(client, [...NEIGHBOUR, ...objects.filter((o) => o['kind'] === 'Namespace')]);
    await systemClock.sleep(1_000);
    const before = await probe(client, 'before', 5_000);
    const others = objects.filter((o) => o['kind'] !== 'Namespace');
    const applying = applyManifests(client, others).catch((error: unknown) =>
      progress(`${(error as Error).message.slice(0, 200)}\n`),
    );
    const beside = await probe(client, 'beside', seconds * 1000);
    await Promise.race([applying, systemClock.sleep(5_000)]);
    return [before, beside];
  } finally {
    await labDown(lab);
  }
}

const ms = (n: number): string => (Number.isFinite(n) ? `${Math.round(n)}` : '> 60 000');
console.log(
  '| objects | Ready beside: median, longest, ms (before: median) | longest silence of the agent, ms (before) | agent, MB (before) | controller, MB (before) |',
);
console.log('|---|---|---|---|---|');
for (const { name, objects } of hostileObjects()) {
  if (!name.includes(only)) continue;
  progress(name);
  const [before, beside] = await measure(objects);
  const cells = [
    name,
    `${ms(median(beside.ready))}, ${ms(Math.max(...beside.ready))} (${ms(median(before.ready))})`,
    `${ms(beside.stall)} (${ms(before.stall)})`,
    `${ms(beside.megabytes)} (${ms(before.megabytes)})`,
    `${ms(beside.controllerMegabytes)} (${ms(before.controllerMegabytes)})`,
  ];
  console.log(`| ${cells.join(' | ')} |`);
}
