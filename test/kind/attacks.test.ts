import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vtepMac } from '../../dataplane/plan/names.ts';
import { exec } from '../../lib/exec/exec.ts';
import { ethernet, marker, PROTOCOL, udp, vxlan } from '../attacks/packets.ts';
import { RawSocket, sendDatagram } from '../attacks/raw-socket.ts';
import {
  apply,
  deleteNamespaces,
  eventually,
  families,
  flatNamespace,
  fromPodToAll,
  get,
  ipOf,
  isolatedNamespace,
  kubectl,
  nodeIp,
  onNode,
  pod,
  type PodFacts,
  ready,
  standIn,
  workers,
} from './cluster.ts';

// The attacks of test/attacks on a real cluster, in short: VXLAN from those who are no node, and every address of a node.

const NAMESPACES = ['atk-a', 'atk-nat', 'atk-flat'];
const VXLAN_PORT = 4789;
/** An address that no Kubernetes object names. Taken away again: the suite compares nodes before and after. */
const FURTHER = '198.51.100.77/32';
let nodes: [string, string] = ['', ''];
/** By namespace: on the first worker, and on the second. */
const pods = new Map<string, [PodFacts, PodFacts]>();
const podOf = (namespace: string, node: 0 | 1): PodFacts => {
  const found = pods.get(namespace)?.[node];
  if (!found) throw new Error(`no pod of ${namespace}`);
  return found;
};

/** Path of a pod's network namespace as this machine can open it: through the container that is its node. */
async function netnsOf({ node, ips }: PodFacts): Promise<string> {
  const find = `for n in $(ls /run/netns | grep ^cni-); do ip -n "$n" -o addr show dev eth0 | grep -q " ${ips[0]}/" && echo "$n"; done; true`;
  const name = (await onNode(node, 'sh', '-c', find)).trim();
  const { stdout } = await exec(['docker', 'inspect', '-f', '{{.State.Pid}}', node]);
  return `/proc/${stdout.trim()}/root/run/netns/${name}`;
}

beforeAll(async () => {
  nodes = await workers();
  const namespaces = [isolatedNamespace('atk-a'), isolatedNamespace('atk-nat'), flatNamespace('atk-flat')];
  const all = NAMESPACES.flatMap((ns) => nodes.map((node, i) => standIn(ns, `p${i + 1}`, { node })));
  await apply([...namespaces, ...all].join('\n'));
  await ready(...NAMESPACES);
  const egress = JSON.stringify({ spec: { egress: { mode: 'NAT' } } });
  await kubectl(['-n', 'atk-nat', 'patch', 'virtualnetwork', 'default', '--type=merge', '-p', egress]);
  for (const ns of NAMESPACES) pods.set(ns, [await pod(ns, 'app=p1'), await pod(ns, 'app=p2')]);
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
    const links = JSON.parse(await onNode(nodes[0], 'ip', '-j', 'addr')) as { addr_info: { local: string }[] }[];
    const addresses = [...links.flatMap((l) => l.addr_info.map((a) => a.local)), '255.255.255.255', '224.0.0.1'];
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
    const twin = marker('twin');
    const frames: Buffer[] = [];
    sendDatagram(await netnsOf(mate), { address: ipOf(victim, family), port: 5_353 }, twin);
    await eventually('what the network itself sends', async () => {
      frames.push(...ear.received());
      return frames.some((f) => f.includes(twin)) || undefined;
    });
    const delivered = frames.filter((f) => f[23] === PROTOCOL.UDP || f[20] === PROTOCOL.UDP);
    expect(forged.filter(({ text }) => delivered.some((f) => f.includes(text))).map(({ label }) => label)).toEqual([]);
    expect(forged.length).toBeGreaterThan(30);
  });
});

describe('every address of a node is a node', () => {
  test('a pod with a way out reaches none of them, a flat pod does', async () => {
    const addresses = [FURTHER.split('/')[0] ?? ''];
    for (const f of families) addresses.push(await nodeIp(nodes[0], f));
    const usable = addresses.filter((a) => families.includes(a.includes(':') ? 6 : 4));
    const kubelet = usable.map((address) => ({ address, port: 10_250, protocol: 'TCP' as const }));
    expect(await fromPodToAll(podOf('atk-flat', 0), kubelet)).toEqual(usable.map(() => 'open'));
    const closed = await eventually('the address is known as the node', async () => {
      const verdicts = await fromPodToAll(podOf('atk-nat', 0), kubelet);
      return verdicts.includes('open') ? undefined : verdicts;
    });
    expect(closed).not.toContain('open');
  });
});
