import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  apply,
  deleteNamespaces,
  families,
  flatNamespace,
  fromPod,
  ipOf,
  isolatedNamespace,
  kubectl,
  pod,
  ready,
  standIn,
  workers,
} from './cluster.ts';

const NAMESPACES = ['u-a', 'u-flat'];
let first = '';
let second = '';

beforeAll(async () => {
  [first, second] = await workers();
  await apply(
    [
      isolatedNamespace('u-a'),
      flatNamespace('u-flat'),
      standIn('u-a', 'server', { node: first }),
      standIn('u-a', 'client', { node: second }),
      standIn('u-flat', 'client', { node: second }),
    ].join('\n'),
  );
  await ready(...NAMESPACES);
});
afterAll(() => deleteNamespaces(...NAMESPACES));

/** One TCP connection and one UDP socket; a message each 5 ms, until told to stop; prints sent and answered. */
const TALK = (ip: string, ms: number): string => `
const net = require('node:net'), dgram = require('node:dgram');
let sent = 0, back = 0, usent = 0, uback = 0, broken = '';
const c = net.connect(5432, '${ip}');
c.on('data', (d) => { back += d.length; }); c.on('error', (e) => { broken = e.code; }); c.on('close', () => { if (!done) broken ||= 'closed'; });
const u = dgram.createSocket('${ip.includes(':') ? 'udp6' : 'udp4'}'); u.on('message', () => { uback++; });
let done = false;
c.on('connect', () => {
  const t = setInterval(() => { c.write('xxxxxxxx'); sent += 8; u.send('ping', 5353, '${ip}'); usent++; }, 5);
  setTimeout(() => { clearInterval(t); setTimeout(() => { done = true; console.log(JSON.stringify({ sent, back, usent, uback, broken })); process.exit(0); }, 1500); }, ${ms});
});`;

describe('upgrade', () => {
  test('rollout restart of agents and controllers loses nothing of running connections, and opens nothing', async () => {
    const server = ipOf(await pod('u-a', 'app=server'), families[0] ?? 4);
    const stranger = await pod('u-flat', 'app=client');
    const talk = kubectl(['-n', 'u-a', 'exec', 'client', '--', '/opt/bulkhead/bin/node', '-e', TALK(server, 45_000)]);
    await kubectl([
      '-n',
      'kube-system',
      'rollout',
      'restart',
      'daemonset/bulkhead-agent',
      'deployment/bulkhead-controller',
    ]);
    const verdicts = new Set<string>();
    const watch = (async () => {
      for (let i = 0; i < 15; i++) {
        // Probes run in agent pods, which come and go: only answers count.
        const verdict = await fromPod(stranger, { address: server, port: 5432, protocol: 'TCP' }).catch(
          () => undefined,
        );
        if (verdict !== undefined) verdicts.add(verdict);
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
    })();
    await kubectl(
      ['-n', 'kube-system', 'rollout', 'status', 'daemonset/bulkhead-agent', '--timeout=120s'],
      undefined,
      130_000,
    );
    await kubectl(
      ['-n', 'kube-system', 'rollout', 'status', 'deployment/bulkhead-controller', '--timeout=120s'],
      undefined,
      130_000,
    );
    await watch;
    const said = JSON.parse(await talk) as { sent: number; back: number; usent: number; uback: number; broken: string };
    expect(said).toEqual({ ...said, back: said.sent, uback: said.usent, broken: '' });
    expect(said.usent).toBeGreaterThan(1_000);
    expect([...verdicts]).not.toContain('open');
    await apply(standIn('u-a', 'after', { node: first }));
    await ready('u-a');
  });
});

describe('many namespaces', () => {
  const COUNT = Number(process.env['KIND_NAMESPACES'] ?? 30);
  test(`${COUNT} isolated namespaces made at once, and deleted at once: nothing sticks`, async () => {
    const names = Array.from({ length: COUNT }, (_, i) => `many-${i}`);
    await apply(names.map((n) => isolatedNamespace(n) + standIn(n, 'p')).join('\n'));
    await ready(...names);
    await kubectl(['delete', 'namespace', '--wait=true', '--timeout=180s', ...names], undefined, 190_000);
    const left = (await kubectl(['get', 'virtualnetworks', '-A', '-o', 'name']))
      .split('\n')
      .filter((n) => n.includes('many-'));
    expect(left).toEqual([]);
  }, 400_000);
});
