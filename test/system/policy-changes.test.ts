import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { startAgent, startController } from '../../lab/world/lab.ts';
import { pod, shop, type TestLab, useLab } from './lab.ts';

// Policies while connections live, pods come and go, and programs fail. Namespaces a (isolated) and flat.

const lab = useLab('polchg', { admission: false, nodes: 2 });
const FAMILIES = [4, 6] as const;
const policy = (namespace: string, name: string, spec: object): string =>
  JSON.stringify({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name, namespace }, spec });
const only = (name: string): object => ({ matchLabels: { pod: name } });
const DEAD = { tcp: false, udp: false, icmp: false };
const ALIVE = { tcp: true, udp: true, icmp: true };

async function labelled(): Promise<void> {
  await lab.apply([shop('a'), shop('flat', { isolated: false })].join('\n---\n'));
  for (const ns of ['a', 'flat'])
    for (const name of ['p1', 'q1', 'p2'])
      await lab.kubectl('label', 'pod', '-n', ns, name, `pod=${name}`, '--overwrite');
}

/** What the agents wrote down of connections that they cut. */
const revocations = (): Record<string, unknown>[] => records('connection revoked');

const records = (message: string): Record<string, unknown>[] =>
  ['n1', 'n2'].flatMap((node) =>
    readFileSync(`/run/bulkhead-lab/${lab.name}/log/agent-${node}.log`, 'utf8')
      .split('\n')
      .filter((line) => line.includes(`"msg":"${message}"`))
      .map((line) => JSON.parse(line) as Record<string, unknown>),
  );

describe('policies that change', () => {
  test('a tightened policy cuts what it forbids and nothing else, says so, and a loosened one cuts nothing', async () => {
    await labelled();
    for (const ns of ['a', 'flat']) {
      for (const family of FAMILIES) {
        // Same node and other node; the third is not meant.
        const held = await Promise.all([
          lab.hold(`${ns}/q1`, `${ns}/p1`, family),
          lab.hold(`${ns}/p2`, `${ns}/p1`, family),
          lab.hold(`${ns}/p1`, `${ns}/p2`, family),
        ]);
        const states = async (): Promise<object[]> => await Promise.all(held.map((h) => h.alive()));
        expect([ns, family, await states()]).toEqual([ns, family, [ALIVE, ALIVE, ALIVE]]);
        const before = revocations().length;
        await lab.apply(policy(ns, 'tight', { podSelector: only('p1'), policyTypes: ['Ingress'] }), { wait: false });
        await lab.eventually(states, (s) => JSON.stringify(s) === JSON.stringify([DEAD, DEAD, ALIVE]));
        expect([ns, family, await states()]).toEqual([ns, family, [DEAD, DEAD, ALIVE]]);
        const records = revocations().slice(before);
        const cut = records.filter((r) => r['protocol'] === 'TCP' && r['port'] === 8080);
        expect(cut.map((r) => r['pod'])).toEqual([`${ns}/p1`, `${ns}/p1`]);
        expect(records[0]).toMatchObject({
          pod: `${ns}/p1`,
          direction: 'ingress',
          tier: 'NetworkPolicy',
          policy: `NetworkPolicy ${ns}/tight`,
        });
        // Admits q1 again: new connections pass, p2 stays out, and what stands is left alone.
        const again = policy(ns, 'again', {
          podSelector: only('p1'),
          ingress: [{ from: [{ podSelector: only('q1') }] }],
        });
        await lab.apply(again, { wait: false });
        const open = await lab.eventually(
          async () => await lab.connect(`${ns}/q1`, await lab.ip(`${ns}/p1`, family), 8080),
          (v) => v.startsWith('open'),
        );
        expect(open).toBe(`open:${ns}/p1`);
        expect(await lab.connect(`${ns}/p2`, await lab.ip(`${ns}/p1`, family), 8080)).toBe('closed');
        const fresh = await lab.hold(`${ns}/q1`, `${ns}/p1`, family);
        const count = revocations().length;
        await lab.kubectl('delete', 'networkpolicy', '-n', ns, 'tight', 'again');
        await lab.eventually(
          async () => await lab.connect(`${ns}/p2`, await lab.ip(`${ns}/p1`, family), 8080),
          (v) => v.startsWith('open'),
        );
        expect([await fresh.alive(), await held[2].alive(), revocations().length]).toEqual([
          { ...ALIVE, udp: expect.anything() as boolean },
          ALIVE,
          count,
        ]);
        for (const h of [...held, fresh]) h.end();
      }
    }
  });

  test('a cut connection does not come back when the server speaks first', async () => {
    await labelled();
    for (const ns of ['a', 'flat']) {
      using talker = new Talker(await lab.netns(`${ns}/p2`), await lab.netns(`${ns}/p1`), await lab.ip(`${ns}/p2`));
      const began = await lab.eventually(
        () => talker.heard(),
        (h) => h.tcp && h.udp,
      );
      expect([ns, began]).toEqual([ns, { tcp: true, udp: true }]);
      // Only the client's side forbids it: the server may send to the client as it likes, as a connection of its own.
      await lab.apply(policy(ns, 'out', { podSelector: only('p1'), policyTypes: ['Egress'] }), { wait: false });
      await lab.eventually(
        () => talker.heard(),
        (h) => !h.tcp && !h.udp,
      );
      for (let i = 0; i < 3; i++) expect([ns, await talker.heard()]).toEqual([ns, { tcp: false, udp: false }]);
      // Agents that start again write their tables anew, and go on with what was cut.
      for (const node of ['n1', 'n2']) {
        await lab.kill(`agent-${node}`);
        startAgent(lab.spec, node);
      }
      await lab.apply(['n1', 'n2'].map((n) => pod(ns, `after-${n}`, { node: n })).join('\n---\n'));
      for (let i = 0; i < 3; i++) expect([ns, await talker.heard()]).toEqual([ns, { tcp: false, udp: false }]);
      await lab.kubectl('delete', 'pod', '-n', ns, 'after-n1', 'after-n2');
      // The allowed twin: the server opens a connection of its own.
      expect(await lab.connect(`${ns}/p2`, await lab.ip(`${ns}/p1`), 8080)).toBe(`open:${ns}/p1`);
      await lab.kubectl('delete', 'networkpolicy', '-n', ns, 'out');
    }
  });

  test('labels of pods and of namespaces join and leave', async () => {
    await labelled();
    const rule = {
      from: [
        { namespaceSelector: { matchLabels: { friend: 'yes' } }, podSelector: { matchLabels: { role: 'guest' } } },
      ],
    };
    await lab.apply(policy('flat', 'guests', { podSelector: { matchLabels: { guarded: 'yes' } }, ingress: [rule] }), {
      wait: false,
    });
    const ask = async (from: string): Promise<string> =>
      (await lab.connect(from, await lab.ip('flat/p2'), 8080)).split(':')[0] ?? '';
    const becomes = (from: string, wanted: string): Promise<string> =>
      lab.eventually(
        () => ask(from),
        (v) => v === wanted,
      );
    expect(await ask('flat/p1')).toBe('open');
    await lab.kubectl('label', 'pod', '-n', 'flat', 'p2', 'guarded=yes');
    expect(await becomes('flat/p1', 'closed')).toBe('closed');
    await lab.kubectl('label', 'pod', '-n', 'flat', 'p1', 'role=guest');
    expect(await ask('flat/p1')).toBe('closed');
    await lab.kubectl('label', 'namespace', 'flat', 'friend=yes');
    expect([await becomes('flat/p1', 'open'), await ask('flat/q1')]).toEqual(['open', 'closed']);
    await lab.kubectl('label', 'namespace', 'flat', 'friend-');
    expect(await becomes('flat/p1', 'closed')).toBe('closed');
    await lab.kubectl('label', 'pod', '-n', 'flat', 'p2', 'guarded-');
    expect([await becomes('flat/p1', 'open'), await becomes('flat/q1', 'open')]).toEqual(['open', 'open']);
    await lab.kubectl('delete', 'networkpolicy', '-n', 'flat', 'guests');
  });

  test('what is dropped is told: whose policy, which rule, who asked for what', async () => {
    await labelled();
    await lab.apply(
      [
        policy('flat', 'closed', { podSelector: only('p1'), policyTypes: ['Ingress'] }),
        JSON.stringify({
          apiVersion: 'policy.networking.k8s.io/v1alpha2',
          kind: 'ClusterNetworkPolicy',
          metadata: { name: 'no-datagrams' },
          spec: {
            tier: 'Admin',
            priority: 5,
            subject: { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'a' } } },
            egress: [{ name: 'udp', action: 'Deny', to: [{ namespaces: {} }], protocols: [{ udp: {} }] }],
          },
        }),
      ].join('\n---\n'),
      { wait: false },
    );
    await closes(lab, 'flat/p2', 'flat/p1');
    for (const family of FAMILIES) {
      const [source, p1, p2] = [
        await lab.ip('flat/p2', family),
        await lab.ip('flat/p1', family),
        await lab.ip('a/p2', family),
      ];
      const udp = (): Promise<string> => lab.connect('a/p1', p2, 5353, 'UDP', 400);
      expect([family, await lab.eventually(udp, (v) => v === 'closed')]).toEqual([family, 'closed']);
      expect(await lab.connect('flat/p2', p1, 8080, 'TCP', 400)).toBe('closed');
      expect(await lab.connect('a/p1', p2, 8080)).toBe('open:a/p2');
      const about = async (destination: string): Promise<Record<string, unknown> | undefined> => {
        await new Promise((resolve) => setTimeout(resolve, 200));
        // The files have those of earlier tests too.
        return records('dropped by policy').findLast(
          (r) => r['destination'] === destination && r['protocol'] !== 'ICMP',
        );
      };
      expect(
        await lab.eventually(
          async () => {
            await lab.connect('flat/p2', p1, 8080, 'TCP', 400);
            return await about(p1);
          },
          (r) => r !== undefined,
        ),
      ).toMatchObject({
        network: 'default-network',
        pod: 'flat/p1',
        direction: 'ingress',
        protocol: 'TCP',
        source,
        port: 8080,
        tier: 'NetworkPolicy',
        policy: 'NetworkPolicy flat/closed',
        rule: '',
      });
      expect(
        await lab.eventually(
          async () => {
            await udp();
            return await about(p2);
          },
          (r) => r !== undefined,
        ),
      ).toMatchObject({
        network: 'a/default',
        pod: 'a/p1',
        direction: 'egress',
        protocol: 'UDP',
        port: 5353,
        tier: 'Admin',
        policy: 'ClusterNetworkPolicy no-datagrams',
        rule: 'udp',
      });
    }
    await lab.kubectl('delete', 'cnp', 'no-datagrams');
    await lab.kubectl('delete', 'networkpolicy', '-n', 'flat', 'closed');
  });

  test('the pod’s own node always reaches it, and another node only by its address', async () => {
    await labelled();
    for (const ns of ['a', 'flat'])
      await lab.apply(policy(ns, 'deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }), { wait: false });
    await closes(lab, 'flat/q1', 'flat/p1');
    await closes(lab, 'a/q1', 'a/p1');
    for (const family of FAMILIES) {
      for (const ns of ['a', 'flat']) {
        const own = await lab.connect({ net: 'n1' }, await lab.ip(`${ns}/p1`, family), 8080);
        expect([ns, family, own]).toEqual([ns, family, `open:${ns}/p1`]);
      }
      expect(await lab.connect({ net: 'n2' }, await lab.ip('flat/p1', family), 8080)).toBe('closed');
    }
    const view = await lab.view();
    const blocks = (view.state.nodes.get('n2')?.addresses ?? []).map((a) => ({
      ipBlock: { cidr: `${a}/${a.includes(':') ? 128 : 32}` },
    }));
    await lab.apply(policy('flat', 'n2', { podSelector: only('p1'), ingress: [{ from: blocks }] }), { wait: false });
    for (const family of FAMILIES) {
      const open = await lab.eventually(
        async () => await lab.connect({ net: 'n2' }, await lab.ip('flat/p1', family), 8080),
        (v) => v.startsWith('open'),
      );
      expect([family, open]).toEqual([family, 'open:flat/p1']);
    }
    // A policy of the cluster's administrators does stand between a pod and its node.
    const kubelet = async (): Promise<string> =>
      await lab.connect('flat/p2', view.state.nodes.get('n2')?.addresses[0] ?? '', 0, 'ICMP');
    expect(await kubelet()).toBe('open');
    await lab.apply(
      JSON.stringify({
        apiVersion: 'policy.networking.k8s.io/v1alpha2',
        kind: 'ClusterNetworkPolicy',
        metadata: { name: 'no-nodes' },
        spec: {
          tier: 'Admin',
          priority: 1,
          subject: { namespaces: {} },
          egress: [{ name: 'nodes', action: 'Deny', to: [{ nodes: {} }] }],
        },
      }),
      { wait: false },
    );
    expect(await lab.eventually(kubelet, (v) => v === 'closed')).toBe('closed');
    await lab.kubectl('delete', 'clusternetworkpolicy', 'no-nodes');
    expect(await lab.eventually(kubelet, (v) => v === 'open')).toBe('open');
    await lab.kubectl('delete', 'networkpolicy', '-n', 'flat', '--all');
    await lab.kubectl('delete', 'networkpolicy', '-n', 'a', '--all');
  });

  test('a policy that cannot be read closes its own pods and no others, and says where it is wrong', async () => {
    await labelled();
    const broken = policy('flat', 'broken', {
      podSelector: only('p1'),
      ingress: [{ from: [{ ipBlock: { cidr: 'nonsense' } }] }, { from: [{ podSelector: only('q1') }] }],
    });
    await lab.apply([broken, guard('first', 7), guard('second', 7)].join('\n---\n'), { wait: false });
    await closes(lab, 'flat/p2', 'flat/p1');
    expect(await lab.connect('flat/q1', await lab.ip('flat/p1'), 8080)).toBe('open:flat/p1');
    expect(await lab.connect('flat/q1', await lab.ip('flat/p2'), 8080)).toBe('open:flat/p2');
    const events = await lab.eventually(
      () => lab.kubectl('get', 'events', '-n', 'flat', '-o', 'jsonpath={.items[*].message}{.items[*].note}'),
      (text) => text.includes('ipBlock.cidr'),
    );
    expect(events).toContain('spec.ingress[0].from[0].ipBlock.cidr: is not a prefix: "nonsense"');
    const condition = async (name: string): Promise<string> =>
      await lab.kubectl(
        'get',
        'cnp',
        name,
        '-o',
        'jsonpath={.status.conditions[0].status} {.status.conditions[0].reason}',
      );
    expect(
      await lab.eventually(
        () => condition('first'),
        (c) => c.includes('Equal'),
      ),
    ).toBe('True EqualPriority');
    await lab.kubectl('delete', 'cnp', 'second');
    expect(
      await lab.eventually(
        () => condition('first'),
        (c) => !c.includes('Equal'),
      ),
    ).toBe('True Accepted');
    await lab.kubectl('delete', 'cnp', 'first');
    await lab.kubectl('delete', 'networkpolicy', '-n', 'flat', 'broken');
  });

  test('agents and the controller die and come back: what is forbidden stays so, what stands goes on', async () => {
    await labelled();
    const rule = { from: [{ podSelector: only('q1') }] };
    for (const ns of ['a', 'flat'])
      await lab.apply(policy(ns, 'q1-only', { podSelector: only('p1'), ingress: [rule] }), { wait: false });
    await closes(lab, 'flat/p2', 'flat/p1');
    await closes(lab, 'a/p2', 'a/p1');
    const held = await Promise.all([lab.hold('a/q1', 'a/p1'), lab.hold('flat/q1', 'flat/p1')]);
    const forbidden = async (): Promise<string[]> =>
      await Promise.all(['a', 'flat'].map(async (ns) => await lab.connect(`${ns}/p2`, await lab.ip(`${ns}/p1`), 8080)));
    for (const role of ['agent-n1', 'controller', 'agent-n1']) {
      await lab.kill(role);
      if (role === 'controller') startController(lab.spec);
      else startAgent(lab.spec, 'n1');
      for (let i = 0; i < 3; i++) expect([role, await forbidden()]).toEqual([role, ['closed', 'closed']]);
      expect([role, await Promise.all(held.map((h) => h.alive()))]).toEqual([role, [ALIVE, ALIVE]]);
    }
    // A pod that comes now has its policies from its first packet.
    await lab.kubectl('delete', 'pod', '-n', 'flat', 'p1', '--wait=true');
    await lab.apply(shop('flat', { isolated: false }));
    await lab.kubectl('label', 'pod', '-n', 'flat', 'p1', 'pod=p1', '--overwrite');
    await closes(lab, 'flat/p2', 'flat/p1');
    // It may have come before the new controller leads, and is closed until that has told of it.
    const allowed = await lab.eventually(
      async () => await lab.connect('flat/q1', await lab.ip('flat/p1'), 8080),
      (v) => v.startsWith('open'),
    );
    expect(allowed).toBe('open:flat/p1');
    expect(await lab.connect('flat/p2', await lab.ip('flat/p1'), 8080)).toBe('closed');
    for (const h of held) h.end();
    for (const ns of ['a', 'flat']) await lab.kubectl('delete', 'networkpolicy', '-n', ns, '--all');
    expect(await lab.differences()).toEqual([]);
  });
});

const guard = (name: string, priority: number): string =>
  JSON.stringify({
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: { name },
    spec: {
      tier: 'Admin',
      priority,
      subject: { namespaces: { matchLabels: { nobody: 'has-this' } } },
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    },
  });

async function closes(of: TestLab, from: string, to: string): Promise<void> {
  const got = await of.eventually(
    async () => await of.connect(from, await of.ip(to), 8080),
    (v) => v === 'closed',
  );
  expect([from, to, got]).toEqual([from, to, 'closed']);
}

/** A client that connects once and then only listens, and a server that goes on sending: a TCP stream and datagrams. */
class Talker {
  readonly #server: ReturnType<typeof spawn>;
  readonly #client: ReturnType<typeof spawn>;
  #text = '';

  constructor(serverNetns: string, clientNetns: string, address: string) {
    const run = (netns: string, script: string): ReturnType<typeof spawn> =>
      spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', script, address], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
    this.#server = run(serverNetns, SERVER);
    this.#client = run(clientNetns, CLIENT);
    this.#client.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#text += text));
  }

  /** What came within a second and a half. */
  async heard(): Promise<{ tcp: boolean; udp: boolean }> {
    this.#text = '';
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    return { tcp: this.#text.includes('tcp'), udp: this.#text.includes('udp') };
  }

  [Symbol.dispose](): void {
    this.#server.kill();
    this.#client.kill();
  }
}

const SERVER = `
const address = process.argv[1];
require('node:net').createServer((s) => { s.on('error', () => {}); setInterval(() => s.write('x'), 50); }).listen(9100, address);
const udp = require('node:dgram').createSocket('udp4');
udp.on('message', (m, from) => { udp.removeAllListeners('message'); setInterval(() => udp.send('x', from.port, from.address, () => {}), 50); });
udp.bind(9100, address);
`;
const CLIENT = `
const address = process.argv[1];
setTimeout(() => {
  require('node:net').connect(9100, address).on('error', () => {}).on('data', () => console.log('tcp'));
  const udp = require('node:dgram').createSocket('udp4');
  udp.on('message', () => console.log('udp'));
  udp.bind(40777, () => udp.send('x', 9100, address, () => {}));
}, 700);
`;
