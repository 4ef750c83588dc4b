import { existsSync, readFileSync } from 'node:fs';
import { createSocket } from 'node:dgram';
import { describe, expect, test } from 'vitest';
import { startAgent, startController } from '../../lab/world/lab.ts';
import { listenIn } from '../../lib/netns/listen.ts';
import { nodeRoot } from '../../cli/target/lab-pods.ts';
import { measureReach } from '../../cli/cluster/reach.ts';
import { pod, shop, useLab } from './lab.ts';

// What runs goes on when programs die; what was given is neither lost nor given twice.

const lab = useLab('faults', { nodes: 2 });

const kill = (role: string): Promise<void> => lab.kill(role);

/** Datagrams from one pod to another, some a millisecond, each answered; counts those that were lost on the way. */
async function traffic(from: string, to: string, during: () => Promise<void>): Promise<{ sent: number; lost: number }> {
  const address = await lab.ip(to);
  const socket = createSocket('udp4');
  socket.bind({ fd: listenIn(await lab.netns(from), 'udp', '0.0.0.0', 0) });
  const answered = new Set<number>();
  socket.on('message', (m) => answered.add(m.readUInt32LE(0)));
  let sent = 0;
  let done = false;
  const sender = (async () => {
    while (!done) {
      const b = Buffer.alloc(4);
      b.writeUInt32LE(sent++);
      socket.send(b, 5353, address);
      await new Promise((r) => setTimeout(r, 2));
    }
  })();
  try {
    await during();
  } finally {
    done = true;
    await sender;
    // A busy machine answers late.
    await lab.eventually(
      () => Promise.resolve(answered.size),
      (n) => n === sent,
      5_000,
    );
    socket.close();
  }
  return { sent, lost: sent - answered.size };
}

const agentsServe = async (): Promise<void> => {
  await lab.eventually(
    async () => (await lab.kubectl('get', 'nodes')).match(/ Ready/g)?.length ?? 0,
    (n) => n === 2,
  );
};
const addresses = async (): Promise<string> =>
  lab.kubectl(
    'get',
    'pods',
    '-A',
    '-o',
    'jsonpath={range .items[*]}{.metadata.name}={.status.podIPs[*].ip}{"\\n"}{end}',
  );
const noDoubles = async (): Promise<void> => {
  const all = (await addresses())
    .trim()
    .split('\n')
    .flatMap((l) => l.split('=')[1]?.split(' ') ?? []);
  expect(all.filter((ip, i) => all.indexOf(ip) !== i)).toEqual([]);
};
const reachIsRight = async (): Promise<void> =>
  expect((await measureReach(lab.target, () => undefined)).filter((p) => !p.match)).toEqual([]);

describe('faults', () => {
  test('set-up', async () => {
    await lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n'));
    await reachIsRight();
  });

  test('kill -9 of an agent: no packet is lost, the state is the same after its restart, forbidden stays forbidden meanwhile', async () => {
    const before = await addresses();
    const { sent, lost } = await traffic('a/p1', 'a/p2', async () => {
      await kill('agent-n1');
      expect(await lab.connect('b/p1', await lab.ip('a/p1'), 8080)).toBe('rejected');
      expect(await lab.connect('flat/p1', await lab.ip('a/p1'), 8080)).toBe('rejected');
      startAgent(lab.spec, 'n1');
      await lab.apply(pod('a', 'after', { node: 'n1' }));
    });
    expect(sent).toBeGreaterThan(100);
    expect(lost).toBe(0);
    expect(await addresses()).toContain(before.split('\n')[0]);
    await noDoubles();
    await reachIsRight();
  });

  test('with the controller dead, a pod on a known network starts and is reachable, on this node and the other', async () => {
    await kill('controller');
    await lab.apply([pod('a', 'alone1', { node: 'n1' }), pod('a', 'alone2', { node: 'n2' })].join('\n---\n'));
    for (const f of [4, 6] as const) {
      expect(await lab.connect('a/alone1', await lab.ip('a/alone2', f), 8080)).toBe('open:a/alone2');
      expect(await lab.connect('a/alone1', await lab.ip('a/q1', f), 8080)).toBe('open:a/q1');
      expect(await lab.connect('b/p1', await lab.ip('a/alone1', f), 8080)).toBe('rejected');
    }
    await noDoubles();
    startController(lab.spec);
    await lab.eventually(
      () =>
        lab.kubectl(
          'get',
          'lease',
          '-n',
          'kube-system',
          'bulkhead-controller',
          '-o',
          'jsonpath={.spec.leaseTransitions}',
        ),
      (t) => t === '2',
      30_000,
    );
    await reachIsRight();
  });

  test('kill -9 of both, under traffic: nothing lost, nothing doubled, VNIs as before', async () => {
    const vnis = await lab.kubectl(
      'get',
      'vn',
      '-A',
      '-o',
      'jsonpath={range .items[*]}{.metadata.namespace}={.status.vni} {end}',
    );
    const { lost } = await traffic('b/p2', 'b/p1', async () => {
      await Promise.all([kill('controller'), kill('agent-n1'), kill('agent-n2')]);
      startAgent(lab.spec, 'n1');
      startAgent(lab.spec, 'n2');
      // The controller stays away a while: the agents come up from what they have saved.
      await lab.apply(pod('b', 'during', { node: 'n2' }));
      startController(lab.spec);
      await lab.eventually(
        () =>
          lab.kubectl(
            'get',
            'lease',
            '-n',
            'kube-system',
            'bulkhead-controller',
            '-o',
            'jsonpath={.spec.leaseTransitions}',
          ),
        (t) => t === '3',
        30_000,
      );
      await lab.apply(pod('b', 'afterwards', { node: 'n1' }));
    });
    expect(lost).toBe(0);
    expect(
      await lab.kubectl('get', 'vn', '-A', '-o', 'jsonpath={range .items[*]}{.metadata.namespace}={.status.vni} {end}'),
    ).toBe(vnis);
    await noDoubles();
    await reachIsRight();
  });

  test('a foreign flush of the root ruleset opens no network, and our table comes back', async () => {
    await lab.onNode('n1', 'nft', 'delete', 'table', 'inet', 'bulkhead');
    expect(await lab.connect('flat/p1', await lab.ip('a/p1'), 8080)).toBe('rejected');
    expect(await lab.connect('a/p1', await lab.ip('b/p1'), 8080)).toBe('rejected');
    expect(await lab.connect('a/p1', await lab.ip('a/p2'), 8080)).toBe('open:a/p2');
    expect(
      await lab.eventually(
        () => lab.onNode('n1', 'nft', 'list', 'tables'),
        (t) => t.includes('inet bulkhead'),
        40_000,
      ),
    ).toContain('table inet bulkhead');
  });

  test('an instance that lost its routes and a link of another is put right by the audit', async () => {
    await lab.onNode('n1', 'ip', '-n', 'bh-2', 'route', 'flush', 'proto', '98');
    expect(
      await lab.eventually(
        async () => lab.connect('a/p1', await lab.ip('a/p2'), 8080, 'TCP', 500),
        (v) => v === 'open:a/p2',
        45_000,
      ),
    ).toBe('open:a/p2');
  });

  test('pods that went without a DEL while the agent was dead give their addresses back', async () => {
    await lab.apply(pod('a', 'ghost', { node: 'n1' }));
    const ghost = await lab.ip('a/ghost');
    const root = nodeRoot(lab.name, 'n1') ?? '';
    await kill('agent-n1');
    // Its link is torn away under it, as a reboot of the runtime does.
    const link = /(bhp[0-9a-f]{12})/.exec(await lab.onNode('n1', 'ip', '-n', 'bh-2', 'route', 'get', ghost))?.[1] ?? '';
    await lab.onNode('n1', 'ip', '-n', 'bh-2', 'link', 'del', link);
    startAgent(lab.spec, 'n1');
    await agentsServe();
    const journal = (): string =>
      readFileSync(`${nodeRoot(lab.name, 'n1') ?? root}/run/bulkhead/journal.ndjson`, 'utf8');
    expect(
      await lab.eventually(
        () => Promise.resolve(journal()),
        (j) => j.includes(`{"op":"release","ip":"${ghost}"`),
      ),
    ).toContain(`{"op":"release","ip":"${ghost}"`);
    await lab.kubectl('delete', 'pod', '-n', 'a', 'ghost');
    await noDoubles();
  });

  test('a full journal: ADD is refused with a clear error and leaves nothing, running pods go on, and it works once there is room', async () => {
    const root = nodeRoot(lab.name, 'n2') ?? '';
    expect(existsSync(`${root}/run/bulkhead/journal.ndjson`)).toBe(true);
    await lab.onNode('n2', 'mount', '-o', 'remount,size=1m', '/run');
    await lab.onNode('n2', 'sh', '-c', 'dd if=/dev/zero of=/run/ballast bs=4k 2>/dev/null || true');
    // The journal's last page has room left (tmpfs gives whole pages): enough pods to use it up.
    const names = Array.from({ length: 12 }, (_, i) => `squeezed-${i}`);
    await lab.apply(names.map((n) => pod('a', n, { node: 'n2' })).join('\n---\n'), { wait: false });
    const told = await lab.eventually(
      () => lab.kubectl('get', 'events', '-n', 'a'),
      (e) => e.includes('the journal cannot be written'),
    );
    expect(told).toMatch(/FailedCreatePodSandBox .*squeezed-.*the journal cannot be written: ENOSPC/);
    expect(await lab.connect('a/p1', await lab.ip('a/p2'), 8080)).toBe('open:a/p2');
    await lab.onNode('n2', 'rm', '-f', '/run/ballast');
    await lab.onNode('n2', 'mount', '-o', 'remount,size=64m', '/run');
    await lab.ready();
    expect(await lab.connect('a/squeezed-11', await lab.ip('a/p1'), 8080)).toBe('open:a/p1');
    await noDoubles();
    await lab.kubectl('delete', 'pod', '-n', 'a', ...names);
    await reachIsRight();
  });
});
