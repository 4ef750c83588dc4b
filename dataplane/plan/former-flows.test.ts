import { expect, test } from 'vitest';
import type { Flow } from '../../lib/netlink/flow.ts';
import { filtersFor, isFormer, type PresentOwners } from './former-flows.ts';
import { hostPortTargets } from './host-ports.ts';

const flow = (text: string, protocol = 17, tcpState?: number): Flow => {
  const [from = '', to = '', backFrom = to, backTo = from] = text.split(' ');
  const side = (a: string, b: string) => {
    const cut = (t: string) => [t.slice(0, t.lastIndexOf('#')), Number(t.slice(t.lastIndexOf('#') + 1))] as const;
    const [[src, sport], [dst, dport]] = [cut(a), cut(b)];
    return { src, sport, dst, dport };
  };
  return {
    family: from.includes(':') ? 6 : 4,
    protocol,
    orig: side(from, to),
    reply: side(backFrom, backTo),
    mark: 0,
    tcpState,
    handle: { tuple: Buffer.alloc(0), id: undefined },
  };
};

const owners = (o: Partial<PresentOwners> = {}): PresentOwners => ({
  owns: () => false,
  isNode: (ip) => ip === '192.0.2.12',
  isFlat: (ip) => ip === '10.244.0.7',
  isClosedPort: ({ port }) => port === 30_001,
  isLocal: (ip) => ip === '192.0.2.11' || ip === '2001:db8:2::11',
  mappedTo: hostPortTargets([
    {
      ips: ['10.244.0.9', 'fd00::9'],
      ports: [
        { hostIP: '', hostPort: 53, containerPort: 5353, protocol: 'udp' },
        { hostIP: '', hostPort: 80, containerPort: 8080, protocol: 'tcp' },
        { hostIP: '192.0.2.11', hostPort: 54, containerPort: 5354, protocol: 'udp' },
      ],
    },
  ]),
  ...o,
});

test('an address that went: in whichever place of a connection it stands, and no other', () => {
  const former = isFormer({ prefixes: new Set(['10.244.0.5/32', 'fd00::5/128']), hostPorts: [] }, owners());
  expect(former(flow('10.244.0.5#1 203.0.113.1#2'))).toBe(true); // its own, masqueraded or not
  expect(former(flow('10.244.0.5#1 203.0.113.1#2 203.0.113.1#2 192.0.2.11#9'))).toBe(true);
  expect(former(flow('203.0.113.1#1 192.0.2.11#53 10.244.0.5#5353 203.0.113.1#1'))).toBe(true);
  expect(former(flow('fd00::1#1 fd00::5#2'))).toBe(true);
  expect(former(flow('10.244.0.50#1 203.0.113.1#2'))).toBe(false);
  expect(former(flow('fd00::55#1 fd00::1#2'))).toBe(false);
});

test('of a block, only what has no present owner', () => {
  const former = isFormer(
    { prefixes: new Set(['10.244.0.0/28']), hostPorts: [] },
    owners({ owns: (ip) => ip === '10.244.0.9' }),
  );
  expect(former(flow('10.244.0.9#1 203.0.113.1#2'))).toBe(false);
  expect(former(flow('10.244.0.9#1 10.244.0.10#2'))).toBe(true);
  expect(former(flow('10.244.0.16#1 203.0.113.1#2'))).toBe(false);
});

test('a host port: what leads elsewhere, or was made when it led nowhere', () => {
  const former = isFormer(
    {
      prefixes: new Set(),
      hostPorts: [
        { protocol: 'udp', port: 53 },
        { protocol: 'udp', port: 54 },
        { protocol: 'tcp', port: 80 },
      ],
    },
    owners(),
  );
  expect(former(flow('203.0.113.1#1 192.0.2.11#53'))).toBe(true);
  expect(former(flow('2001:db8::1#1 2001:db8:2::11#53'))).toBe(true);
  expect(former(flow('203.0.113.1#1 192.0.2.11#53 10.244.0.5#5353 203.0.113.1#1'))).toBe(true);
  expect(former(flow('203.0.113.1#1 192.0.2.11#53 10.244.0.9#5353 203.0.113.1#1'))).toBe(false);
  expect(former(flow('203.0.113.1#1 192.0.2.11#54'))).toBe(true);
  expect(former(flow('203.0.113.1#1 127.0.0.1#54'))).toBe(false); // of no owner
  expect(former(flow('10.244.0.7#1 203.0.113.1#53'))).toBe(false); // goes through this node
  // A process of the node goes on with those it has; only one that waits for an answer is let go.
  expect(former(flow('203.0.113.1#1 192.0.2.11#80', 6, 3))).toBe(false);
  expect(former(flow('203.0.113.1#1 192.0.2.11#80', 6, 1))).toBe(true);
});

test('a node port that is closed to pods: what those had open to it, and nothing else', () => {
  const former = isFormer(
    { prefixes: new Set(), hostPorts: [], closed: [{ protocol: 'tcp', port: 31_080 }] },
    owners(),
  );
  const to = (src: string): string => `${src}#1 192.0.2.12#31080 10.244.3.9#8080 ${src}#1`;
  expect(former(flow(to('10.244.0.7'), 6, 3))).toBe(true);
  expect(former(flow(to('203.0.113.1'), 6, 3))).toBe(false); // from outside it stays open
  expect(former(flow('10.244.0.7#1 203.0.113.9#31080 203.0.113.9#31080 192.0.2.11#1', 6, 3))).toBe(false);
  expect(former(flow(to('10.244.0.7'), 17))).toBe(false);
});

test('few changes are picked by the kernel, many and ranges are not', () => {
  expect(filtersFor({ prefixes: new Set(['10.244.0.5/32']), hostPorts: [] })).toEqual([
    { direction: 'orig', src: '10.244.0.5' },
    { direction: 'reply', src: '10.244.0.5' },
  ]);
  expect(filtersFor({ prefixes: new Set(), hostPorts: [{ protocol: 'udp', port: 53 }] })).toEqual([
    { family: 4, protocol: 17, dport: 53 },
    { family: 6, protocol: 17, dport: 53 },
  ]);
  expect(filtersFor({ prefixes: new Set(['10.244.0.0/28']), hostPorts: [] })).toEqual([]);
  const many = new Set(Array.from({ length: 9 }, (_, i) => `10.244.0.${i}/32`));
  expect(filtersFor({ prefixes: many, hostPorts: [] })).toEqual([]);
});

test('a backend that is closed: who may be a pod under another address, and no other', () => {
  const former = isFormer(
    {
      prefixes: new Set(),
      hostPorts: [],
      closedBackends: [
        { protocol: 'udp', ip: '10.244.3.3', port: 5353 },
        { protocol: 'udp', ip: '10.244.0.9', port: 5353 },
      ],
    },
    owners(),
  );
  // By a Service by hand, masqueraded or as itself; behind a port that is closed itself it is cut by that port.
  expect(former(flow('10.244.0.7#1 192.0.2.11#30002 10.244.3.3#5353 10.244.0.0#1'))).toBe(true);
  expect(former(flow('10.244.0.7#1 10.96.0.9#53 10.244.3.3#5353 10.244.0.7#1'))).toBe(false);
  // From another node: of its own by the port of the Service, of others by another.
  expect(former(flow('192.0.2.12#1 192.0.2.11#30002 10.244.3.3#5353 10.244.0.0#1'))).toBe(true);
  expect(former(flow('192.0.2.12#1 192.0.2.11#30001 10.244.3.3#5353 10.244.0.0#1'))).toBe(false);
  // The node's own processes, clients outside, other ports and protocols, host ports.
  expect(former(flow('192.0.2.11#1 192.0.2.11#30002 10.244.3.3#5353 10.244.0.0#1'))).toBe(false);
  expect(former(flow('203.0.113.1#1 192.0.2.11#30002 10.244.3.3#5353 10.244.0.0#1'))).toBe(false);
  expect(former(flow('10.244.0.7#1 192.0.2.11#30002 10.244.3.3#5354 10.244.0.0#1'))).toBe(false);
  expect(former(flow('10.244.0.7#1 192.0.2.11#30002 10.244.3.3#5353 10.244.0.0#1', 6))).toBe(false);
  expect(former(flow('10.244.0.7#1 192.0.2.11#53 10.244.0.9#5353 10.244.0.0#1'))).toBe(false);
});
