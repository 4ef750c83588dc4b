import { beforeAll, expect, test } from 'vitest';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import { vtepMac } from '../../dataplane/plan/names.ts';
import { netPath } from '../../lab/world/plan.ts';
import { shop, useLab } from '../system/lab.ts';
import { ethernet, marker, udp, vxlan } from './packets.ts';
import { RawSocket, sendDatagram } from './raw-socket.ts';

// The same door where the underlay is IPv6: what IPv4 calls broadcast is multicast here, and fragments are put together later.

const lab = useLab('door6', { nodes: 2, family: 'ipv6' });
const UNDERLAY = '2001:db8:2::11';
const FURTHER = '2001:db8:2::111';
let vni = 0;
let addresses: string[] = [];

beforeAll(async () => {
  await lab.apply([shop('b'), shop('flat', { isolated: false })].join('\n---\n'));
  vni = Number(await lab.kubectl('get', 'vn', 'default', '-n', 'b', '-o', 'jsonpath={.status.vni}'));
  await lab.onNode('n1', 'ip', 'addr', 'add', `${FURTHER}/64`, 'dev', 'eth0', 'nodad');
  const [cidr = ''] = (await lab.view()).state.nodes.get('n1')?.podCIDRs ?? [];
  addresses = [UNDERLAY, FURTHER, nodeAddress(cidr), probeSource(cidr), '::1'];
});

const inner = async (text: Buffer): Promise<Buffer> => {
  const ends = { source: await lab.ip('b/p2', 6), destination: await lab.ip('b/p1', 6), sourcePort: 5353, port: 5353 };
  const frame = ethernet({
    to: vtepMac(UNDERLAY),
    from: '0e:06:c0:00:02:63',
    payload: udp({ ...ends, payload: text }),
  });
  return vxlan(vni, frame);
};

test.each(['flat/p1', 'flat/p2', 'b/q1', 'outside', 'fabric'])(
  '%s: VXLAN comes in by no address of the node',
  async (who) => {
    const netns = who.includes('/') ? await lab.netns(who) : netPath(lab.name, who);
    using eye = new RawSocket(await lab.netns('b/p1'), 'eth0');
    const texts: Buffer[] = [];
    for (const address of addresses) {
      const text = marker('vx6');
      sendDatagram(netns, { address, port: 4789 }, await inner(text));
      texts.push(text);
    }
    // Whole, and in frames, to the node's multicast groups too.
    if (who.includes('/')) {
      using wire = new RawSocket(netns, 'eth0');
      const source = await lab.ip(who, 6);
      for (const destination of [...addresses, 'ff02::1', 'ff05::2']) {
        const text = marker('frame6');
        const payload = udp({ source, destination, sourcePort: 50_000, port: 4789, payload: await inner(text) });
        wire.send(ethernet({ to: '02:62:68:00:00:01', from: wire.mac, payload }));
        texts.push(text);
      }
    }
    const frames: Buffer[] = [];
    const twin = marker('twin6');
    expect(
      await lab.eventually(
        async () => {
          sendDatagram(await lab.netns('b/p2'), { address: await lab.ip('b/p1', 6), port: 5353 }, twin);
          frames.push(...eye.received());
          return frames.some((x) => x.includes(twin));
        },
        (seen) => seen,
      ),
    ).toBe(true);
    frames.push(...eye.received());
    expect(texts.filter((t) => frames.some((x) => x.includes(t))).map(String)).toEqual([]);
  },
);
