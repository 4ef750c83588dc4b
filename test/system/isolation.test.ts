import { describe, expect, test } from 'vitest';
import { describe as describeProbe, measureReach } from '../../cli/cluster/reach.ts';
import { OUTSIDE } from '../../lab/world/plan.ts';
import { askAbout } from '../../core/decide/ends.ts';
import { traceFrom } from '../../core/decide/trace-from.ts';
import { shop, useLab } from './lab.ts';

// Tenants isolated on real packets. Each forbidden path stands beside its allowed twin: a dead network fails too.

const lab = useLab('iso', { nodes: 2 });

describe('isolation', () => {
  test('two isolated shops and a flat one: every pair, port, Service, node, API and outside host is as the design says', async () => {
    await lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n'));
    const probes = await measureReach(lab.target, () => undefined);
    expect(probes.filter((p) => !p.match).map(describeProbe)).toEqual([]);
    // Both verdicts, both families, all protocols, same and other node were really asked.
    const seen = new Set(probes.map((p) => `${p.verdict} ${p.to.protocol} ${p.to.address.includes(':') ? 6 : 4}`));
    for (const verdict of ['open', 'rejected'])
      for (const protocol of ['TCP', 'UDP', 'ICMP'])
        for (const f of [4, 6]) expect(seen).toContain(`${verdict} ${protocol} ${f}`);
  });

  test('trace says what packets do', async () => {
    const view = await lab.view();
    for (const [from, to] of [
      ['a/p1', 'a/p2:8080'],
      ['a/p1', 'b/p1:8080'],
      ['a/p1', 'svc/a/web'],
      ['flat/p1', 'a/p1:8080'],
      ['flat/p1', 'flat/p2:8080'],
      ['a/p1', 'internet'],
      ['flat/p1', 'internet'],
      ['b/p2', 'svc/a/web'],
      ['a/p1', 'node/n2:10250'],
      ['flat/p2', 'node/n1:10250'],
      ['a/q1', 'api'],
    ] as const) {
      const asked = askAbout(view, from, to, { outside: lab.target.outside });
      expect(asked.ways.length).toBeGreaterThan(0);
      for (const way of asked.ways) {
        const target = { address: way.address, ...(way.ports?.[0] ?? asked.first) };
        const measured = await lab.connect(from, target.address, target.port, target.protocol as 'TCP');
        expect([from, to, way.family, measured.split(':')[0]]).toEqual([
          from,
          to,
          way.family,
          traceFrom(view, way.from, target).verdict,
        ]);
      }
    }
  });

  test.each([4, 6] as const)('a forged source address goes nowhere, the true one does (IPv%s)', async (f) => {
    const [mine, other, target] = [await lab.ip('a/p1', f), await lab.ip('a/q1', f), await lab.ip('a/p2', f)];
    const host = f === 4 ? 32 : 128;
    expect(await lab.connect('a/p1', target, 5353, 'UDP')).toBe('open:a/p2');
    // The neighbour's address, one of another tenant, and one from nowhere: configured in the pod, as root there could.
    for (const forged of [other, await lab.ip('b/p1', f), f === 4 ? '203.0.113.99' : '2001:db8::99']) {
      await lab.inPod('a/p1', 'ip', 'addr', 'add', `${forged}/${host}`, 'dev', 'eth0');
      await lab.inPod('a/p1', 'ip', 'addr', 'del', `${mine}/${host}`, 'dev', 'eth0');
      const verdict = await lab.connect('a/p1', target, 5353, 'UDP', 500);
      await lab.inPod('a/p1', 'ip', 'addr', 'add', `${mine}/${host}`, 'dev', 'eth0', ...(f === 6 ? ['nodad'] : []));
      await lab.inPod('a/p1', 'ip', 'addr', 'del', `${forged}/${host}`, 'dev', 'eth0');
      expect([forged, verdict]).toEqual([forged, 'closed']);
    }
    if (f === 4)
      await lab.inPod('a/p1', 'ip', 'route', 'replace', 'default', 'via', '169.254.1.1', 'dev', 'eth0', 'onlink');
    expect(await lab.connect('a/p1', target, 5353, 'UDP')).toBe('open:a/p2');
  });

  test('forged ARP and neighbour advertisements change nothing at the node', async () => {
    const victim = await lab.ip('a/q1');
    // p1 says that q1's address is its own: gratuitous ARP, as an attacker sends it.
    await lab.inPod('a/p1', 'python3', '-c', ARP_POISON, victim);
    expect(await lab.connect('a/p2', victim, 8080)).toBe('open:a/q1');
    const neighbours = await lab.onNode('n1', 'ip', '-n', 'bh-2', 'neigh', 'show', victim);
    expect(neighbours).toContain('PERMANENT');
    // The same in IPv6, unsolicited, with the override flag.
    const victim6 = await lab.ip('a/q1', 6);
    const entry = (): Promise<string> => lab.onNode('n1', 'ip', '-6', '-n', 'bh-2', 'neigh', 'show', victim6);
    const before = await entry();
    await lab.inPod('a/p1', 'python3', '-c', NA_POISON, victim6);
    expect(await lab.connect('a/p2', victim6, 8080)).toBe('open:a/q1');
    expect(await entry()).toBe(before);
    expect(before).toContain('PERMANENT');
  });

  test('frames to another gateway MAC, with addresses of other tenants inside, are dropped', async () => {
    const [mine, target] = [await lab.ip('a/p1'), await lab.ip('b/p1')];
    // A raw UDP frame that no routing table of the pod had a word in: to the uplink's MAC, to the constant gateway MAC.
    for (const mac of ['02:62:68:00:00:03', '02:62:68:00:00:01', 'ff:ff:ff:ff:ff:ff'])
      await lab.inPod('a/p1', 'python3', '-c', RAW_UDP, mac, mine, target, '5353');
    expect(await lab.connect('b/q1', target, 5353, 'UDP')).toBe('open:b/p1');
    const seen = await lab.onNode('n1', 'ip', 'netns', 'exec', 'bh-3', 'conntrack', '-L', '-s', mine).catch(() => '');
    expect(seen).not.toContain(mine);
  });

  test.each([4, 6] as const)(
    'the node is no router to elsewhere: node, gateway, masquerade and link-local addresses (IPv%s)',
    async (f) => {
      const node = f === 4 ? '192.0.2.12' : '2001:db8:2::12';
      const closed =
        f === 4
          ? [
              node,
              '192.0.2.11',
              '169.254.1.2',
              '169.254.169.254',
              '127.0.0.2',
              '10.244.1.0',
              '10.244.1.1',
              '10.244.2.0',
              '192.0.2.2',
            ]
          : [node, '2001:db8:2::11', 'fd00:10:244:1::', 'fd00:10:244:1::1', 'fd00:10:244:2::', '2001:db8:2::2'];
      for (const address of closed)
        expect([address, await lab.connect('a/p1', address, 10_250, 'TCP', 700)]).not.toEqual([address, 'open']);
      expect(await lab.connect('flat/p1', node, 10_250)).toBe('open');
      // With a route of the pod's own making by the gateway it is no different.
      if (f === 4) {
        await lab.inPod('a/p1', 'ip', 'route', 'add', '192.0.2.0/24', 'via', '169.254.1.1', 'dev', 'eth0', 'onlink');
        expect(await lab.connect('a/p1', node, 10_250, 'TCP', 700)).not.toContain('open');
        await lab.inPod('a/p1', 'ip', 'route', 'del', '192.0.2.0/24');
      }
    },
  );

  test.each([4, 6] as const)(
    "processes of the node, but the node's own probes, cannot reach an isolated pod; a flat one they can (IPv%s)",
    async (f) => {
      const [isolated, flat] = [await lab.ip('a/p1', f), await lab.ip('flat/p1', f)];
      // p1 is on n1: the other node is a stranger.
      expect(await lab.connect({ net: 'n2' }, isolated, 8080, 'TCP', 700)).not.toContain('open');
      expect(await lab.connect({ net: 'n2' }, flat, 8080)).toBe('open:flat/p1');
      expect(await lab.connect({ net: 'outside' }, isolated, 8080, 'TCP', 700)).not.toContain('open');
      expect(await lab.connect({ net: 'n1' }, isolated, 8080)).toBe('open:a/p1');
    },
  );

  test('a pod that dials the backend of an allowed Service directly is refused; through the Service it gets there', async () => {
    const dns = await lab.view().then((v) => [...v.state.pods.values()].find((p) => p.name.startsWith('coredns')));
    expect(await lab.connect('a/p1', '10.96.0.10', 53, 'UDP')).toBe('open');
    expect(await lab.connect('a/p1', dns?.ips[0] ?? '', 53, 'UDP')).toBe('rejected');
    expect(await lab.connect('a/p1', '10.96.0.1', 443)).toBe('open');
    expect(await lab.connect('a/p1', '192.0.2.2', 6443)).toBe('rejected');
  });

  test.each([4, 6] as const)(
    'egress: None is refused, NAT leaves with the address of the node and opens nothing inside (IPv%s)',
    async (f) => {
      const outside = OUTSIDE[f].host;
      expect(await lab.connect('a/p1', outside, 80)).toBe('rejected');
      await lab.kubectl(
        'patch',
        'vn',
        'default',
        '-n',
        'b',
        '--type=merge',
        '-p',
        '{"spec":{"egress":{"mode":"NAT"}}}',
      );
      expect(
        await lab.eventually(
          () => lab.connect('b/p1', outside, 80),
          (v) => v.startsWith('open'),
        ),
      ).toContain('open');
      const answer = await lab.inPod(
        'b/p1',
        'curl',
        '-s',
        '-m',
        '3',
        f === 4 ? `http://${outside}/` : `http://[${outside}]/`,
      );
      expect(JSON.parse(answer)).toMatchObject({ client: f === 4 ? '192.0.2.11' : '2001:db8:2::11' });
      expect(await lab.connect('b/p1', await lab.ip('a/p1', f), 8080)).toBe('rejected');
      expect(await lab.connect('b/p1', await lab.ip('flat/p1', f), 8080)).toBe('rejected');
      await lab.kubectl(
        'patch',
        'vn',
        'default',
        '-n',
        'b',
        '--type=merge',
        '-p',
        '{"spec":{"egress":{"mode":"None"}}}',
      );
      expect(
        await lab.eventually(
          () => lab.connect('b/p1', outside, 80),
          (v) => v === 'rejected',
        ),
      ).toBe('rejected');
    },
  );
});

describe('names and footprint', () => {
  test('a network costs nothing on a node without its pods, and is there with the first', async () => {
    await lab.apply(
      '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"solo","labels":{"bulkhead.dev/isolated":"true"}}}',
      { wait: false },
    );
    await lab.apply(podOn('solo', 'one', 'n1'));
    const vni = (await lab.kubectl('get', 'vn', 'default', '-n', 'solo', '-o', 'jsonpath={.status.vni}')).trim();
    expect(await lab.onNode('n1', 'ip', 'netns')).toContain(`bh-${vni}`);
    expect(await lab.onNode('n2', 'ip', 'netns')).not.toContain(`bh-${vni}`);
    expect(await lab.onNode('n2', 'ip', 'link')).not.toContain(`bhu${vni}:`);
  });

  test('links, tables and namespaces have short, telling names of ours, and status shows the number', async () => {
    const links = JSON.parse(await lab.onNode('n1', 'ip', '-j', 'link')) as { ifname: string }[];
    expect(links.map((l) => l.ifname).filter((n) => !/^(lo|eth0|bh0|bhu\d+|bhp[0-9a-f]{12})$/.test(n))).toEqual([]);
    expect(links.every((l) => l.ifname.length <= 15)).toBe(true);
    expect((await lab.onNode('n1', 'nft', 'list', 'tables')).trim().split('\n').sort()).toEqual([
      'table arp bulkhead',
      'table inet bulkhead',
      'table inet lab-proxy',
    ]);
    expect(await lab.kubectl('get', 'vn', '-A')).toMatch(
      /NAMESPACE +NAME +VNI +SUBNETS +EGRESS +READY +USED +AGE\na +default +2 +None +True/,
    );
  });

  test.each([4, 6] as const)(
    'MTU: the largest packet passes whole to the other node, one byte more is told to the pod (IPv%s)',
    async (f) => {
      const target = await lab.ip('a/p2', f);
      const mtu = Number(/mtu (\d+)/.exec(await lab.inPod('a/p1', 'ip', 'link', 'show', 'eth0'))?.[1]);
      expect(mtu).toBe(1450);
      const payload = mtu - (f === 4 ? 28 : 48);
      const ping = (size: number): Promise<string> =>
        lab.inPod('a/p1', 'sh', '-c', `ping -${f} -M do -c 1 -W 1 -s ${size} ${target} 2>&1 || true`);
      expect(await ping(payload)).toContain('1 received');
      expect(await ping(payload + 1)).toMatch(/message too long|Packet too big/i);
      // A narrower way is found: the instance answers with its own MTU, and a large transfer goes through.
      const narrow = '1300';
      await lab.onNode('n1', 'ip', '-n', 'bh-2', 'link', 'set', 'vx0', 'mtu', narrow);
      expect(await ping(payload)).toMatch(/Frag needed and DF set|too long|Packet too big/i);
      expect(await lab.inPod('a/p1', 'ip', 'route', 'get', target)).toContain(`mtu ${narrow}`);
      await lab.onNode('n1', 'ip', '-n', 'bh-2', 'link', 'set', 'vx0', 'mtu', '1450');
      await lab.inPod('a/p1', 'ip', `-${f}`, 'route', 'flush', 'cache').catch(() => '');
    },
  );
});

const podOn = (namespace: string, name: string, node: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      nodeSelector: { 'kubernetes.io/hostname': node },
      containers: [{ name: 'c', image: 'x', ports: [{ containerPort: 8080 }] }],
    },
  });

const ARP_POISON = `
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0x0806))
mac = s.getsockname()[4]; ip = socket.inet_aton(sys.argv[1])
for op in (1, 2):
    s.send(b'\\xff'*6 + mac + b'\\x08\\x06' + struct.pack('!HHBBH', 1, 0x0800, 6, 4, op) + mac + ip + b'\\xff'*6 + ip)
`;
const NA_POISON = `
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0x86dd))
mac = s.getsockname()[4]; victim = socket.inet_pton(socket.AF_INET6, sys.argv[1])
def checksum(b):
    t = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while t > 0xffff: t = (t & 0xffff) + (t >> 16)
    return ~t & 0xffff
for to, hardware in (('fe80::1', bytes.fromhex('026268000001')), ('ff02::1', bytes.fromhex('333300000001'))):
    target = socket.inet_pton(socket.AF_INET6, to)
    for source in (victim, socket.inet_pton(socket.AF_INET6, 'fe80::bad')):
        body = struct.pack('!BBHI', 136, 0, 0, 0x20000000) + victim + bytes([2, 1]) + mac
        body = body[:2] + struct.pack('!H', checksum(source + target + struct.pack('!II', len(body), 58) + body)) + body[4:]
        s.send(hardware + mac + b'\\x86\\xdd' + struct.pack('!IHBB', 0x60000000, len(body), 58, 255) + source + target + body)
`;
const RAW_UDP = `
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0x0800))
dst = bytes.fromhex(sys.argv[1].replace(':', '')); src = s.getsockname()[4]
a, b = socket.inet_aton(sys.argv[2]), socket.inet_aton(sys.argv[3])
udp = struct.pack('!HHHH', 4444, int(sys.argv[4]), 12, 0) + b'evil'
h = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + a + b
c = sum(struct.unpack('!10H', h)); c = (c >> 16) + (c & 0xffff); c = ~(c + (c >> 16)) & 0xffff
s.send(dst + src + b'\\x08\\x00' + h[:10] + struct.pack('!H', c) + h[12:] + udp)
`;
