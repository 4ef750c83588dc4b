import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { loadState } from '../../cli/cluster/state.ts';
import { DNS_IP, fabricAddress, labDir, nodeHost } from '../../lab/world/plan.ts';
import { shop, useLab } from '../system/lab.ts';

// One pod takes of what all share as much as it can: connection tracking, neighbours. It gets its share, and all others get theirs.
// The share is made small here, so that the machine that tests is spared.

const SHARE = 2_000;
const lab = useLab('shares', {
  nodes: 2,
  agentArgs: ['--audit-interval', '3', '--address-rest', '5', '--connections-per-pod', String(SHARE)],
});
const FAMILIES = [4, 6] as const;

/** UDP datagrams, each on a connection of its own: many from one port to many, or from many ports to one. */
const FLOOD = `
import socket, sys, time
address, port, count, seconds, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
family = socket.AF_INET6 if ':' in address else socket.AF_INET
end = time.monotonic() + seconds
done = 0
while done < count and (done == 0 or time.monotonic() < end):
    s = socket.socket(family, socket.SOCK_DGRAM)
    for i in range(1 if port else 500):
        if done >= count: break
        try: s.sendto(b'x' * 12, (address, port or 10000 + done % 50000))
        except OSError: pass
        done += 1
    s.close()
    time.sleep(pause)
print(done)
`;
const flood = async (from: string, address: string, port: number, count: number, seconds = 20): Promise<number> =>
  Number(await lab.inPod(from, 'python3', '-c', FLOOD, address, String(port), String(count), String(seconds), '0'));

/** Entries that a source has in the tracking table of a node's root, or of an instance there. */
async function entries(node: string, source: string, vni?: number): Promise<number> {
  const inside = vni === undefined ? [] : ['ip', 'netns', 'exec', `bh-${vni}`];
  const family = source.includes(':') ? 'ipv6' : 'ipv4';
  const text = await lab.onNode(node, ...inside, 'conntrack', '-L', '-f', family, '-s', source).catch(() => '');
  return text.split('\n').filter((line) => line.includes(`src=${source} `)).length;
}

async function counted(node: string, counter: string, vni?: number): Promise<number> {
  const inside = vni === undefined ? [] : ['ip', 'netns', 'exec', `bh-${vni}`];
  const text = await lab.onNode(node, ...inside, 'nft', 'list', 'counter', 'inet', 'bulkhead', counter);
  return Number(/packets (\d+)/.exec(text)?.[1]);
}

/** A counter as the agent's metrics show it. */
async function metric(node: string, name: string): Promise<number> {
  const address = fabricAddress(4, nodeHost(Number(node.slice(1)) - 1));
  const authorization = `authorization: Bearer ${lab.spec.tokens['admin']}`;
  const text = await lab.onNode(node, 'curl', '-sk', '-H', authorization, `https://${address}:9444/metrics`);
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length),
  );
}

async function vniOf(network: string): Promise<number> {
  return (await loadState(lab.target)).networks.get(network)?.vni ?? 0;
}

/** A few hundred connections and names, as a busy program has them: all are served. */
async function served(from: string, to: string, family: 4 | 6, count = 200): Promise<Record<string, number>> {
  const netns = await lab.netns(from);
  const address = await lab.ip(to, family);
  const outcomes = await lab.connectMany([
    ...Array.from({ length: count }, () => ({
      netns,
      address,
      port: 8080,
      protocol: 'TCP' as const,
      timeoutMs: 5_000,
      identify: false,
    })),
    ...Array.from({ length: 10 }, () => ({
      netns,
      address: DNS_IP[family],
      port: 53,
      protocol: 'UDP' as const,
      timeoutMs: 5_000,
      identify: false,
    })),
  ]);
  const tally: Record<string, number> = {};
  for (const { verdict } of outcomes) tally[verdict] = (tally[verdict] ?? 0) + 1;
  return tally;
}
const ALL_SERVED = { open: 210 };

describe('connection tracking', () => {
  test('two isolated networks and a flat namespace', async () => {
    await lab.apply([shop('a'), shop('b'), shop('flat', { isolated: false })].join('\n---\n'));
    for (const f of FAMILIES) expect(await served('a/q1', 'a/p2', f)).toEqual(ALL_SERVED);
  });

  test.each(FAMILIES)(
    '20 000 flows of an isolated pod to DNS: refused beyond its share, everywhere (IPv%s)',
    async (f) => {
      const source = await lab.ip('a/p1', f);
      const vni = await vniOf('a/default');
      const before = await counted('n1', 'conn_rate', vni);
      expect(await flood('a/p1', DNS_IP[f], 53, 20_000)).toBe(20_000);
      // Its mate, another tenant, and a flat pod notice nothing.
      expect(await served('a/q1', 'a/p2', f)).toEqual(ALL_SERVED);
      expect(await served('b/p1', 'b/p2', f)).toEqual(ALL_SERVED);
      expect(await served('flat/p1', 'flat/p2', f)).toEqual(ALL_SERVED);
      expect((await counted('n1', 'conn_rate', vni)) - before).toBeGreaterThan(5_000);
      expect(
        await metric('n1', 'bulkhead_agent_dropped_packets_total{network="a/default",reason="conn_rate"}'),
      ).toBeGreaterThan(5_000);
      for (const [node, table] of [['n1', vni], ['n1'], ['n2']] as const)
        expect([node, table, (await entries(node, source, table)) <= SHARE * 1.5]).toEqual([node, table, true]);
      // And itself, when it has calmed down.
      const again = await lab.eventually(
        () => served('a/p1', 'a/p2', f, 20),
        (t) => t['open'] === 30,
        60_000,
      );
      expect(again).toEqual({ open: 30 });
    },
  );

  test.each(FAMILIES)('20 000 flows of a flat pod to a pod of another node (IPv%s)', async (f) => {
    const source = await lab.ip('flat/p1', f);
    const before = await counted('n1', 'conn_rate');
    expect(await flood('flat/p1', await lab.ip('flat/p2', f), 0, 20_000)).toBe(20_000);
    expect(await served('flat/q1', 'flat/p2', f)).toEqual(ALL_SERVED);
    expect(await served('a/q1', 'a/p2', f)).toEqual(ALL_SERVED);
    expect((await counted('n1', 'conn_rate')) - before).toBeGreaterThan(15_000);
    for (const node of ['n1', 'n2']) expect([node, (await entries(node, source)) <= SHARE * 1.5]).toEqual([node, true]);
  });

  test('one that goes on slowly is counted, and kept out when it has its share', async () => {
    const source = await lab.ip('flat/q1');
    const before = await counted('n1', 'conn_share');
    // Connections that stay: both ends are the attacker's, and neither needs a socket for each.
    const target = await lab.ip('flat/p2');
    const held = lab.inPod('flat/q1', 'python3', '-c', FLOOD, target, '0', '1000000', '25', '0.2');
    const refused = await lab.eventually(
      () => counted('n1', 'conn_share'),
      (n) => n > before,
      24_000,
    );
    expect(refused).toBeGreaterThan(before);
    expect(await entries('n1', source)).toBeLessThan(SHARE * 1.5);
    expect(await lab.onNode('n1', 'nft', 'list', 'set', 'inet', 'bulkhead', 'over4')).toContain(source);
    expect(await served('flat/p1', 'flat/p2', 4)).toEqual(ALL_SERVED);
    await held;
    // Its entries end by themselves, and with them the refusal.
    const over = await lab.eventually(
      () => lab.onNode('n1', 'nft', 'list', 'set', 'inet', 'bulkhead', 'over4'),
      (text) => !text.includes(source),
      60_000,
    );
    expect(over).not.toContain(source);
    expect(await served('flat/q1', 'flat/p2', 4, 20)).toEqual({ open: 30 });
  });
});

describe('neighbours', () => {
  const neighbours = async (family: 4 | 6): Promise<string[]> =>
    (await lab.onNode('n1', 'ip', `-${family}`, 'neigh', 'show', 'nud', 'all'))
      .split('\n')
      .filter((l) => !/PERMANENT|NOARP/.test(l) && l !== '');

  test.each(['0', '1', '2'])('ARP and neighbour discovery of flat pods make no entry (rp_filter %s)', async (rp) => {
    const devices = (await lab.onNode('n1', 'ls', '/proc/sys/net/ipv4/conf')).split('\n').filter((d) => d !== '');
    const set = async (value: (device: string) => string): Promise<unknown> =>
      lab.onNode(
        'n1',
        'sh',
        '-c',
        devices.map((d) => `echo ${value(d)} > /proc/sys/net/ipv4/conf/${d}/rp_filter`).join(';'),
      );
    await set(() => rp);
    const before = [await neighbours(4), await neighbours(6)];
    await lab.inPod('flat/p1', 'python3', '-c', ARP_AND_ND);
    const ours = (lines: readonly string[]): string[] => lines.filter((l) => l.includes(' bh'));
    expect([await neighbours(4), await neighbours(6)].map(ours)).toEqual(before.map(ours));
    for (const f of FAMILIES)
      expect(await lab.connect('flat/p1', await lab.ip('flat/p2', f), 8080)).toBe('open:flat/p2');
  });

  test.each(FAMILIES)('a pod that looks for a thousand hosts on the link of its node finds some (IPv%s)', async (f) => {
    const before = (await neighbours(f)).length;
    await lab.inPod(
      'flat/p1',
      'python3',
      '-c',
      SEEK,
      f === 4 ? '192.0.2.' : '2001:db8:2::1:',
      f === 4 ? '254' : '2000',
    );
    expect((await neighbours(f)).length - before).toBeLessThanOrEqual(80);
    expect(await counted('n1', 'neighbour_share')).toBeGreaterThan(100);
    // Another pod reaches hosts there and behind.
    const [api, outside] = f === 4 ? ['192.0.2.2', '203.0.113.10'] : ['2001:db8:2::2', '2001:db8::10'];
    expect(await lab.connect('flat/q1', api, 6443)).toMatch(/^open/);
    expect(await lab.connect('flat/q1', outside, 80)).toMatch(/^open/);
  });
});

describe('the neighbours that a pod itself has', () => {
  // The table has one limit for all namespaces of a node: what a pod looks for on its own link counts as well.
  const LOOK_AROUND = `
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
index = socket.if_nametoindex(sys.argv[1])
for n in range(600):
    for send in (
        lambda: s.sendto(b'x', ('fe80::7:%x' % (n + 2), 5000, 0, index)),
        lambda: s.sendto(b'x', ('fd00:99::%x' % (n + 2), 5000, 0, 0)),
        lambda: t.sendto(b'x', ('169.254.%d.%d' % (n // 250 + 2, n % 250 + 1), 5000)),
    ):
        try: send()
        except OSError: pass
`;

  test.each(['flat/p1', 'a/p1', 'a/p2'])('%s: its gateway and no other', async (from) => {
    await lab.inPod(from, 'python3', '-c', LOOK_AROUND, 'eth0');
    const all = await lab.inPod(from, 'ip', 'neigh', 'show', 'nud', 'all', 'dev', 'eth0');
    const lines = all.split('\n').filter((l) => l !== '' && !l.includes('NOARP'));
    expect(lines.filter((l) => !l.includes('PERMANENT'))).toEqual([]);
    expect(lines.map((l) => l.split(' ')[0]).sort()).toEqual(['169.254.1.1', 'fe80::1']);
    const mate = from.replace('/p1', '/p2').replace('a/p2', 'a/q1');
    for (const f of FAMILIES) expect(await lab.connect(from, await lab.ip(mate, f), 8080)).toBe(`open:${mate}`);
  });
});

describe('the log of denied packets', () => {
  test.each(FAMILIES)('a pod that is refused all the time does not hide that another is (IPv%s)', async (f) => {
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'closed', namespace: 'b' },
      spec: { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress'] },
    };
    await lab.apply(JSON.stringify(policy));
    const [loud, quiet, target] = [await lab.ip('b/p1', f), await lab.ip('b/q1', f), await lab.ip('b/p2', f)];
    const refused = (): Promise<string> => lab.connect('b/q1', target, 8080, 'TCP', 400);
    expect(await lab.eventually(refused, (v) => v === 'closed')).toBe('closed');
    const records = (source: string): number =>
      readFileSync(`${labDir(lab.name)}/log/agent-n2.log`, 'utf8')
        .split('\n')
        .filter((line) => line.includes('dropped by policy') && line.includes(`"source":"${source}"`)).length;
    const [before, unlogged] = [records(loud), await counted('n2', 'log_share', await vniOf('b/default'))];
    const noise = lab.inPod('b/p1', 'python3', '-c', FLOOD, target, '0', '1000000', '10', '0.1');
    await lab.eventually(
      async () => await Promise.resolve(records(loud)),
      (n) => n > before + 10,
    );
    const [quietBefore, start] = [records(quiet), performance.now()];
    while (records(quiet) === quietBefore && performance.now() - start < 8_000) await refused();
    expect(records(quiet)).toBeGreaterThan(quietBefore);
    await noise;
    expect(records(loud) - before).toBeLessThan(200);
    expect((await counted('n2', 'log_share', await vniOf('b/default'))) - unlogged).toBeGreaterThan(50);
    await lab.kubectl('delete', 'networkpolicy', '-n', 'b', 'closed');
    expect(await lab.eventually(refused, (v) => v === 'open:b/p2')).toBe('open:b/p2');
  });
});

const ARP_AND_ND = `
import socket, struct, os
dev = 'eth0'
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((dev, 0))
mac = open('/sys/class/net/eth0/address').read().strip()
own = bytes.fromhex(mac.replace(':', ''))
gateway = bytes.fromhex('026268000001')
def checksum(b):
    t = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while t > 0xffff: t = (t & 0xffff) + (t >> 16)
    return ~t & 0xffff
for n in range(300):
    sender = bytes([10, 244, 77, n % 250 + 1])
    for operation in (1, 2):
        for target in (bytes([10, 244, 1, 0]), bytes([10, 244, 1, 1]), bytes([192, 0, 2, 11]), bytes([169, 254, 1, 1]), sender):
            s.send((b'\\xff' * 6 if operation == 1 else gateway) + own + bytes.fromhex('080600010800060400') + bytes([operation]) + own + sender + gateway + target)
    for kind, flags in ((135, 0), (136, 0x60000000), (136, 0xe0000000), (133, 0)):
        source = socket.inet_pton(socket.AF_INET6, 'fe80::bad:%x' % n)
        for to in ('fe80::1', 'ff02::1', 'ff02::2', 'fd00:10:244:1::'):
            body = struct.pack('!BBHI', kind, 0, 0, flags) + (b'' if kind == 133 else socket.inet_pton(socket.AF_INET6, 'fe80::1') if kind == 135 else source) + bytes([2 if kind == 136 else 1, 1]) + own
            target = socket.inet_pton(socket.AF_INET6, to)
            sum_ = checksum(source + target + struct.pack('!II', len(body), 58) + body)
            body = body[:2] + struct.pack('!H', sum_) + body[4:]
            s.send(gateway + own + b'\\x86\\xdd' + struct.pack('!IHBB', 0x60000000, len(body), 58, 255) + source + target + body)
`;

const SEEK = `
import socket, sys
prefix, count = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ':' in prefix else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
for i in range(20, count):
    try: s.sendto(b'x', ('%s%s' % (prefix, '%x' % i if ':' in prefix else i), 9))
    except OSError: pass
`;
