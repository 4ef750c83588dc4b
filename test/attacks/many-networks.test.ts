import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { exec } from '../../lib/exec/exec.ts';
import { startAgent } from '../../lab/world/lab.ts';
import { isAlive, listProcesses } from '../../lab/world/processes.ts';
import { pod, useLab } from '../system/lab.ts';

// A tenant who may make namespaces makes hundreds, each isolated and with a pod on one node. The node's agent goes on, and so does
// every network: with about 290 it used to end, since select() takes no file number above 1023.

const NETWORKS = process.env['ATTACKS'] === 'long' ? 500 : 320;
const lab = useLab('many', { nodes: 1, nodeCidrLength: 20, agentArgs: ['--address-rest', '5'] });

const name = (i: number): string => `m${i}`;
const isolated = (i: number): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: name(i), labels: { 'bulkhead.dev/isolated': 'true' } },
  });
/** In some networks a policy, since a network with policies has one more socket. */
const policy = (i: number): string =>
  JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'default', namespace: name(i) },
    spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [{ podSelector: {} }] }] },
  });

const agent = (): number => {
  const found = listProcesses(lab.name).find((p) => p.role === 'agent-n1');
  if (!found || !isAlive(found)) throw new Error('the agent does not run');
  return found.pid;
};

test(`${NETWORKS} networks on a node: all work, all are apart, and the agent that was started is the one that runs`, async () => {
  const first = agent();
  for (let i = 0; i < NETWORKS; i += 40) {
    const some = Array.from({ length: Math.min(40, NETWORKS - i) }, (_, j) => i + j);
    const objects = some.flatMap((n) => [
      isolated(n),
      pod(name(n), 'p1', { node: 'n1' }),
      ...(n % 2 === 0 ? [policy(n)] : []),
    ]);
    await lab.apply(objects.join('\n---\n'));
  }
  // A second pod in the first, the last, and one between: after all others are there.
  const asked = [0, NETWORKS >> 1, NETWORKS - 1];
  await lab.apply(asked.map((n) => pod(name(n), 'q1', { node: 'n1' })).join('\n---\n'));
  expect(agent()).toBe(first);
  for (const family of [4, 6] as const)
    for (const [i, n] of asked.entries()) {
      const other = asked[(i + 1) % asked.length] ?? 0;
      const to = async (key: string): Promise<string> =>
        await lab.connect(`${name(n)}/q1`, await lab.ip(key, family), 8080);
      // The policy of a network lets a new pod in a moment later.
      const open = `open:${name(n)}/p1`;
      expect([
        n,
        family,
        await lab.eventually(
          () => to(`${name(n)}/p1`),
          (v) => v === open,
        ),
      ]).toEqual([n, family, open]);
      expect([n, family, await to(`${name(other)}/p1`)]).toEqual([n, family, 'rejected']);
    }
  // The number of files does not follow the number of networks, but for those that have policies.
  const files = readdirSync(`/proc/${first}/fd`).map(Number);
  expect(files.filter((fd) => fd < 1024).length).toBeLessThan(200);
  expect(files.length).toBeLessThan(NETWORKS / 2 + 300);
}, 600_000);

test('without files the agent goes on, and does what is left to do when there are some again', async () => {
  const pid = agent();
  const limit = async (files: number): Promise<unknown> =>
    await exec(['prlimit', `--pid=${pid}`, `--nofile=${files}:20000`]);
  await limit(64);
  try {
    const late = [isolated(NETWORKS), pod(name(NETWORKS), 'p1', { node: 'n1' }), pod(name(0), 'r1', { node: 'n1' })];
    await lab.apply(late.join('\n---\n'), { wait: false });
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    expect(agent()).toBe(pid);
    expect(await lab.connect(`${name(0)}/q1`, await lab.ip(`${name(0)}/p1`), 8080)).toBe(`open:${name(0)}/p1`);
  } finally {
    await limit(20_000);
  }
  await lab.ready();
  expect(agent()).toBe(pid);
  expect(await lab.connect(`${name(0)}/r1`, await lab.ip(`${name(0)}/p1`), 8080)).toBe(`open:${name(0)}/p1`);
  expect(await lab.connect(`${name(0)}/r1`, await lab.ip(`${name(NETWORKS)}/p1`), 8080)).toBe('rejected');
}, 300_000);

test('an agent that starts again among them knows them all', async () => {
  const before = agent();
  await lab.kill('agent-n1');
  startAgent(lab.spec, 'n1');
  const last = NETWORKS - 1;
  await lab.apply([last, 1].map((n) => pod(name(n), 'r1', { node: 'n1' })).join('\n---\n'), { wait: false });
  await lab.ready(240_000);
  expect(agent()).not.toBe(before);
  for (const n of [1, last]) {
    const to = async (key: string): Promise<string> => await lab.connect(`${name(n)}/r1`, await lab.ip(key), 8080);
    expect([n, await to(`${name(n)}/p1`)]).toEqual([n, `open:${name(n)}/p1`]);
    expect([n, await to(`${name(2)}/p1`)]).toEqual([n, 'rejected']);
  }
}, 300_000);
