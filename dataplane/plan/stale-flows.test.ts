import { describe, expect, test } from 'vitest';
import type { PeerItem, ServiceItem } from '../../api/nodeconfig.ts';
import { type Flow, PROTOCOL_NUMBER } from '../../lib/netlink/flow.ts';
import { ALLOWED_MARK } from './names.ts';
import { peerAdmits } from './peers.ts';
import { exposedKey, type FlowRules } from './gate-facts.ts';
import { staleFlows } from './stale-flows.ts';

const service = (
  network: string,
  ip: string,
  backends: readonly string[],
  protocol: 'TCP' | 'UDP' = 'UDP',
): ServiceItem => ({
  namespace: network.split('/')[0] ?? '',
  name: 'web',
  network,
  clusterIPs: [ip],
  internalTrafficPolicy: 'Cluster',
  exposed: false,
  ports: [{ name: '', protocol, port: 53, backends: backends.map((b) => ({ ip: b, port: 5353, node: 'n1' })) }],
});
const peer = (
  pods: PeerItem['parts'][number]['pods'],
  services: PeerItem['parts'][number]['services'] = pods,
): PeerItem => ({
  network: 'a/default',
  other: 'b/default',
  parts: [{ prefixes: ['10.244.1.16/28'], pods, services }],
  services: ['b/web'],
});
const RULES: FlowRules = {
  network: { egress: 'None' },
  own: ['10.244.1.0/28'],
  pods: ['10.244.0.0/16'],
  cluster: ['10.244.0.0/16', '10.96.0.0/16', '192.0.2.11/32'],
  nodes: ['10.244.9.0', '10.244.9.1'],
  masqueraded: ['10.244.9.0'],
  probes: ['10.244.9.1'],
  mapped: new Set(),
  peers: [],
  openings: [],
  sources: new Map([
    ['mine', { prefixes: ['10.244.5.5/32'] }],
    ['others', { prefixes: ['10.244.5.6/32'] }],
  ]),
  services: [],
  place: { node: 'n1', zone: '' },
  nodeAddresses: ['192.0.2.11'],
};
type Details = {
  readonly real?: string;
  readonly protocol?: keyof typeof PROTOCOL_NUMBER;
  readonly port?: number;
  readonly realPort?: number;
  readonly mark?: number;
  readonly tcpState?: number;
};
function flow(src: string, dst: string, details: Details = {}): Flow {
  const { real = dst, protocol = 'TCP', port = 8080, realPort = port, mark = 0, tcpState = 3 } = details;
  return {
    family: 4,
    protocol: PROTOCOL_NUMBER[protocol],
    orig: { src, dst, sport: 40_000, dport: port },
    reply: { src: real, dst: src, sport: realPort, dport: 40_000 },
    mark,
    tcpState: protocol === 'TCP' ? tcpState : undefined,
    handle: { tuple: Buffer.alloc(0), id: undefined },
  };
}
const MINE = '10.244.1.5';
const THEIRS = '10.244.1.20';
const VIP = '10.96.0.7';
const viaService = (mark: number, more: Details = {}): Flow =>
  flow(MINE, VIP, { real: THEIRS, port: 53, realPort: 5353, mark, protocol: 'UDP', ...more });
const marked = Number(ALLOWED_MARK);
const one = (p: PeerItem): Partial<FlowRules> => ({
  peers: [p],
  services: [{ service: service('b/default', VIP, [THEIRS]), reach: peerAdmits(p, { namespace: 'b', name: 'web' }) }],
});

/** A node port of an own Service; `VIP` is its cluster IP, and internalTrafficPolicy Local does not count for the node port. */
function nodePort(backends: ServiceItem['ports'][number]['backends'], nodePort = 30_053): Partial<FlowRules> {
  const item = service('a/default', VIP, []);
  const ports = [{ ...item.ports[0]!, nodePort, backends }];
  return { services: [{ service: { ...item, internalTrafficPolicy: 'Local', ports }, reach: 'own' }] };
}
const exposing = (backend: string, exposed: boolean): Partial<FlowRules> => ({
  services: [{ service: { ...service('a/default', VIP, [backend]), exposed }, reach: 'own' }],
});
const viaNodePort = (more: Details = {}): Flow =>
  flow(MINE, '192.0.2.11', { real: '10.244.1.6', port: 30_053, realPort: 5353, protocol: 'UDP', ...more });

const opening = (namespace: string) => ({
  pod: 'a/p',
  network: 'a/default',
  ips: [MINE],
  ports: [{ protocol: 'TCP' as const, first: 8080, last: 8080 }],
  namespaces: [namespace],
});

describe('stale flows', () => {
  const cases: readonly (readonly [string, Flow, Partial<FlowRules>, boolean])[] = [
    ['inside the network', flow(MINE, '10.244.1.6'), {}, false],
    ['to a peer', flow(MINE, THEIRS), one(peer('any')), false],
    ['to a peer that is none any more', flow(MINE, THEIRS), {}, true],
    ['from a peer', flow(THEIRS, MINE), one(peer('any')), false],
    ...(['203.0.113.10', '10.244.9.0'] as const).flatMap((client): (typeof cases)[number][] => {
      const in_ = (protocol: 'UDP' | 'TCP', tcpState = 3): Flow =>
        flow(client, MINE, { protocol, port: 5353, tcpState });
      return [
        [`UDP from ${client} to what is exposed`, in_('UDP'), exposing(MINE, true), false],
        [`UDP from ${client} to what was exposed`, in_('UDP'), exposing(MINE, false), true],
        [`UDP from ${client} to another backend`, in_('UDP'), exposing('10.244.1.6', true), true],
        [
          `UDP from ${client} to a mapped port`,
          in_('UDP'),
          { mapped: new Set([exposedKey(MINE, 'udp', 5353)]) },
          false,
        ],
        [`TCP from ${client} that stands goes on`, in_('TCP'), exposing(MINE, false), false],
        [`TCP from ${client} without an answer`, in_('TCP', 1), exposing(MINE, false), true],
      ];
    }),
    [
      "UDP from an API server's host to what is exposed, though API servers may not come in",
      flow('203.0.113.10', MINE, { protocol: 'UDP', port: 5353 }),
      { ...exposing(MINE, true), network: { egress: 'None', apiServerAccess: 'None' }, apiServers: ['203.0.113.10'] },
      false,
    ],
    ['a probe of this node by UDP', flow('10.244.9.1', MINE, { protocol: 'UDP' }), {}, false],
    ['from a peer that is none any more', flow(THEIRS, MINE), {}, true],
    [
      'ICMP to a peer with limited ports',
      flow(MINE, THEIRS, { protocol: 'ICMP', port: 0 }),
      one(peer([{ protocol: 'TCP', first: 1, last: 9 }])),
      true,
    ],
    [
      'a port that is still open',
      flow(MINE, THEIRS, { port: 9 }),
      one(peer([{ protocol: 'TCP', first: 1, last: 9 }])),
      false,
    ],
    [
      'a port that is closed now',
      flow(MINE, THEIRS, { port: 10 }),
      one(peer([{ protocol: 'TCP', first: 1, last: 9 }])),
      true,
    ],
    ['a port that the pod opens', flow('10.244.5.5', MINE), { openings: [opening('mine')] }, false],
    ['a port that it opens to others', flow('10.244.5.5', MINE), { openings: [opening('others')] }, true],
    ['a probe', flow('10.244.9.1', MINE), {}, false],
    ['masqueraded by a node', flow('10.244.9.0', MINE), {}, false],
    ['from outside', flow('203.0.113.9', MINE), {}, false],
    ['to the outside, allowed', flow(MINE, '203.0.113.9'), { network: { egress: 'NAT' } }, false],
    ['to the outside, not any more', flow(MINE, '203.0.113.9'), {}, true],
    [
      'to the outside, not on the list',
      flow(MINE, '203.0.113.9'),
      { network: { egress: 'NAT', egressAllow: [{ prefix: '203.0.113.0/29', ports: 'any' }] } },
      true,
    ],
    ["a peer's Service", viaService(marked), one(peer([], 'any')), false],
    ["a peer's Service, the peer gone", viaService(marked), {}, true],
    [
      "a peer's Service, its port closed",
      viaService(marked, { protocol: 'TCP' }),
      one(peer([], [{ protocol: 'TCP', first: 1, last: 9 }])),
      true,
    ],
    [
      'UDP to a backend that is gone',
      viaService(0, { real: '10.244.1.7' }),
      { services: [{ service: service('a/default', VIP, ['10.244.1.6']), reach: 'own' }] },
      true,
    ],
    ['UDP to a Service that is gone', viaService(0, { real: '10.244.1.7' }), {}, true],
    [
      'UDP to a backend that is there',
      viaService(0, { real: '10.244.1.6' }),
      { services: [{ service: service('a/default', VIP, ['10.244.1.6']), reach: 'own' }] },
      false,
    ],
    [
      'established TCP to a backend that leaves',
      viaService(0, { real: '10.244.1.7', protocol: 'TCP' }),
      { services: [{ service: service('a/default', VIP, [], 'TCP'), reach: 'own' }] },
      false,
    ],
    [
      'TCP that is still asking a backend that is gone',
      viaService(0, { real: '10.244.1.7', protocol: 'TCP', tcpState: 1 }),
      { services: [{ service: service('a/default', VIP, [], 'TCP'), reach: 'own' }] },
      true,
    ],
    [
      'allowed Service, allowed still',
      viaService(marked, { real: '10.244.3.3' }),
      { services: [{ service: service('default-network', VIP, ['10.244.3.3']), reach: 'allowed' }] },
      false,
    ],
    ['UDP by a node port', viaNodePort(), nodePort([{ ip: '10.244.1.6', port: 5353, node: 'n2' }]), false],
    ['UDP by a node port to a backend that is gone', viaNodePort(), nodePort([]), true],
    [
      'UDP by a node port to a backend that ends while another is ready',
      viaNodePort(),
      nodePort([
        { ip: '10.244.1.6', port: 5353, node: 'n1', ending: true },
        { ip: '10.244.1.7', port: 5353, node: 'n2' },
      ]),
      true,
    ],
    [
      'UDP by a node port that the Service has no more',
      viaNodePort(),
      nodePort([{ ip: '10.244.1.6', port: 5353, node: 'n1' }], 30_054),
      true,
    ],
    ['established TCP by a node port that is gone', viaNodePort({ protocol: 'TCP' }), {}, false],
  ];
  test.each(cases)('%s', (_, f, rules, stale) => {
    expect(staleFlows([f], { ...RULES, ...rules })).toHaveLength(stale ? 1 : 0);
  });
});
