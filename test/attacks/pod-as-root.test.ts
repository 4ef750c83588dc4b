import { beforeAll, describe, expect, test } from 'vitest';
import { netPath } from '../../lab/world/plan.ts';
import { shop, useLab } from '../system/lab.ts';
import { ethernet, marker, udp } from './packets.ts';
import { RawSocket, sendDatagram } from './raw-socket.ts';

// A pod with NET_ADMIN gives itself addresses and devices by which packets really leave, and a neighbour of the node answers in the name
// of others. Nothing of it arrives anywhere. Beside each, true packets arrive. (own-interface.test.ts: that others go on meanwhile.)

const lab = useLab('podroot', { admission: false, nodes: 2 });
const FAMILIES = [4, 6] as const;
type Family = (typeof FAMILIES)[number];
const PORT = 5_353;
const DNS = { 4: '10.96.0.10', 6: 'fd00:10:96::a' } as const;
const GATEWAY_MAC = '02:62:68:00:00:01';

beforeAll(() => lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n')));

/** Pods that may see nothing of it, but by a way of their own. */
const OTHERS = ['a/q1', 'a/p2', 'b/p1', 'b/p2', 'flat/p1', 'flat/p2'] as const;
const hostCidr = (ip: string): string => `${ip}/${ip.includes(':') ? 128 : 32}`;

/** Which of the marked packets others have seen, once the twin's has arrived at its mate. */
async function seen(marks: ReadonlyMap<string, string>, send: () => Promise<void>): Promise<string[]> {
  const eyes = await Promise.all(OTHERS.map(async (o) => [o, new RawSocket(await lab.netns(o), 'eth0')] as const));
  try {
    await send();
    await new Promise((resolve) => setTimeout(resolve, 300));
    return eyes.flatMap(([who, eye]) => {
      const frames = eye.received();
      return [...marks].flatMap(([mark, name]) => (frames.some((f) => f.includes(mark)) ? [`${name}, at ${who}`] : []));
    });
  } finally {
    for (const [, eye] of eyes) eye[Symbol.dispose]();
  }
}

const inPod = (...argv: string[]): Promise<string> => lab.inPod('a/p1', ...argv);
const twin = async (f: Family): Promise<void> => {
  for (const mate of ['a/q1', 'a/p2'])
    expect(
      await lab.eventually(
        async () => lab.connect('a/p1', await lab.ip(mate, f), 8080),
        (v) => v === `open:${mate}`,
      ),
    ).toBe(`open:${mate}`);
};

async function macOf(name: string): Promise<string> {
  using socket = new RawSocket(await lab.netns(name), 'eth0');
  return socket.mac;
}

/** The kernel forgets all neighbours of a device whose MAC changes, permanent ones too. */
async function setMac(mac: string): Promise<void> {
  await inPod('ip', 'link', 'set', 'eth0', 'address', mac);
  for (const via of ['169.254.1.1', 'fe80::1'])
    await inPod('ip', 'neigh', 'replace', via, 'lladdr', GATEWAY_MAC, 'dev', 'eth0', 'nud', 'permanent');
}

describe('the pod changes its own interface', () => {
  /** Gives itself addresses of others on a device, and sends to everybody as each of them. */
  async function impersonate(f: Family, dev: string): Promise<void> {
    const foreign = [
      await lab.ip('a/q1', f),
      await lab.ip('b/p1', f),
      await lab.ip('b/p2', f),
      await lab.ip('flat/p1', f),
      f === 4 ? '10.244.1.1' : 'fd00:10:244:1::1',
      f === 4 ? '192.0.2.2' : '2001:db8:2::2',
      f === 4 ? '10.244.1.250' : 'fd00:10:244:1::fa',
    ];
    const netns = await lab.netns('a/p1');
    const marks = new Map<string, string>();
    for (const source of foreign)
      await inPod('ip', 'addr', 'replace', hostCidr(source), 'dev', dev, ...(f === 6 ? ['nodad'] : []));
    const targets = await Promise.all(OTHERS.map(async (o) => [o, await lab.ip(o, f)] as const));
    const found = await seen(marks, async () => {
      for (const source of foreign)
        for (const [name, address] of targets) {
          const text = marker('as');
          marks.set(text.toString(), `${source} to ${name} by ${dev}`);
          sendDatagram(netns, { address, port: PORT }, text, { address: source, port: 0 });
        }
      return Promise.resolve();
    });
    for (const source of foreign) await inPod('ip', 'addr', 'del', hostCidr(source), 'dev', dev);
    expect(found).toEqual([]);
  }

  test.each(FAMILIES)('further addresses, of others and of nobody (IPv%s)', async (f) => {
    await impersonate(f, 'eth0');
    await twin(f);
  });

  test.each(FAMILIES)('a macvlan on top of it, with a MAC and addresses of its own (IPv%s)', async (f) => {
    const own = await lab.ip('a/p1', f);
    await inPod('ip', 'link', 'add', 'mv0', 'link', 'eth0', 'type', 'macvlan', 'mode', 'bridge');
    await inPod('ip', 'link', 'set', 'mv0', 'up');
    const table = ['table', '77'];
    const via = f === 4 ? '169.254.1.1' : 'fe80::1';
    const ip = ['ip', `-${f}`];
    await inPod(...ip, 'neigh', 'replace', via, 'lladdr', GATEWAY_MAC, 'dev', 'mv0', 'nud', 'permanent');
    await inPod(...ip, 'route', 'replace', 'default', 'via', via, 'dev', 'mv0', 'onlink', ...table);
    await inPod(...ip, 'rule', 'add', 'not', 'from', own, 'lookup', '77', 'pref', '100');
    await impersonate(f, 'mv0');
    await inPod(...ip, 'rule', 'del', 'pref', '100');
    await inPod('ip', 'link', 'del', 'mv0');
    await twin(f);
  });

  test.each(FAMILIES)(
    'another MAC, also that of the gateway and of a mate: only the pod itself suffers (IPv%s)',
    async (f) => {
      const [before, mate] = [await macOf('a/p1'), await macOf('a/q1')];
      for (const mac of ['02:de:ad:be:ef:01', GATEWAY_MAC, mate]) {
        await setMac(mac);
        await impersonate(f, 'eth0');
        // Others reach each other as before.
        expect(await lab.connect('a/q1', await lab.ip('a/p2', f), 8080)).toBe('open:a/p2');
        expect(await lab.connect('a/p2', await lab.ip('a/q1', f), 8080)).toBe('open:a/q1');
      }
      await setMac(before);
      await twin(f);
    },
  );

  test('eth0 as a port of a bridge', async () => {
    const own = { 4: await lab.ip('a/p1', 4), 6: await lab.ip('a/p1', 6) };
    await inPod('ip', 'link', 'add', 'br0', 'type', 'bridge');
    await inPod('ip', 'link', 'set', 'br0', 'address', '02:de:ad:be:ef:02');
    await inPod('ip', 'link', 'set', 'eth0', 'master', 'br0');
    await inPod('ip', 'link', 'set', 'br0', 'up');
    for (const f of FAMILIES) {
      const via = f === 4 ? '169.254.1.1' : 'fe80::1';
      await inPod('ip', `-${f}`, 'neigh', 'replace', via, 'lladdr', GATEWAY_MAC, 'dev', 'br0', 'nud', 'permanent');
      await inPod('ip', `-${f}`, 'route', 'replace', 'default', 'via', via, 'dev', 'br0', 'onlink', 'metric', '1');
      await impersonate(f, 'br0');
      expect(await lab.connect('a/q1', await lab.ip('a/p2', f), 8080)).toBe('open:a/p2');
    }
    await inPod('ip', 'link', 'set', 'eth0', 'nomaster');
    await inPod('ip', 'link', 'del', 'br0');
    for (const f of FAMILIES) {
      expect(await lab.ip('a/p1', f)).toBe(own[f]);
      await twin(f);
    }
  });
});

describe('an open DNS query', () => {
  test.each(FAMILIES)(
    'a neighbour on the underlay answers in the name of the resolver: to nobody (IPv%s)',
    async (f) => {
      const netns = await lab.netns('a/p1');
      const source = await lab.ip('a/p1', f);
      const sourcePort = 46_010 + f;
      using own = new RawSocket(netns, 'eth0');
      using wire = new RawSocket(netPath(lab.name, 'fabric'), 'n1');
      using n1 = new RawSocket(netPath(lab.name, 'n1'), 'eth0');
      const resolvers = [...(await lab.view()).state.pods.values()].filter((p) => p.name.startsWith('coredns'));
      const from = resolvers.flatMap((p) => p.ips.filter((ip) => ip.includes(':') === (f === 6)));
      for (const rp of ['0', '1', '2']) {
        await lab.onNode('n1', 'sh', '-c', `for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo ${rp} > $i; done`);
        sendDatagram(netns, { address: DNS[f], port: 53 }, query(), { address: source, port: sourcePort });
        const forged = marker('forged');
        for (const resolver of [...from, DNS[f]])
          for (const [destination, port] of [
            [source, sourcePort],
            [f === 4 ? '192.0.2.11' : '2001:db8:2::11', sourcePort],
          ] as const) {
            const payload = udp({ source: resolver, destination, sourcePort: 53, port, payload: forged });
            wire.send(ethernet({ to: n1.mac, from: wire.mac, payload }));
          }
        let frames: Buffer[] = [];
        const answered = await lab.eventually(
          () => {
            frames = [...frames, ...own.received()];
            sendDatagram(netns, { address: DNS[f], port: 53 }, query(), { address: source, port: sourcePort });
            return Promise.resolve(frames.some((x) => x.includes('kubernetes') && x.length > query().length + 60));
          },
          (a) => a,
        );
        expect([rp, answered, frames.some((x) => x.includes(forged))]).toEqual([rp, true, false]);
      }
    },
  );
});

/** "kubernetes.default.svc.cluster.local", type A. */
function query(): Buffer {
  const name = ['kubernetes', 'default', 'svc', 'cluster', 'local'].flatMap((l) => [l.length, ...Buffer.from(l)]);
  return Buffer.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 0, 1, 0, 1]);
}
