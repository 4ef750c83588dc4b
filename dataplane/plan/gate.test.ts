import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { NetworkItem, PeerItem, PortSet } from '../../api/nodeconfig.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { desiredBy } from '../desired/desired.ts';
import { flowRules } from '../desired/flow-rules.ts';
import { storeOf } from '../follow/store-of.ts';
import { type GateFlow, gateIn, gateOut, passes, renderGate } from './gate.ts';
import { exposedKey, gateFacts } from './gate-facts.ts';
import {
  build,
  isolated,
  NETWORK,
  type NodeState,
  OTHER_NETWORK,
  POD,
  SELF,
  SERVICE,
  withCluster,
  withItem,
  withPod,
} from './golden/states.ts';
import { ALLOWED_MARK } from './names.ts';
import { planPod } from './pod.ts';

// The gates have two readers: nft, and the agent when it looks for connections that rules no longer allow. Here the text for nft is
// carried out over the elements that are planned, and compared with what the agent says.

const PORTS = [53, 80, 443, 8080, 8443];
const port = fc.constantFrom(...PORTS);
const protocol = fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const);
const ports: fc.Arbitrary<PortSet> = fc.oneof(
  fc.constant('any' as const),
  fc
    .uniqueArray(fc.tuple(protocol, port), { maxLength: 3, selector: ([p, n]) => `${p} ${n}` })
    .map((list) => list.map(([p, n]) => ({ protocol: p, first: n, last: n === 8080 ? 8100 : n }))),
);

const OTHER_PODS = ['10.244.2.33', 'fd00:10:244:2::21'];
const OUTSIDE = ['203.0.113.9', '203.0.113.200', '2001:db8:53::53', '192.0.2.200'];
const ADDRESSES = [
  ...POD.link.ips,
  '10.244.2.18', // of the same network, on the other node
  ...OTHER_PODS,
  '10.244.2.50',
  '10.244.2.9', // flat
  'fd00:10:244:2::9',
  ...[
    '10.244.1.0',
    '10.244.1.1',
    '10.244.2.0',
    '10.244.2.1',
    'fd00:10:244:1::',
    'fd00:10:244:1::1',
    'fd00:10:244:2::1',
  ],
  ...['192.0.2.11', '192.0.2.12', '2001:db8::12', '10.96.0.7'],
  ...OUTSIDE,
];
const flow: fc.Arbitrary<GateFlow> = fc
  .record({
    src: fc.constantFrom(...ADDRESSES),
    dst: fc.constantFrom(...ADDRESSES),
    protocol: fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const, 'ICMP' as const),
    port,
    marked: fc.boolean(),
  })
  .filter(({ src, dst }) => familyOf(src) === familyOf(dst))
  .map((f) => (f.protocol === 'ICMP' ? { ...f, port: 0 } : f));

const egress: fc.Arbitrary<Partial<NetworkItem>> = fc.oneof(
  fc.constant({ egress: 'None' as const }),
  fc.constant({ egress: 'NAT' as const }),
  fc.tuple(ports, ports).map(([a, b]) => ({
    egress: 'NAT' as const,
    egressAllow: [
      { prefix: '203.0.113.0/25', ports: a },
      { prefix: '2001:db8:53::/48', ports: b },
    ],
  })),
);
const state: fc.Arbitrary<NodeState> = fc
  .record({
    egress,
    apiServerAccess: fc.constantFrom('None' as const, 'Registered' as const, 'All' as const),
    apiServers: fc.record({ nodes: fc.subarray(['n1', 'n2']), addresses: fc.subarray(['192.0.2.200']) }),
    peer: fc.option(fc.record({ pods: ports, services: ports, hidden: ports })),
    service: fc.record({ exposed: fc.boolean(), port, registered: fc.boolean() }),
    opening: fc.option(fc.record({ ports, namespaces: fc.subarray(['monitoring', '*'], { minLength: 1 }) })),
    mapped: fc.boolean(),
  })
  .map(({ egress: way, apiServerAccess, apiServers, peer, service, opening, mapped }) =>
    build(
      isolated,
      withItem('network', NETWORK.key, { ...NETWORK, ...way, apiServerAccess }),
      withCluster({ apiServers }),
      withItem('service', 'a/web', {
        ...SERVICE,
        exposed: service.exposed,
        ports: [
          {
            name: '',
            protocol: 'TCP',
            port: 80,
            ...(service.registered ? { registered: true as const } : {}),
            backends: POD.link.ips.map((ip) => ({ ip, port: service.port, node: 'n1' })),
          },
        ],
      }),
      ...(peer
        ? [
            withItem('peer', `${NETWORK.key}|${OTHER_NETWORK}`, {
              network: NETWORK.key,
              other: OTHER_NETWORK,
              parts: [
                { prefixes: ['10.244.2.32/28', 'fd00:10:244:2::20/124'], pods: peer.pods, services: peer.services },
                { prefixes: ['10.244.2.48/28'], pods: peer.hidden, services: peer.hidden },
              ],
              services: [],
            } satisfies PeerItem),
          ]
        : []),
      ...(opening
        ? [
            withItem('opening', POD.pod, { pod: POD.pod, network: NETWORK.key, ips: POD.link.ips, ...opening }),
            withItem('source', 'monitoring', { prefixes: ['10.244.2.9/32'] }),
            withItem('source', '*', { prefixes: ['10.244.2.0/28', 'fd00:10:244:2::/124'] }),
          ]
        : []),
      ...(mapped
        ? [
            withPod({
              ...POD,
              link: { ...POD.link, ports: [{ hostPort: 53, containerPort: 53, protocol: 'udp', hostIP: '' }] },
            }),
          ]
        : []),
    ),
  );

type Element = NftObject & { readonly kind: 'element' };

/** The gates of the network as they are planned: rules, and elements by their sets. */
function planned({ config, blocks, pods }: NodeState) {
  const desired = desiredBy(storeOf(config), SELF.name);
  const asked = config.network.get(NETWORK.key) ?? NETWORK;
  const fragments = [...desired.wanted.instance(asked, SELF, 1450, blocks).values()].map((w) => w.plan());
  const links = pods.filter((p) => p.network === NETWORK.key).map((p) => p.link);
  const elements = [...fragments, ...links.map((link) => planPod(link, {}))]
    .flatMap((f) => f.nft ?? [])
    .filter((o): o is Element => o.kind === 'element');
  const mapped = new Set(
    links.flatMap(({ ips, ports: list = [] }) =>
      ips.flatMap((ip) => list.map((p) => exposedKey(ip, p.protocol, p.containerPort))),
    ),
  );
  const rules = flowRules(desired, asked, blocks, mapped);
  return { network: rules.network, rules, bySet: Map.groupBy(elements, (e) => e.set) };
}

/** What nft would do with the first packet of a connection. */
function carryOut(
  chain: readonly string[],
  flowAsked: GateFlow,
  bySet: ReadonlyMap<string, readonly Element[]>,
): boolean {
  const family = familyOf(flowAsked.src) === 4 ? 'ip' : 'ip6';
  const find = (set: string, fields: readonly string[]): Element | undefined =>
    (bySet.get(set) ?? []).find(({ key }) => {
      const parts = key.split(' . ');
      return parts.length === fields.length && parts.every((part, i) => covers(part, fields[i] ?? ''));
    });
  const { src, dst, protocol: proto, port: at } = flowAsked;
  const l4 = [proto.toLowerCase(), String(at)];
  let mark = '0x00000000';
  for (const rule of chain) {
    let left = rule;
    let verdict: boolean | undefined;
    while (left !== '' && verdict === undefined) {
      const take = (pattern: RegExp): RegExpExecArray | undefined => {
        const found = pattern.exec(left) ?? undefined;
        if (found) left = left.slice(found[0].length).trimStart();
        return found;
      };
      let m: RegExpExecArray | undefined;
      let matches = true;
      if ((m = take(/^(ip6?) daddr \. meta l4proto \. th dport @(\w+)/)))
        matches = m[1] === family && find(m[2] ?? '', [dst, ...l4]) !== undefined;
      else if ((m = take(/^(ip6?) (saddr|daddr) @(\w+)/)))
        matches = m[1] === family && find(m[3] ?? '', [m[2] === 'saddr' ? src : dst]) !== undefined;
      else if ((m = take(/^meta mark \. (ip6?) daddr \. meta l4proto \. th dport @(\w+)/)))
        matches = m[1] === family && find(m[2] ?? '', [mark, dst, ...l4]) !== undefined;
      else if ((m = take(/^meta mark \. meta l4proto \. th dport @(\w+)/)))
        matches = find(m[1] ?? '', [mark, ...l4]) !== undefined;
      else if ((m = take(/^meta mark set (ip6?) (saddr|daddr) map @(\w+)/))) {
        const found = m[1] === family ? find(m[3] ?? '', [m[2] === 'saddr' ? src : dst]) : undefined;
        matches = found !== undefined;
        mark = found?.value ?? mark;
      } else if ((m = take(/^meta mark set (\w+)/))) mark = `0x${Number(m[1]).toString(16).padStart(8, '0')}`;
      else if ((m = take(/^ct mark (\w+)/))) matches = m[1] === ALLOWED_MARK && flowAsked.marked;
      else if (take(/^oifname "bhp\*"/)) matches = true;
      else if (take(/^oifname \{[^}]*\}/)) matches = false;
      else if (take(/^ct status and confirmed == 0 jump share_out/)) matches = true;
      else if (take(/^counter name \w+/)) matches = true;
      else if (take(/^(accept|return)$/)) verdict = true;
      else if (take(/^(drop|goto deny)$/)) verdict = false;
      else throw new Error(`this test does not know: ${left}`);
      if (!matches) break;
    }
    if (verdict !== undefined) return verdict;
  }
  throw new Error('a gate without an end');
}

/** Whether a field of an element's key covers a value. */
function covers(part: string, value: string): boolean {
  if (part.includes('/')) return familyOf(part) === familyOf(value) && contains(mustPrefix(part), mustIp(value));
  const range = /^(\d+)-(\d+)$/.exec(part);
  if (range) return Number(range[1]) <= Number(value) && Number(value) <= Number(range[2]);
  return part === value;
}

test('what nft is given and what the agent says of a connection are the same', () => {
  const seen = { passed: 0, refused: 0 };
  fc.assert(
    fc.property(state, fc.array(flow, { minLength: 30, maxLength: 30 }), (node, flows) => {
      const { network, rules, bySet } = planned(node);
      const facts = gateFacts(rules);
      for (const f of flows) {
        const [from, to] = [facts.own(f.src), facts.own(f.dst)];
        if (from === to) continue;
        const gate = from ? gateOut(network) : gateIn(network);
        const asked = from ? f : { ...f, marked: false };
        const says = passes(gate, asked, facts);
        expect({ flow: asked, passes: says }).toEqual({
          flow: asked,
          passes: carryOut(renderGate(gate), asked, bySet),
        });
        seen[says ? 'passed' : 'refused']++;
      }
    }),
    { numRuns: 300 },
  );
  expect(seen.passed).toBeGreaterThan(100);
  expect(seen.refused).toBeGreaterThan(100);
});
