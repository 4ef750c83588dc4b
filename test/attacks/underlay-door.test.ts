import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vtepMac } from '../../dataplane/plan/names.ts';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import { netPath } from '../../lab/world/plan.ts';
import { shop, type TestLab, useLab } from '../system/lab.ts';
import { ethernet, fragments, marker, PROTOCOL, udp, vxlan } from './packets.ts';
import { RawSocket, sendDatagram, sendPacket } from './raw-socket.ts';

// VXLAN, spoken by those who may not: it must reach no pod, whatever address of a node it is sent to. Behind each attack the network's
// own packet takes the same way and arrives, so a dead network would fail as well.

const lab = useLab('door', { nodes: 2 });
const UNDERLAY = { n1: '192.0.2.11', n2: '192.0.2.12' } as const;
const FURTHER = { n1: '192.0.2.111', n2: '192.0.2.112' } as const;
const PORT = 4789;
const FAMILIES = [4, 6] as const;
type NodeName = keyof typeof UNDERLAY;

beforeAll(async () => {
  await lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n'));
  await lab.kubectl('patch', 'vn', 'default', '-n', 'a', '--type=merge', '-p', '{"spec":{"egress":{"mode":"NAT"}}}');
  for (const { name, podCIDRs } of (await lab.view()).state.nodes.values())
    cidrs.set(name, {
      4: podCIDRs.find((c) => !c.includes(':')) ?? '',
      6: podCIDRs.find((c) => c.includes(':')) ?? '',
    });
  for (const node of ['n1', 'n2'] as const) {
    await lab.onNode(node, 'ip', 'addr', 'add', `${FURTHER[node]}/24`, 'dev', 'eth0');
    await lab.onNode(node, 'ip', 'addr', 'add', '172.17.0.1/16', 'dev', 'lo');
  }
  expect(
    await lab.eventually(
      () => lab.connect('a/p1', '203.0.113.10', 80),
      (v) => v.startsWith('open'),
    ),
  ).toContain('open');
});

/** Pod CIDRs of the nodes: which has which is not fixed. */
const cidrs = new Map<string, Record<4 | 6, string>>();
/** `.0` and `.1` of a node. */
const zero = (node: NodeName, f: 4 | 6): string => nodeAddress(cidrs.get(node)?.[f] ?? '');
const one = (node: NodeName, f: 4 | 6): string => probeSource(cidrs.get(node)?.[f] ?? '');

/** Every kind of address by which a node may take a packet in. */
const addressesOf = (node: NodeName): string[] => [
  UNDERLAY[node],
  FURTHER[node],
  zero(node, 4),
  one(node, 4),
  '192.0.2.255',
  '255.255.255.255',
  '224.0.0.1',
  '172.17.0.1',
  '169.254.1.1',
  '127.0.0.1',
];

const VNI = { flat: 1, a: 2, b: 3 } as const;
type Tenant = keyof typeof VNI;
/** The pod of a tenant that is to be hit on a node, and one on the other node, as who the attacker speaks. */
const victimOn = (tenant: Tenant, node: NodeName): string => `${tenant}/${node === 'n1' ? 'p1' : 'p2'}`;
const mateOf = (tenant: Tenant, node: NodeName): string => victimOn(tenant, node === 'n1' ? 'n2' : 'n1');

/** What an attacker puts into VXLAN: a datagram from a pod of the network on the other node to the victim. */
async function forged(tenant: Tenant, node: NodeName, f: 4 | 6, text: Buffer, source?: string): Promise<Buffer> {
  const [from, to] = [source ?? (await lab.ip(mateOf(tenant, node), f)), await lab.ip(victimOn(tenant, node), f)];
  const payload = udp({ source: from, destination: to, sourcePort: 5353, port: 5353, payload: text });
  const frame = ethernet({ to: vtepMac(UNDERLAY[node]), from: '0e:04:c0:00:02:63', payload });
  return vxlan(VNI[tenant], frame);
}

type Sent = { readonly name: string; readonly text: Buffer };

/** Which of the packets the victim has seen by the time that its network's own packet has arrived. */
async function arrived(l: TestLab, tenant: Tenant, node: NodeName, send: () => Promise<Sent[]>): Promise<string[]> {
  using eye = new RawSocket(await l.netns(victimOn(tenant, node)), 'eth0');
  const sent = await send();
  const twin = marker('twin');
  const mate = await l.netns(mateOf(tenant, node));
  const to = { address: await l.ip(victimOn(tenant, node)), port: 5353 };
  const frames: Buffer[] = [];
  expect(
    await l.eventually(
      async () => {
        sendDatagram(mate, to, twin);
        frames.push(...eye.received());
        return await Promise.resolve(frames.some((x) => x.includes(twin)));
      },
      (seen) => seen,
    ),
  ).toBe(true);
  frames.push(...eye.received());
  return sent.filter(({ text }) => frames.some((x) => x.includes(text))).map(({ name }) => name);
}

describe.each([
  ['flat pod on the same node', 'flat/p1', 'b', 'n1', 'n1'],
  ['flat pod on another node', 'flat/p2', 'b', 'n1', 'n1'],
  ['flat pod to another node', 'flat/p1', 'b', 'n2', 'n2'],
  ['flat pod into the flat network', 'flat/q1', 'flat', 'n1', 'n1'],
  ['NAT pod on the same node', 'a/p1', 'b', 'n1', 'n1'],
  ['NAT pod to another node', 'a/p1', 'b', 'n2', 'n2'],
  ['isolated pod to its own node', 'b/q1', 'a', 'n1', 'n1'],
  ['isolated pod to another node', 'b/q1', 'a', 'n2', 'n2'],
] as const)('%s', (_, attacker, tenant, node, at) => {
  test.each(FAMILIES)('a plain UDP socket, to every address of the node, IPv%s inside', async (f) => {
    const netns = await lab.netns(attacker);
    expect(
      await arrived(lab, tenant, node, async () => {
        const sent: Sent[] = [];
        for (const address of addressesOf(at)) {
          const text = marker('vx');
          sendDatagram(netns, { address, port: PORT }, await forged(tenant, node, f, text));
          sent.push({ name: address, text });
        }
        return sent;
      }),
    ).toEqual([]);
  });

  test('raw frames, whole and in fragments', async () => {
    using wire = new RawSocket(await lab.netns(attacker), 'eth0');
    const source = await lab.ip(attacker);
    expect(
      await arrived(lab, tenant, node, async () => {
        const sent: Sent[] = [];
        for (const destination of addressesOf(at)) {
          for (const f of FAMILIES) {
            const text = marker('frame');
            const whole = udp({
              source,
              destination,
              sourcePort: 50_000,
              port: PORT,
              payload: await forged(tenant, node, f, text),
            });
            const payload = whole.subarray(20);
            for (const packet of [
              whole,
              ...fragments({ source, destination, protocol: PROTOCOL.UDP, payload, id: sent.length + 7 }, 48),
            ])
              wire.send(ethernet({ to: '02:62:68:00:00:01', from: wire.mac, payload: packet }));
            sent.push({ name: `${destination} IPv${f}`, text });
          }
        }
        return sent;
      }),
    ).toEqual([]);
  });
});

describe('by way of a translation', () => {
  const SERVICE_PORT = 5789;
  /** Services by hand, whose endpoint is the VXLAN end of a node. */
  const byHand = (node: NodeName): string =>
    [
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'door', namespace: 'flat' },
        spec: { type: 'NodePort', ports: [{ name: 'x', port: SERVICE_PORT, targetPort: PORT, protocol: 'UDP' }] },
      },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name: 'door', namespace: 'flat', labels: { 'kubernetes.io/service-name': 'door' } },
        addressType: 'IPv4',
        ports: [{ name: 'x', port: PORT, protocol: 'UDP' }],
        endpoints: [{ addresses: [UNDERLAY[node]] }],
      },
    ]
      .map((o) => JSON.stringify(o))
      .join('\n---\n');

  test.each([
    ['n2', 4],
    ['n2', 6],
    // Back to the node that has masqueraded it: what the other node forwards comes from a node.
    ['n1', 4],
    ['n1', 6],
  ] as const)(
    'a Service, a node port: neither pod nor stranger gets through one node to the next (to %s, IPv%s inside)',
    async (at, f) => {
      await lab.apply(byHand(at));
      const field = async (path: string): Promise<string> =>
        (await lab.kubectl('get', 'svc', 'door', '-n', 'flat', '-o', `jsonpath=${path}`)).trim();
      const [ip, nodePort] = [await field('{.spec.clusterIP}'), Number(await field('{.spec.ports[0].nodePort}'))];
      const through = [
        { who: 'flat/p1', address: ip, port: SERVICE_PORT },
        { who: 'flat/p1', address: UNDERLAY.n1, port: nodePort },
        { who: 'flat/p1', address: UNDERLAY.n2, port: nodePort },
        { who: 'flat/p1', address: FURTHER.n2, port: nodePort },
        { who: 'flat/p2', address: UNDERLAY.n1, port: nodePort },
        { who: 'a/p1', address: UNDERLAY.n1, port: nodePort },
        { who: 'outside', address: UNDERLAY.n1, port: nodePort },
        { who: 'outside', address: UNDERLAY.n2, port: nodePort },
      ];
      expect(
        await arrived(lab, 'b', at, async () => {
          const sent: Sent[] = [];
          for (let round = 0; round < 3; round++)
            for (const { who, address, port } of through) {
              const text = marker('translated');
              const netns = who === 'outside' ? netPath(lab.name, who) : await lab.netns(who);
              sendDatagram(netns, { address, port }, await forged('b', at, f, text));
              sent.push({ name: `${who} by ${address}:${port}`, text });
              await new Promise((resolve) => setTimeout(resolve, 100));
            }
          return sent;
        }),
      ).toEqual([]);
      // It was translated, and stopped for what it became.
      expect(await lab.onNode('n1', 'nft', 'list', 'counter', 'inet', 'bulkhead', 'vxlan_refused')).not.toMatch(
        /packets 0 /,
      );
      await lab.kubectl('delete', 'svc', 'door', '-n', 'flat');
    },
  );
});

describe('by IPVS, which translates in the input hook and sends on by the output hook', () => {
  // Kernels for tests are built without it: rules that change packets do the same, in the same places.
  const NODE_PORT = 30_999;
  beforeAll(async () => {
    const rules = `table inet as-ipvs {
      chain taken { type filter hook input priority 98; iifname "bhp*" udp dport ${NODE_PORT} udp dport set ${PORT}; }
      chain sent { type filter hook postrouting priority 100; ip saddr ${await lab.ip('flat/p1')} udp dport ${PORT} ip saddr set ${UNDERLAY.n1}; }
    }`;
    await lab.onNode('n1', 'nft', rules);
  });
  afterAll(() => lab.onNode('n1', 'nft', 'delete table inet as-ipvs'));

  test.each(FAMILIES)('a node port whose endpoint is the VXLAN end of the node itself (IPv%s inside)', async (f) => {
    const netns = await lab.netns('flat/p1');
    expect(
      await arrived(lab, 'b', 'n1', async () => {
        const text = marker('ipvs');
        sendDatagram(netns, { address: UNDERLAY.n1, port: NODE_PORT }, await forged('b', 'n1', f, text));
        return [{ name: 'local', text }];
      }),
    ).toEqual([]);
  });

  test.each(FAMILIES)('one whose endpoint is that of another node (IPv%s inside)', async (f) => {
    const source = await lab.ip('flat/p1');
    expect(
      await arrived(lab, 'b', 'n2', async () => {
        const text = marker('ipvs');
        const payload = await forged('b', 'n2', f, text);
        const packet = udp({ source, destination: UNDERLAY.n2, sourcePort: 50_000, port: PORT, payload });
        sendPacket(netPath(lab.name, 'n1'), UNDERLAY.n2, packet);
        return [{ name: 'remote', text }];
      }),
    ).toEqual([]);
  });
});

describe('strangers on the underlay', () => {
  test.each(['outside', 'fabric'])('%s: nothing comes in, by any address of a node', async (where) => {
    for (const node of ['n1', 'n2'] as const)
      for (const tenant of ['b', 'flat'] as const)
        expect([
          node,
          tenant,
          await arrived(lab, tenant, node, async () => {
            const sent: Sent[] = [];
            for (const address of addressesOf(node)) {
              for (const f of FAMILIES) {
                const text = marker('stranger');
                sendDatagram(netPath(lab.name, where), { address, port: PORT }, await forged(tenant, node, f, text));
                sent.push({ name: `${address} IPv${f}`, text });
              }
            }
            return sent;
          }),
        ]).toEqual([node, tenant, []]);
  });

  test('when another program takes the table away, the agent puts it back, and the door is shut again', async () => {
    await lab.onNode('n1', 'nft', 'delete', 'table', 'inet', 'bulkhead');
    const chain = (): Promise<string> =>
      lab.onNode('n1', 'nft', 'list', 'chain', 'inet', 'bulkhead', 'vxlan').catch(() => '');
    expect(await lab.eventually(chain, (text) => text.includes('drop'))).toContain('drop');
    const text = marker('after');
    expect(
      await arrived(lab, 'b', 'n1', async () => {
        sendDatagram(
          netPath(lab.name, 'outside'),
          { address: UNDERLAY.n1, port: PORT },
          await forged('b', 'n1', 4, text),
        );
        return [{ name: 'after', text }];
      }),
    ).toEqual([]);
  });

  test('a neighbour that writes frames, with addresses of pods, Services and itself as the outer source', async () => {
    using wire = new RawSocket(netPath(lab.name, 'fabric'), 'n1');
    using n1 = new RawSocket(netPath(lab.name, 'n1'), 'eth0');
    const sources = [
      '192.0.2.1',
      '192.0.2.77',
      zero('n2', 4),
      zero('n1', 4),
      await lab.ip('flat/p2'),
      '10.96.0.10',
      UNDERLAY.n1,
    ];
    expect(
      await arrived(lab, 'b', 'n1', async () => {
        const sent: Sent[] = [];
        for (const source of sources)
          for (const destination of addressesOf('n1'))
            for (const f of FAMILIES) {
              const text = marker('neighbour');
              const payload = await forged('b', 'n1', f, text);
              const packet = udp({ source, destination, sourcePort: 50_000, port: PORT, payload });
              wire.send(ethernet({ to: n1.mac, from: wire.mac, payload: packet }));
              sent.push({ name: `${source} to ${destination} IPv${f}`, text });
            }
        return sent;
      }),
    ).toEqual([]);
  });
});

describe.each([0, 1, 2])('rp_filter %s', (value) => {
  const set = async (v: number): Promise<void> => {
    for (const node of ['n1', 'n2'])
      await lab.onNode(node, 'sh', '-c', `for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo ${v} > $f; done`);
    for (const [node, vni] of [
      ['n1', 2],
      ['n1', 3],
      ['n2', 2],
      ['n2', 3],
    ] as const)
      await lab.onNode(
        node,
        'ip',
        'netns',
        'exec',
        `bh-${vni}`,
        'sh',
        '-c',
        `for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo ${v} > $f; done`,
      );
  };
  beforeAll(() => set(value));

  test.each(FAMILIES)('addresses of pods, probes and nodes never come by the underlay (IPv%s)', async (f) => {
    using wire = new RawSocket(netPath(lab.name, 'fabric'), 'n1');
    using n1 = new RawSocket(netPath(lab.name, 'n1'), 'eth0');
    const sources = [
      one('n1', f),
      zero('n1', f),
      zero('n2', f),
      one('n2', f),
      // Of the pod range, but no node's.
      f === 4 ? '10.244.99.7' : 'fd00:10:244:99::7',
      await lab.ip('flat/p2', f),
      await lab.ip('flat/q1', f),
      await lab.ip('b/p2', f),
      await lab.ip('b/q1', f),
      await lab.ip('a/p2', f),
    ];
    for (const tenant of ['b', 'flat'] as const) {
      const destination = await lab.ip(victimOn(tenant, 'n1'), f);
      expect([
        tenant,
        await arrived(lab, tenant, 'n1', async () => {
          const sent = sources.map((source) => {
            const text = marker('pod');
            const payload = udp({ source, destination, sourcePort: 5353, port: 5353, payload: text });
            wire.send(ethernet({ to: n1.mac, from: wire.mac, payload }));
            return { name: source, text };
          });
          return await Promise.resolve(sent);
        }),
      ]).toEqual([tenant, []]);
    }
  });

  test.each(FAMILIES)('an instance takes from the overlay only what belongs beyond it (IPv%s)', async (f) => {
    // From a node that is known: as if its root had been taken over, or the door were open.
    const sources = [
      await lab.ip('b/q1', f),
      await lab.ip('flat/p2', f),
      await lab.ip('a/p2', f),
      one('n1', f),
      zero('n2', f),
      f === 4 ? '203.0.113.10' : '2001:db8::10',
      f === 4 ? '10.96.0.10' : 'fd00:10:96::a',
    ];
    expect(
      await arrived(lab, 'b', 'n1', async () => {
        const sent: Sent[] = [];
        for (const source of sources) {
          const text = marker('inner');
          sendDatagram(
            netPath(lab.name, 'n2'),
            { address: UNDERLAY.n1, port: PORT },
            await forged('b', 'n1', f, text, source),
          );
          sent.push({ name: source, text });
        }
        return sent;
      }),
    ).toEqual([]);
    // The same way, with a source that does belong there, arrives: it was the source that stopped the others.
    expect(
      await arrived(lab, 'b', 'n1', async () => {
        const text = marker('known');
        sendDatagram(netPath(lab.name, 'n2'), { address: UNDERLAY.n1, port: PORT }, await forged('b', 'n1', f, text));
        return [{ name: 'known', text }];
      }),
    ).toEqual(['known']);
  });

  test.each(FAMILIES)(
    'the overlay of the flat network brings no local source, and none of this node (IPv%s)',
    async (f) => {
      const sources = [
        await lab.ip('flat/q1', f),
        await lab.ip('b/q1', f),
        one('n1', f),
        zero('n1', f),
        f === 4 ? UNDERLAY.n1 : '2001:db8:2::11',
      ];
      expect(
        await arrived(lab, 'flat', 'n1', async () => {
          const sent: Sent[] = [];
          for (const source of sources) {
            const text = marker('flat');
            sendDatagram(
              netPath(lab.name, 'n2'),
              { address: UNDERLAY.n1, port: PORT },
              await forged('flat', 'n1', f, text, source),
            );
            sent.push({ name: source, text });
          }
          return sent;
        }),
      ).toEqual([]);
    },
  );

  test('all that is to be open is open, and nothing else', async () => {
    expect(await lab.differences()).toEqual([]);
  });
});
