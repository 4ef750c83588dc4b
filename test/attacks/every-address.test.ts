import { beforeAll, describe, expect, test } from 'vitest';
import { VXLAN_PORT } from '../../api/names.ts';
import { vtepMac } from '../../dataplane/plan/names.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { exec } from '../../lib/exec/exec.ts';
import { fabricAddress, netPath, nodeHost, nodeNames } from '../../lab/world/plan.ts';
import type { Attempt } from '../../lib/connect/connect.ts';
import { pod, shop, useLab, virtualNetwork } from '../system/lab.ts';
import { ethernet, marker, PROTOCOL, udp, vxlan } from './packets.ts';
import { RawSocket, sendDatagram } from './raw-socket.ts';

// Every address of every node × what may answer there × who asks, and the answer that the model gives. Nodes have more addresses than
// Kubernetes knows: here a second one on the link, one of a bridge, and one on the loopback that the fabric routes to them.

const lab = useLab('addresses', { nodes: 2 });
const LONG = process.env['ATTACKS'] === 'long';
const KUBELET = 10_250;
const HOST_PORT = 8_181;
/** Of the isolated network b, open to all; of c, open to the outside only. */
const NODE_PORT = { b: 31_090, c: 31_092 } as const;

type Sender = { readonly name: string; readonly from: string | { readonly net: string } };
const FLAT: Sender[] = [
  { name: 'flat pod', from: 'flat/p1' },
  { name: 'flat pod of another node', from: 'flat/p2' },
];
const CLOSED: Sender[] = [
  { name: 'isolated pod', from: 'a/p1' },
  { name: 'pod with a way out', from: 'nat/p1' },
  { name: 'pod with a way out, of another node', from: 'nat/p2' },
];
const OUTER: Sender[] = [
  { name: 'outside', from: { net: 'outside' } },
  { name: 'neighbour', from: { net: 'fabric' } },
];

/** Addresses that lead to a node from elsewhere: what a client may expect to work. */
const known = (i: number): string[] => [fabricAddress(4, nodeHost(i)), fabricAddress(6, nodeHost(i))];
/** Further ones, which no Kubernetes object names. */
const further = (i: number): string[] => [`192.0.2.${111 + i}`, `2001:db8:2::${111 + i}`, `198.51.100.${i + 1}`];
/** Of a bridge inside the node: from elsewhere, nothing leads there. */
const bridge = (i: number): string[] => [`172.17.${i}.1`, `fd00:17:${i}::1`];

/** All addresses of a node as its kernel has them, and those that every node answers to. */
async function localAddresses(node: string): Promise<string[]> {
  const { stdout } = await exec(['nsenter', `--net=${netPath(lab.name, node)}`, 'ip', '-j', 'addr']);
  const links = JSON.parse(stdout) as { addr_info: { local: string }[] }[];
  return [...new Set(links.flatMap((l) => l.addr_info.map((a) => a.local)))];
}
const EVERYBODY = ['255.255.255.255', '192.0.2.255', '224.0.0.1', 'ff02::1', '169.254.1.1', '169.254.1.2'];

const service = (namespace: string, nodePort: number): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'outer', namespace },
    spec: {
      type: 'NodePort',
      ipFamilyPolicy: 'PreferDualStack',
      selector: { app: 'web' },
      ports: [
        { name: 'http', port: 80, targetPort: 8080, nodePort },
        { name: 'dgram', port: 5353, protocol: 'UDP', nodePort: nodePort + 1 },
      ],
    },
  });

async function netnsOf({ from }: Sender): Promise<string> {
  return typeof from === 'string' ? await lab.netns(from) : netPath(lab.name, from.net);
}

/** Who reached something, of all that were tried: "sender address port". */
async function reached(
  senders: readonly Sender[],
  ports: readonly Pick<Attempt, 'port' | 'protocol'>[],
  addresses: readonly string[],
) {
  const labels: string[] = [];
  const attempts: Attempt[] = [];
  for (const sender of senders) {
    const netns = await netnsOf(sender);
    for (const address of addresses)
      for (const { port, protocol } of ports) {
        labels.push(`${sender.name} → ${address} ${protocol} ${port}`);
        attempts.push({ netns, address, port, protocol, timeoutMs: 1_000, identify: false });
      }
  }
  const outcomes = await lab.connectMany(attempts);
  return labels.filter((_, i) => outcomes[i]?.verdict === 'open');
}

const all: string[] = [];

beforeAll(async () => {
  await lab.apply(
    [
      shop('a'),
      shop('b'),
      shop('c'),
      shop('nat'),
      shop('flat', { isolated: false }),
      ...['n1', 'n2'].map((node) =>
        pod('flat', `host-${node}`, {
          node,
          labels: { app: 'host' },
          container: { ports: [{ containerPort: 8080, hostPort: HOST_PORT }] },
        }),
      ),
      service('b', NODE_PORT.b),
      service('c', NODE_PORT.c),
    ].join('\n---\n'),
  );
  await lab.apply(virtualNetwork('nat', 'default', { egress: { mode: 'NAT' } }));
  const services = { nodePortAccess: 'External' };
  await lab.kubectl(
    '-n',
    'c',
    'patch',
    'virtualnetwork',
    'default',
    '--type=merge',
    '-p',
    JSON.stringify({ spec: { services } }),
  );
  for (const [i, node] of nodeNames(2).entries()) {
    const [second = '', second6 = '', vip = ''] = further(i);
    const [inner = '', inner6 = ''] = bridge(i);
    for (const args of [
      ['addr', 'add', `${second}/24`, 'dev', 'eth0'],
      ['addr', 'add', `${second6}/64`, 'dev', 'eth0', 'nodad'],
      ['addr', 'add', `${vip}/32`, 'dev', 'lo'],
      ['link', 'add', 'docker0', 'type', 'bridge'],
      ['addr', 'add', `${inner}/24`, 'dev', 'docker0'],
      ['addr', 'add', `${inner6}/64`, 'dev', 'docker0', 'nodad'],
      ['link', 'set', 'docker0', 'up'],
    ])
      await lab.onNode(node, 'ip', ...args);
    await exec([
      'nsenter',
      `--net=${netPath(lab.name, 'fabric')}`,
      'ip',
      'route',
      'add',
      vip,
      'via',
      known(i)[0] ?? '',
    ]);
  }
  for (const node of nodeNames(2)) all.push(...(await localAddresses(node)));
});

describe('pods of networks reach no address of any node', () => {
  const PORTS = [
    { port: KUBELET, protocol: 'TCP' },
    { port: HOST_PORT, protocol: 'TCP' },
    ...Object.values(NODE_PORT).flatMap((port) => [
      { port, protocol: 'TCP' as const },
      { port: port + 1, protocol: 'UDP' as const },
    ]),
    { port: 0, protocol: 'ICMP' },
  ] as const;

  test('isolated ones and those with a way out; the outside stays open to these', async () => {
    // A pod's own loopback and link-local addresses are its own, not the node's.
    const addresses = all.filter((a) => !a.startsWith('127.') && a !== '::1' && !a.startsWith('fe80:'));
    expect(addresses.length).toBeGreaterThan(20);
    // Agents tell of new addresses of their nodes with their next report.
    const open = await lab.eventually(
      () => reached(CLOSED, PORTS, addresses),
      (found) => found.length === 0,
    );
    expect(open).toEqual([]);
    const outside = ['203.0.113.10', '2001:db8::10'];
    const web = [{ port: 80, protocol: 'TCP' }] as const;
    expect(await reached(CLOSED.slice(1), web, outside)).toHaveLength(4);
    expect(await reached(CLOSED.slice(0, 1), web, outside)).toEqual([]);
  });

  test('what flat pods and the outside may use stays open', async () => {
    const addresses = [0, 1].flatMap(known);
    const open = await reached([...FLAT, ...OUTER], [{ port: NODE_PORT.b, protocol: 'TCP' }], addresses);
    expect(open).toHaveLength(4 * 4);
    expect(await reached(FLAT, [{ port: KUBELET, protocol: 'TCP' }], addresses)).toHaveLength(2 * 4);
    expect(await reached([...FLAT, ...OUTER], [{ port: HOST_PORT, protocol: 'TCP' }], addresses)).toHaveLength(4 * 4);
  });

  test('nodePortAccess External is closed to flat pods on every address, open to the outside', async () => {
    const addresses = [0, 1].flatMap((i) => [...known(i), ...further(i), ...bridge(i)]);
    const ports = [
      { port: NODE_PORT.c, protocol: 'TCP' },
      { port: NODE_PORT.c + 1, protocol: 'UDP' },
    ] as const;
    const open = await lab.eventually(
      () => reached(FLAT, ports, addresses),
      (found) => found.length === 0,
    );
    expect(open).toEqual([]);
    expect(await reached(OUTER, ports, [0, 1].flatMap(known))).toHaveLength(2 * 2 * 4);
  });
});

describe('VXLAN from those who are no node', () => {
  /** A datagram as from a pod of the victim's own network on the other node, inside VXLAN. */
  function forge(node: number, vni: number, source: string, destination: string) {
    const text = marker(`vni${vni}`);
    const frame = ethernet({
      to: vtepMac(known(node)[0] ?? ''),
      from: vtepMac(known(1 - node)[0] ?? ''),
      payload: udp({ source, destination, sourcePort: 7_003, port: 5_353, payload: text }),
    });
    return { text, datagram: vxlan(vni, frame) };
  }

  /** Datagrams for the victim itself: not what it sends, and no ICMP error that quotes what it has sent. */
  const delivered = (f: Buffer): boolean =>
    (f[23] === PROTOCOL.UDP && f.readUInt16BE(36) === 5_353) ||
    (f[20] === PROTOCOL.UDP && f.length > 58 && f.readUInt16BE(56) === 5_353);

  test('reaches no pod of any network, by whatever address of a node it is sent to', async () => {
    const networks = (await lab.view()).state.networks;
    const victims = [
      { namespace: 'b', vni: networks.get('b/default')?.vni ?? 0 },
      { namespace: 'nat', vni: networks.get('nat/default')?.vni ?? 0 },
      { namespace: 'flat', vni: 1 },
    ];
    const senders = await Promise.all(
      [...FLAT, ...CLOSED, ...OUTER].map(async (s) => [s.name, await netnsOf(s)] as const),
    );
    const ports = LONG ? [undefined, VXLAN_PORT] : [undefined];
    const seen: string[] = [];
    let sent = 0;
    for (const { namespace, vni } of victims)
      for (const [node, name] of nodeNames(2).entries()) {
        using ear = new RawSocket(await lab.netns(`${namespace}/p${node + 1}`), 'eth0');
        const addresses = [...new Set([...(await localAddresses(name)), ...EVERYBODY])];
        const forged: { readonly label: string; readonly text: Buffer }[] = [];
        for (const family of [4, 6] as const) {
          const mate = await lab.ip(`${namespace}/p${2 - node}`, family);
          const victim = await lab.ip(`${namespace}/p${node + 1}`, family);
          for (const [sender, netns] of senders)
            for (const address of addresses)
              for (const port of ports) {
                const { text, datagram } = forge(node, vni, mate, victim);
                const own =
                  port === undefined ? undefined : { address: familyOf(address) === 4 ? '0.0.0.0' : '::', port };
                sendDatagram(netns, { address, port: VXLAN_PORT }, datagram, own);
                forged.push({ label: `${sender} → ${address}, VNI ${vni}, inner IPv${family}`, text });
                sent++;
              }
        }
        // The allowed twin, and the end of the waiting: what a pod of the network itself sends is seen.
        const true_ = marker('twin');
        const to = await lab.ip(`${namespace}/p${node + 1}`);
        sendDatagram(await lab.netns(`${namespace}/p${2 - node}`), { address: to, port: 5_353 }, true_);
        const frames: Buffer[] = [];
        const twin = await lab.eventually(
          async () => {
            frames.push(...ear.received().filter(delivered));
            return frames.some((f) => f.includes(true_));
          },
          (arrived) => arrived,
        );
        expect(twin).toBe(true);
        await new Promise((resolve) => setTimeout(resolve, 100));
        frames.push(...ear.received().filter(delivered));
        seen.push(...forged.filter(({ text }) => frames.some((f) => f.includes(text))).map(({ label }) => label));
      }
    expect(seen).toEqual([]);
    expect(sent).toBeGreaterThan(1_000);
  });
});
