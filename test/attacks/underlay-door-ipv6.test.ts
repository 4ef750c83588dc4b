import { beforeAll, expect, test } from 'vitest';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import { vtepMac } from '../../dataplane/plan/names.ts';
import { netPath } from '../../lab/world/plan.ts';
import { shop, useLab } from '../system/lab.ts';
import { behindHeader, ethernet, fragments6, marker, PROTOCOL, udp, vxlan } from './packets.ts';
import { RawSocket, sendDatagram } from './raw-socket.ts';

// The same door where the underlay is IPv6: what IPv4 calls broadcast is multicast here, and fragments are put together later.

const lab = useLab('door6', { nodes: 2, family: 'ipv6' });
const UNDERLAY = '2001:db8:2::11';
const NODE = '2001:db8:2::12';
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

/** The same datagram in each of the forms that IPv6 has for it. */
const FORMS: Readonly<Record<string, (whole: Buffer, id: number) => Buffer[]>> = {
  whole: (whole) => [whole],
  'in fragments': (whole, id) => fragments6({ ...fieldsOf(whole), id }, 48),
  'behind hop-by-hop options': (whole) => [behindHeader(fieldsOf(whole), 0, NO_OPTIONS)],
  'behind destination options': (whole) => [behindHeader(fieldsOf(whole), 60, NO_OPTIONS)],
};
const NO_OPTIONS = Buffer.of(0, 1, 4, 0, 0, 0, 0);
let source = '';
let destination = '';
const fieldsOf = (whole: Buffer) => ({ source, destination, protocol: PROTOCOL.UDP, payload: whole.subarray(40) });

/** Sends every form by a wire, under an address; the forms that have arrived by the time that what a node says has. */
async function formsThatArrive(wire: RawSocket, to: string, as: string, node: { wire: RawSocket; to: string }) {
  using eye = new RawSocket(await lab.netns('b/p1'), 'eth0');
  const datagram = async (text: Buffer): Promise<Buffer> =>
    udp({ source, destination, sourcePort: 50_000, port: 4789, payload: await inner(text) });
  const sent: { readonly form: string; readonly text: Buffer }[] = [];
  for (const address of addresses)
    for (const [form, packets] of Object.entries(FORMS)) {
      const text = marker('form6');
      [source, destination] = [as, address];
      for (const packet of packets(await datagram(text), sent.length + 1))
        wire.send(ethernet({ to, from: wire.mac, payload: packet }));
      sent.push({ form: `${form} to ${address}`, text });
    }
  const frames: Buffer[] = [];
  const last = marker('node6');
  [source, destination] = [NODE, UNDERLAY];
  const end = await lab.eventually(
    async () => {
      node.wire.send(ethernet({ to: node.to, from: node.wire.mac, payload: await datagram(last) }));
      frames.push(...eye.received());
      return frames.some((x) => x.includes(last));
    },
    (seen) => seen,
  );
  expect(end).toBe(true);
  frames.push(...eye.received());
  return sent.filter(({ text }) => frames.some((x) => x.includes(text))).map(({ form }) => form);
}

test('in fragments and behind extension headers: from a node it comes in, from pods and neighbours it does not', async () => {
  using wire = new RawSocket(netPath(lab.name, 'fabric'), 'n1');
  using n1 = new RawSocket(netPath(lab.name, 'n1'), 'eth0');
  const node = { wire, to: n1.mac };
  const known = await formsThatArrive(wire, n1.mac, NODE, node);
  expect(known.sort()).toEqual(
    Object.keys(FORMS)
      .map((form) => `${form} to ${UNDERLAY}`)
      .sort(),
  );
  for (const stranger of ['2001:db8:2::77', UNDERLAY, await lab.ip('flat/p2', 6), await lab.ip('b/p2', 6), '::1'])
    expect([stranger, await formsThatArrive(wire, n1.mac, stranger, node)]).toEqual([stranger, []]);
  for (const pod of ['flat/p1', 'flat/p2', 'b/q1']) {
    using mouth = new RawSocket(await lab.netns(pod), 'eth0');
    for (const as of [await lab.ip(pod, 6), NODE])
      expect([pod, as, await formsThatArrive(mouth, '02:62:68:00:00:01', as, node)]).toEqual([pod, as, []]);
  }
});
