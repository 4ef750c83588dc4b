import { beforeAll, describe, expect, test } from 'vitest';
import { VXLAN_PORT } from '../../api/names.ts';
import { GATEWAY_MAC, UPLINK_MAC } from '../../dataplane/plan/names.ts';
import { netPath } from '../../lab/world/plan.ts';
import { shop, useLab } from '../system/lab.ts';
import { ethernet, ip, ipv4, ipv6, marker, PROTOCOL, TCP_FLAG, tcp, udp } from './packets.ts';
import { RawSocket } from './raw-socket.ts';

// What was refused when isolation was attacked, so that it stays refused: frames as root in a pod can write them. Each carries a
// mark; no pod of another network, no other pod of a forged flow, and no wire outside may ever see one.

const lab = useLab('refused', { nodes: 2 });
const PORT = 5_353;

beforeAll(() => lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n')));

/** Who sends, and to whom: addresses of one family. */
type Scene = {
  readonly family: 4 | 6;
  readonly own: string;
  readonly ownMac: string;
  readonly mate: string;
  readonly victim: string;
  readonly text: Buffer;
};
type Attack = readonly [name: string, frames: (s: Scene) => Buffer[]];

const toGateway = (s: Scene, payload: Buffer, type?: number): Buffer =>
  ethernet({ to: GATEWAY_MAC, from: s.ownMac, payload, ...(type === undefined ? {} : { type }) });
const datagram = (s: Scene, source = s.own, destination = s.victim): Buffer =>
  udp({ source, destination, sourcePort: 40_001, port: PORT, payload: s.text });
const family4 =
  (make: (s: Scene) => Buffer[]): Attack[1] =>
  (s) =>
    s.family === 4 ? make(s) : [];
const family6 =
  (make: (s: Scene) => Buffer[]): Attack[1] =>
  (s) =>
    s.family === 6 ? make(s) : [];

const FORGED = {
  4: [
    ...['0.0.0.0', '127.0.0.1', '10.244.1.0', '10.244.1.1', '10.244.2.1', '10.96.0.1', '169.254.1.1', '169.254.1.2'],
    ...['192.0.2.11', '192.0.2.2', '203.0.113.10', '224.0.0.1', '255.255.255.255', '8.8.8.8'],
  ],
  6: [
    ...['::', '::1', 'fd00:10:244:1::', 'fd00:10:244:1::1', 'fd00:10:244:1::2', 'fd00:10:244:2::1', 'fd00:10:96::1'],
    ...['fe80::1', 'fe80::2', 'ff02::1', '2001:db8:2::11', '2001:db8:2::2', '2001:db8::10', '::ffff:10.244.1.1'],
    ...['2002:ac4::1', 'fec0::1'],
  ],
} as const;

/** IP protocols that are neither TCP, UDP nor ICMP. */
const OTHER_PROTOCOLS = [0, 2, 4, 41, 47, 50, 51, 89, 103, 108, 112, 115, 132, 136, 137, 253, 255];

const ATTACKS: readonly Attack[] = [
  ['forged sources, to another network', (s) => FORGED[s.family].map((f) => toGateway(s, datagram(s, f)))],
  ['the source of the victim itself', (s) => [toGateway(s, datagram(s, s.victim))]],
  [
    'other hardware addresses',
    (s) =>
      [UPLINK_MAC.root, UPLINK_MAC.instance, 'ff:ff:ff:ff:ff:ff', '33:33:00:00:00:01', '01:00:5e:00:00:01'].flatMap(
        (to) => [
          ethernet({ to, from: s.ownMac, payload: datagram(s) }),
          ethernet({ to, from: GATEWAY_MAC, payload: datagram(s) }),
        ],
      ),
  ],
  [
    'VLAN tags, single and double',
    (s) =>
      [0, 1, 2, 3, 5, 100].flatMap((id) => {
        const tag = Buffer.concat([
          Buffer.of(0, id, s.family === 4 ? 8 : 0x86, s.family === 4 ? 0 : 0xdd),
          datagram(s),
        ]);
        return [toGateway(s, tag, 0x8100), toGateway(s, Buffer.concat([Buffer.of(0, id, 0x81, 0), tag]), 0x88a8)];
      }),
  ],
  [
    'TCP without a SYN, with every other flag',
    (s) =>
      [TCP_FLAG.ACK, TCP_FLAG.RST, TCP_FLAG.FIN, TCP_FLAG.SYN | TCP_FLAG.ACK, 0, 0x29, TCP_FLAG.PSH | TCP_FLAG.ACK].map(
        (flags) =>
          toGateway(
            s,
            tcp({ source: s.own, destination: s.victim, sourcePort: 40_002, port: 8080, flags, payload: s.text }),
          ),
      ),
  ],
  [
    'other protocols',
    (s) =>
      OTHER_PROTOCOLS.map((protocol) =>
        toGateway(s, ip({ source: s.own, destination: s.victim, protocol, payload: s.text })),
      ),
  ],
  [
    'a packet inside a packet (IPIP, 6in4, GRE)',
    (s) =>
      [4, 41, 47].map((protocol) =>
        toGateway(s, ip({ source: s.own, destination: s.mate, protocol, payload: datagram(s, s.mate, s.victim) })),
      ),
  ],
  [
    'source routes and other IPv4 options',
    family4((s) =>
      [0x83, 0x89, 7, 0x94, 0x44].map((option) => {
        const hop = option === 0x83 || option === 0x89 ? s.victim : '0.0.0.0';
        const options = Buffer.from([option, 7, 4, ...hop.split('.').map(Number), 0]);
        const destination = option === 0x83 || option === 0x89 ? s.mate : s.victim;
        const plain = datagram(s, s.own, destination);
        const header = Buffer.concat([plain.subarray(0, 20), options]);
        header[0] = 0x47;
        header.writeUInt16BE(plain.length + 8, 2);
        header.writeUInt16BE(0, 10);
        header.writeUInt16BE(sum(header), 10);
        return toGateway(s, Buffer.concat([header, plain.subarray(20)]));
      }),
    ),
  ],
  [
    'routing headers and other IPv6 extension headers',
    family6((s) =>
      [0, 2, 3, 4].map((type) => {
        const hops = Buffer.concat([
          Buffer.of(PROTOCOL.UDP, 2, type, 1, 0, 0, 0, 0),
          udp({ source: s.own, destination: s.victim, sourcePort: 1, port: 1, payload: s.text }).subarray(24, 40),
        ]);
        const body = datagram(s).subarray(40);
        return toGateway(
          s,
          ipv6({ source: s.own, destination: s.mate, protocol: 43, payload: Buffer.concat([hops, body]) }),
        );
      }),
    ),
  ],
  [
    'hop-by-hop and destination options, one and many',
    family6((s) =>
      [[0], [60], [0, 60], [60, 60, 60, 60, 60, 60, 60, 60]].map((headers) => {
        const options = headers.map((_, i) => Buffer.of(headers[i + 1] ?? PROTOCOL.UDP, 0, 1, 4, 0, 0, 0, 0));
        const payload = Buffer.concat([...options, datagram(s).subarray(40)]);
        return toGateway(
          s,
          ipv6({ source: s.own, destination: s.victim, protocol: headers[0] ?? PROTOCOL.UDP, payload }),
        );
      }),
    ),
  ],
  [
    'IPv6 fragments: atomic, tiny, without a first, overlapping',
    family6((s) => {
      const body = datagram(s).subarray(40);
      const part = (from: number, to: number, more: boolean, id: number): Buffer => {
        const header = Buffer.of(PROTOCOL.UDP, 0, 0, from | (more ? 1 : 0), 0, 0, 0, id);
        const payload = Buffer.concat([header, body.subarray(from, to)]);
        return toGateway(s, ipv6({ source: s.own, destination: s.victim, protocol: 44, payload }));
      };
      return [
        part(0, body.length, false, 21),
        ...[part(0, 8, true, 22), part(8, body.length, false, 22)],
        part(8, body.length, false, 23),
        ...[part(0, 16, true, 24), part(8, body.length, false, 24)],
      ];
    }),
  ],
  [
    'fragments: tiny, without a first, overlapping',
    family4((s) => {
      const body = datagram(s).subarray(20);
      const part = (from: number, to: number, more: boolean, id: number): Buffer =>
        toGateway(
          s,
          ipv4({
            source: s.own,
            destination: s.victim,
            protocol: PROTOCOL.UDP,
            payload: body.subarray(from, to),
            fragment: (more ? 0x2000 : 0) | (from / 8),
            id,
          }),
        );
      return [
        ...[part(0, 8, true, 11), part(8, body.length, false, 11)],
        part(8, body.length, false, 12),
        ...[part(0, 16, true, 13), part(8, body.length, false, 13)],
      ];
    }),
  ],
  [
    'ICMP errors that quote a flow of others',
    (s) => {
      const quoted = datagram(s, s.victim, s.own);
      const head = s.family === 4 ? Buffer.of(3, 4, 0, 0, 0, 0, 2, 0) : Buffer.of(2, 0, 0, 0, 0, 0, 5, 0);
      const protocol = s.family === 4 ? PROTOCOL.ICMP : PROTOCOL.ICMPv6;
      return [s.mate, s.victim].map((destination) =>
        toGateway(s, ip({ source: s.own, destination, protocol, payload: Buffer.concat([head, quoted]) })),
      );
    },
  ],
  [
    'multicast, broadcast and protocols of the link',
    (s) => [
      ...(s.family === 4
        ? ['224.0.0.1', '224.0.0.251', '255.255.255.255', '10.244.255.255']
        : ['ff02::1', 'ff02::fb', 'ff05::2']
      ).map((destination) =>
        ethernet({ to: 'ff:ff:ff:ff:ff:ff', from: s.ownMac, payload: datagram(s, s.own, destination) }),
      ),
      ...[0x88cc, 0x888e, 0x8847, 0x8863, 0x0806, 0x6558].map((type) =>
        ethernet({ to: 'ff:ff:ff:ff:ff:ff', from: s.ownMac, payload: Buffer.concat([Buffer.alloc(40), s.text]), type }),
      ),
    ],
  ],
  [
    'router advertisements, redirects, neighbour advertisements for others',
    family6((s) =>
      [134, 136, 137, 135, 133].flatMap((type) =>
        ['ff02::1', s.victim].map((destination) =>
          ethernet({
            to: '33:33:00:00:00:01',
            from: s.ownMac,
            payload: ipv6({
              source: 'fe80::1',
              destination,
              protocol: PROTOCOL.ICMPv6,
              hops: 255,
              payload: Buffer.concat([Buffer.of(type, 0, 0, 0, 64, 0, 7, 8), s.text]),
            }),
          }),
        ),
      ),
    ),
  ],
  [
    'IPv4 redirects and router advertisements',
    family4((s) =>
      [
        // Redirect of the own route to a host, and to a network, by the pod itself; a router that announces itself.
        Buffer.of(5, 1, 0, 0, ...ownBytes(s.own)),
        Buffer.of(5, 0, 0, 0, ...ownBytes(s.own)),
        Buffer.of(9, 0, 0, 0, 1, 2, 0, 255, ...ownBytes(s.own), 0, 0, 0, 0),
        Buffer.of(10, 0, 0, 0, 0, 0, 0, 0),
      ].flatMap((head) =>
        [s.mate, s.victim, '224.0.0.1', '255.255.255.255'].map((destination) => {
          const payload = Buffer.concat([head, datagram(s, s.mate, s.victim)]);
          payload.writeUInt16BE(sum(payload), 2);
          return toGateway(s, ip({ source: s.own, destination, protocol: PROTOCOL.ICMP, payload }));
        }),
      ),
    ),
  ],
  [
    'groups and leases: IGMP, MLD, DHCP',
    (s) => {
      const everybody = (payload: Buffer): Buffer =>
        ethernet({ to: s.family === 4 ? 'ff:ff:ff:ff:ff:ff' : '33:33:00:00:00:16', from: s.ownMac, payload });
      const lease = (source: string, destination: string, ports: readonly [number, number]): Buffer =>
        udp({ source, destination, sourcePort: ports[0], port: ports[1], payload: s.text });
      if (s.family === 4)
        return [
          ...['224.0.0.1', '224.0.0.2', '224.0.0.22', '224.0.0.251'].map((destination) =>
            everybody(ip({ source: s.own, destination, protocol: 2, hops: 1, payload: s.text })),
          ),
          everybody(lease('0.0.0.0', '255.255.255.255', [68, 67])),
          everybody(lease(s.own, '255.255.255.255', [67, 68])),
        ];
      return [
        ...[130, 131, 132, 143].map((type) => {
          const payload = Buffer.concat([Buffer.of(type, 0, 0, 0, 0, 0, 0, 0), s.text]);
          return everybody(
            ipv6({ source: 'fe80::1', destination: 'ff02::16', protocol: PROTOCOL.ICMPv6, hops: 1, payload }),
          );
        }),
        everybody(lease('fe80::1', 'ff02::1:2', [546, 547])),
        everybody(lease('fe80::1', 'ff02::1', [547, 546])),
      ];
    },
  ],
  [
    'spanning tree and other frames with a length for a type',
    (s) =>
      ['01:80:c2:00:00:00', '01:80:c2:00:00:0e', '01:00:0c:cc:cc:cc'].map((to) => {
        const payload = Buffer.concat([Buffer.of(0x42, 0x42, 3), Buffer.alloc(35), s.text]);
        return ethernet({ to, from: s.ownMac, payload, type: payload.length });
      }),
  ],
];

const ownBytes = (address: string): number[] => address.split('.').map(Number);

/** The Internet checksum. */
function sum(data: Buffer): number {
  let total = 0;
  for (let i = 0; i < data.length; i += 2) total += (data[i] ?? 0) * 256 + (data[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}

describe.each(
  ([1, 2] as const).flatMap((node) => [
    ['an isolated pod', 'a', ['b', 'flat'], node] as const,
    ['a flat pod', 'flat', ['a', 'b'], node] as const,
  ]),
)('frames of %s', (_, from, others, node) => {
  test.each([4, 6] as const)(`from n${node} get nowhere, and its true ones get to its mate (IPv%s)`, async (family) => {
    const [sender, mateName] = [`${from}/p${node}`, `${from}/p${3 - node}`];
    using mouth = new RawSocket(await lab.netns(sender), 'eth0');
    using mate = new RawSocket(await lab.netns(mateName), 'eth0');
    using wire = new RawSocket(netPath(lab.name, `n${node}`), 'eth0');
    const victims = others.flatMap((ns) => [`${ns}/p1`, `${ns}/q1`, `${ns}/p2`]);
    const sockets = await Promise.all(
      victims.map(async (v) => [v, new RawSocket(await lab.netns(v), 'eth0')] as const),
    );
    const base = {
      family,
      own: await lab.ip(sender, family),
      ownMac: mouth.mac,
      mate: await lab.ip(mateName, family),
    };
    const marks = new Map<string, string>();
    for (const [name, frames] of ATTACKS)
      for (const victim of victims) {
        const text = marker('x');
        marks.set(text.toString(), `${name} → ${victim}`);
        for (const frame of frames({ ...base, victim: await lab.ip(victim, family), text })) mouth.send(frame);
      }
    // To its own mate with a source that is not its own: also nowhere.
    const forged = marker('mate');
    for (const source of FORGED[family])
      mouth.send(
        toGateway(
          { ...base, victim: base.mate, text: forged },
          datagram({ ...base, victim: base.mate, text: forged }, source),
        ),
      );
    // The allowed twin, and the end of the waiting.
    const text = marker('twin');
    mouth.send(toGateway({ ...base, victim: base.mate, text }, datagram({ ...base, victim: base.mate, text })));
    const atMate: Buffer[] = [];
    await lab.eventually(
      async () => {
        atMate.push(...mate.received());
        return atMate.some((f) => f.includes(text));
      },
      (arrived) => arrived,
    );
    expect(atMate.some((f) => f.includes(text))).toBe(true);
    expect(atMate.some((f) => f.includes(forged))).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 200));

    const found: string[] = [];
    const look = (where: string, frames: readonly Buffer[]): void => {
      for (const [mark, name] of marks)
        if (frames.some((f) => f.includes(mark))) found.push(`${name}, seen at ${where}`);
    };
    for (const [victim, socket] of sockets) {
      look(victim, socket.received());
      socket[Symbol.dispose]();
    }
    // On the wire there may be what goes to the mate by VXLAN; nothing that names a victim is there in the clear.
    look(
      'the wire',
      wire.received().filter((f) => f.readUInt16BE(36) !== VXLAN_PORT),
    );
    expect(found).toEqual([]);
  });
});
