import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vtepMac } from '../../dataplane/plan/names.ts';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import { connectAll } from '../../lib/connect/connect.ts';
import { exec } from '../../lib/exec/exec.ts';
import { ethernet, marker, PROTOCOL, udp, vxlan } from '../attacks/packets.ts';
import { RawSocket, sendDatagram } from '../attacks/raw-socket.ts';
import {
  apply,
  deleteNamespaces,
  eventually,
  families,
  fromPodToAll,
  get,
  ipOf,
  netnsOf,
  nodeIp,
  onNode,
  pidOf,
  placeOnWorkers,
  type OnWorkers,
  type PodFacts,
  workers,
} from './cluster.ts';

// The attacks of test/attacks on a real cluster, in short: VXLAN from those who are no node, every address of a node, a neighbour on
// the network of the nodes.

const NAMESPACES = ['atk-a', 'atk-nat', 'atk-flat'];
const VXLAN_PORT = 4789;
/** An address that no Kubernetes object names. Taken away again: the suite compares nodes before and after. */
const FURTHER = '198.51.100.77/32';
let nodes: [string, string] = ['', ''];
let pods: OnWorkers = new Map();
const podOf = (namespace: string, node: 0 | 1): PodFacts => {
  const found = pods.get(namespace)?.[node];
  if (!found) throw new Error(`no pod of ${namespace}`);
  return found;
};

beforeAll(async () => {
  nodes = await workers();
  pods = await placeOnWorkers({ isolated: ['atk-a'], outward: ['atk-nat'], flat: ['atk-flat'] });
  await onNode(nodes[0], 'ip', 'addr', 'add', FURTHER, 'dev', 'lo');
});

afterAll(async () => {
  await onNode(nodes[0], 'ip', 'addr', 'del', FURTHER, 'dev', 'lo').catch(() => undefined);
  await deleteNamespaces(...NAMESPACES);
});

describe('VXLAN from those who are no node', () => {
  test.each(families)('reaches no pod, by any address of its node (IPv%s)', async (family) => {
    const { vni = 0 } = (await get('virtualnetwork', 'default', 'atk-a'))['status'] as { vni?: number };
    const [victim, mate] = [podOf('atk-a', 0), podOf('atk-a', 1)];
    using ear = new RawSocket(await netnsOf(victim), 'eth0');
    const underlay = family === 4 || !families.includes(4) ? family : 4;
    const frame = (payload: Buffer): Buffer =>
      ethernet({
        to: vtepMac(macSource[0]),
        from: vtepMac(macSource[1]),
        payload: udp({
          source: ipOf(mate, family),
          destination: ipOf(victim, family),
          sourcePort: 7_003,
          port: 5_353,
          payload,
        }),
      });
    const macSource = [await nodeIp(nodes[0], underlay), await nodeIp(nodes[1], underlay)] as const;
    const addresses = [...(await localAddresses(nodes[0])), '255.255.255.255', '224.0.0.1'];
    const senders = [podOf('atk-flat', 0), podOf('atk-flat', 1), podOf('atk-nat', 0), podOf('atk-nat', 1)];
    const forged: { readonly label: string; readonly text: Buffer }[] = [];
    for (const [name, netns] of [
      ...(await Promise.all(senders.map(async (s) => [`${s.name} on ${s.node}`, await netnsOf(s)] as const))),
      ['this machine', '/proc/self/ns/net'] as const,
    ])
      for (const address of addresses) {
        // This machine sends to nodes only: nothing of the test leaves for anywhere else.
        if (name === 'this machine' && !macSource.includes(address)) continue;
        const text = marker('kind');
        sendDatagram(netns, { address, port: VXLAN_PORT }, vxlan(vni, frame(text)));
        forged.push({ label: `${name} → ${address}`, text });
      }
    expect(await arrived(ear, mate, victim, family, forged)).toEqual([]);
    expect(forged.length).toBeGreaterThan(30);
  });
});

describe('every address of a node is a node', () => {
  test('a pod with a way out reaches none of them, a flat pod does', async () => {
    await apply(`
apiVersion: v1
kind: Service
metadata: { name: outer, namespace: atk-a }
spec: { type: NodePort, ipFamilyPolicy: PreferDualStack, selector: { app: p1 }, ports: [{ port: 5432 }] }
`);
    const service = (await get('service', 'outer', 'atk-a'))['spec'] as { ports: { nodePort: number }[] };
    const nodePort = service.ports[0]?.nodePort ?? 0;
    const PORTS = { kubelet: 10_250, agent: 9_444, nodePort };
    const targets = (addresses: readonly string[], ports: readonly number[]) =>
      addresses.flatMap((address) => ports.map((port) => ({ address, port, protocol: 'TCP' as const })));
    const usable = (address: string): boolean => families.includes(address.includes(':') ? 6 : 4);

    // The twin: what flat pods may reach, by the addresses that the API knows.
    const known = (await Promise.all(nodes.flatMap((n) => families.map((f) => nodeIp(n, f))))).filter(usable);
    const open = targets(known, Object.values(PORTS));
    for (const node of [0, 1] as const)
      expect([
        node,
        await eventually('flat pods reach nodes', async () => {
          const verdicts = await fromPodToAll(podOf('atk-flat', node), open);
          return verdicts.every((v) => v === 'open') ? verdicts : undefined;
        }),
      ]).toEqual([node, open.map(() => 'open')]);
    // And its own network's node port, which never leaves it.
    const own = targets(known, [nodePort]);
    expect(await fromPodToAll(podOf('atk-a', 1), own)).toEqual(own.map(() => 'open'));

    const all = (await Promise.all(nodes.map(localAddresses))).flat();
    const closed = targets(
      [...new Set([...all.filter(usable), FURTHER.split('/')[0] ?? ''])].filter((a) => !/^(127\.|::1$|fe80:)/.test(a)),
      Object.values(PORTS),
    );
    for (const node of [0, 1] as const) {
      const reached = async (): Promise<string[]> => {
        const verdicts = await fromPodToAll(podOf('atk-nat', node), closed);
        return closed.flatMap(({ address, port }, i) => (verdicts[i] === 'open' ? [`${address} port ${port}`] : []));
      };
      // The address that no object names is known with the next report.
      await eventually('all addresses are known as nodes', async () =>
        (await reached()).length === 0 ? true : undefined,
      );
      expect([node, await reached()]).toEqual([node, []]);
    }
    expect(closed.length).toBeGreaterThan(10);
  });
});

describe('a neighbour', () => {
  /** A container on the network of the nodes, which is no node. */
  let neighbour = '';
  let netns = '';

  beforeAll(async () => {
    const { stdout: image } = await exec(['docker', 'inspect', '-f', '{{.Config.Image}}', nodes[0]]);
    const run = ['run', '-d', '--rm', '--network', 'kind', '--entrypoint', 'sleep', image.trim(), '600'];
    neighbour = (await exec(['docker', ...run], { timeoutMs: 60_000 })).stdout.trim();
    netns = `/proc/${await pidOf(neighbour)}/ns/net`;
  }, 120_000);
  afterAll(async () => {
    if (neighbour !== '') await exec(['docker', 'rm', '-f', neighbour]);
  });

  test.each(families)(
    'a neighbour on the network of the nodes, as a pod, a probe or a node port (IPv%s)',
    async (f) => {
      using wire = new RawSocket(netns, 'eth0');
      const to = (await onNode(nodes[0], 'cat', '/sys/class/net/eth0/address')).trim();
      const cidrs = await Promise.all(
        nodes.map(async (n) => {
          const { podCIDRs = [] } = (await get('node', n))['spec'] as { podCIDRs?: string[] };
          return podCIDRs.find((c) => c.includes(':') === (f === 6)) ?? '';
        }),
      );
      const sources = [
        ...cidrs.flatMap((c) => [nodeAddress(c), probeSource(c)]),
        ipOf(podOf('atk-flat', 1), f),
        ipOf(podOf('atk-a', 1), f),
      ];
      const { vni = 0 } = (await get('virtualnetwork', 'default', 'atk-a'))['status'] as { vni?: number };
      const underlay = families.includes(4) ? 4 : 6;
      const [own, mate] = [await nodeIp(nodes[0], underlay), await nodeIp(nodes[1], underlay)];
      for (const namespace of ['atk-a', 'atk-flat']) {
        const victim = podOf(namespace, 0);
        using ear = new RawSocket(await netnsOf(victim), 'eth0');
        const sent: { readonly label: string; readonly text: Buffer }[] = [];
        const datagram = (source: string, text: Buffer): Buffer =>
          udp({ source, destination: ipOf(victim, f), sourcePort: 7_003, port: 5_353, payload: text });
        for (const source of sources) {
          const text = marker('as');
          wire.send(ethernet({ to, from: wire.mac, payload: datagram(source, text) }));
          sent.push({ label: `as ${source}`, text });
        }
        // VXLAN with an outer source that is no node: addresses of pods, of the node itself, and one of its own.
        const stranger = families.includes(4) ? '198.51.100.9' : '2001:db8:51::9';
        for (const source of [stranger, own, ...sources.filter((s) => s.includes(':') === (underlay === 6))]) {
          const text = marker('vx');
          const inner = ethernet({
            to: vtepMac(own),
            from: vtepMac(mate),
            payload: datagram(ipOf(podOf(namespace, 1), f), text),
          });
          const number = namespace === 'atk-a' ? vni : 1;
          const payload = udp({
            source,
            destination: own,
            sourcePort: 50_000,
            port: VXLAN_PORT,
            payload: vxlan(number, inner),
          });
          wire.send(ethernet({ to, from: wire.mac, payload }));
          sent.push({ label: `VXLAN from ${source}`, text });
        }
        expect([namespace, await arrived(ear, podOf(namespace, 1), victim, f, sent)]).toEqual([namespace, []]);
      }
      // It does reach the node: what it sent came there.
      expect(
        await connectAll([
          {
            netns,
            address: await nodeIp(nodes[0], f),
            port: 10_250,
            protocol: 'TCP',
            timeoutMs: 2_000,
            identify: false,
          },
        ]),
      ).toMatchObject([{ verdict: 'open' }]);
    },
  );
});

async function localAddresses(node: string): Promise<string[]> {
  const links = JSON.parse(await onNode(node, 'ip', '-j', 'addr')) as { addr_info: { local: string }[] }[];
  return links.flatMap((l) => l.addr_info.map((a) => a.local));
}

/** Those of what was sent that the victim has got, by the time that what its own mate sends has arrived. */
async function arrived(
  ear: RawSocket,
  mate: PodFacts,
  victim: PodFacts,
  f: 4 | 6,
  sent: readonly { readonly label: string; readonly text: Buffer }[],
): Promise<string[]> {
  const twin = marker('twin');
  const frames: Buffer[] = [];
  await eventually('what the network itself sends', async () => {
    sendDatagram(await netnsOf(mate), { address: ipOf(victim, f), port: 5_353 }, twin);
    frames.push(...ear.received());
    return frames.some((x) => x.includes(twin)) || undefined;
  });
  frames.push(...ear.received());
  const delivered = frames.filter((x) => x[23] === PROTOCOL.UDP || x[20] === PROTOCOL.UDP);
  return sent.filter(({ text }) => delivered.some((x) => x.includes(text))).map(({ label }) => label);
}
