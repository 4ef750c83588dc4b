import { VXLAN_PORT } from '../../api/names.ts';
import { covers, hostCidr, mustPrefix } from '../../lib/ip/prefix.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { NetworkItem, NodeItem } from '../../api/nodeconfig.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { type DesiredLink, element, type Fragment } from './fragment.ts';
import {
  addrType,
  errorSource,
  FAMILIES,
  GATEWAY,
  ipWord,
  podCidrOf,
  UPLINK_DEV,
  UPLINK_HOP,
  UPLINK_MAC,
  uplinkName,
  VXLAN_DEV,
  vtepMac,
} from './names.ts';
import { shareRule } from './shares.ts';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import { type EgressWay, leavesElsewhere } from './egress-way.ts';
import { apiServerSets } from './api-server.ts';
import { fromRules, policyObjects, revokedRules, toRules } from './policy.ts';
import { gateIn, gateOut, gateVia, renderGate } from './gate.ts';
import { peerSets, portKeys } from './peers.ts';

/** The base of a network's instance on this node: everything but pods, remote blocks and Services. */
export function planInstance(
  network: NetworkItem,
  self: NodeItem,
  mtu: number,
  way?: Pick<EgressWay, 'here' | 'addresses'>,
): Fragment {
  const links: DesiredLink[] = [
    {
      name: VXLAN_DEV,
      mac: vtepMac(self.underlay),
      mtu,
      make: { kind: 'vxlan', vni: network.vni, local: self.underlay, port: VXLAN_PORT },
    },
    {
      name: UPLINK_DEV,
      mac: UPLINK_MAC.instance,
      mtu,
      make: { kind: 'uplink', rootName: uplinkName(network.vni), rootMac: UPLINK_MAC.root },
    },
  ];
  const families = FAMILIES.filter((f) => podCidrOf(self, f) !== undefined);
  return {
    links,
    // Source of this instance's own ICMP errors, and of a pod that talks to itself through its Service.
    addresses: [
      { dev: 'lo', cidr: `${GATEWAY[4]}/32`, scope: 'link' },
      ...self.podCIDRs
        .filter((c) => c.includes(':'))
        .map((c) => ({ dev: 'lo', cidr: `${errorSource(c)}/128`, scope: 'global' }) as const),
    ],
    // By another node, when that has the network's egress address: see planWay.
    routes: families
      .filter((f) => !leavesElsewhere(way, f))
      .map((f) => ({
        dst: f === 4 ? '0.0.0.0/0' : '::/0',
        type: 'unicast',
        dev: UPLINK_DEV,
        via: UPLINK_HOP[f],
        onlink: true,
      })),
    neighbours: families.map((f) => ({ dev: UPLINK_DEV, ip: UPLINK_HOP[f], mac: UPLINK_MAC.root })),
    nft: instanceTable(network, self, way),
    sysctls: INSTANCE_SYSCTLS,
  };
}

/** What the root needs for one instance: the other end of its uplink. */
export function planUplink(vni: number, self: NodeItem, mtu: number): Fragment {
  const name = uplinkName(vni);
  return {
    links: [{ name, mac: UPLINK_MAC.root, mtu, make: { kind: 'elsewhere' } }],
    // Numbered with the node's own address: masquerade takes the out device's address, or some other global one.
    addresses: self.podCIDRs.map((c) => ({
      dev: name,
      cidr: hostCidr(nodeAddress(c)),
      scope: 'global',
    })),
    // Loose: ICMP errors of an instance come from an address that no route leads to. Forgery is stopped at the pod.
    // route_localnet: host ports of pods work from the node's own loopback; root's table lets no pod use that.
    sysctls: { [`net/ipv4/conf/${name}/rp_filter`]: '2', [`net/ipv4/conf/${name}/route_localnet`]: '1' },
    neighbours: self.podCIDRs.map((c) => ({
      dev: name,
      ip: UPLINK_HOP[familyOf(c)],
      mac: UPLINK_MAC.instance,
    })),
  };
}

/** A block of this node that an instance's pods have addresses from: seen from the instance, and from the root. */
export function planLocalBlock(
  cidr: string,
  { vni, egress }: Pick<NetworkItem, 'vni' | 'egress'>,
  self: NodeItem,
  given = true,
): { readonly instance: Fragment; readonly root: Fragment } {
  const family = familyOf(cidr);
  const podCIDR = podCidrOf(self, family);
  return {
    // An address that no pod has fails at once, and never loops between instance and root.
    instance: { routes: [{ dst: cidr, type: 'unreachable', metric: 4000 }] },
    root: {
      routes: [
        {
          dst: cidr,
          type: 'unicast',
          dev: uplinkName(vni),
          via: UPLINK_HOP[family],
          onlink: true,
          ...(podCIDR === undefined ? {} : { src: probeSource(podCIDR) }),
        },
      ],
      nft: [
        ...(podCIDR !== undefined && covers(mustPrefix(podCIDR), mustPrefix(cidr))
          ? []
          : [
              element(`local${family}`, cidr),
              // What is not given is the rest of a former pod CIDR: assigned to the node that has that now, if any.
              ...(given ? [element(`assigned${family}`, cidr)] : []),
            ]),
        // Routed: the pod's own address leaves the node.
        ...(egress === 'Routed' ? [element(`routed${family}`, cidr)] : []),
      ],
    },
  };
}

/**
 * Who counts as what in the gates: the node's own processes, nodes that masquerade, everything inside the cluster.
 *
 * @param clusterRanges disjoint; all addresses of nodes are in it
 */
export function planGateSets(
  self: NodeItem,
  nodes: Iterable<NodeItem>,
  clusterRanges: readonly string[],
  podRanges: readonly string[],
): Fragment {
  const nft: NftObject[] = [];
  for (const cidr of self.podCIDRs) nft.push(element(`probe${familyOf(cidr)}`, probeSource(cidr)));
  for (const address of self.addresses) nft.push(element(`self${familyOf(address)}`, address));
  for (const node of nodes) {
    for (const cidr of node.podCIDRs) nft.push(element(`node${familyOf(cidr)}`, nodeAddress(cidr)));
  }
  for (const range of clusterRanges) nft.push(element(`cluster${familyOf(range)}`, range));
  for (const range of podRanges) nft.push(element(`pods${familyOf(range)}`, range));
  return { nft };
}

/** Where node ports are dialled: they are met in the instance, whichever node it is. */
export const planNodeAddresses = (addresses: readonly string[]): Fragment => ({
  nft: addresses.map((a) => element(`nodes${familyOf(a)}`, a)),
});

/**
 * Switches of an instance's namespace. `rp_filter` is the larger of "all" and the device's own, so "all" stays 0.
 * ICMP errors are not rate limited: they only go to this network's own pods, and they are how isolation answers.
 */
const INSTANCE_SYSCTLS = {
  'net/ipv4/ip_forward': '1',
  'net/ipv4/conf/all/rp_filter': '0',
  'net/ipv4/conf/default/rp_filter': '1',
  'net/ipv4/conf/all/send_redirects': '0',
  'net/ipv4/conf/default/send_redirects': '0',
  'net/ipv4/conf/all/accept_redirects': '0',
  'net/ipv4/icmp_ratemask': '0',
  'net/ipv6/conf/all/forwarding': '1',
  'net/ipv6/conf/default/forwarding': '1',
  'net/ipv6/conf/all/accept_ra': '0',
  'net/ipv6/conf/default/accept_ra': '0',
  'net/ipv6/conf/default/accept_dad': '0',
  'net/ipv6/conf/default/addr_gen_mode': '1',
  'net/ipv6/conf/all/accept_redirects': '0',
  'net/ipv6/icmp/ratemask': '2-127',
  'net/netfilter/nf_conntrack_tcp_loose': '0',
  // What is never answered is forgotten soon; the defaults keep it for 30, 120 and 60 seconds.
  'net/netfilter/nf_conntrack_udp_timeout': '15',
  'net/netfilter/nf_conntrack_tcp_timeout_syn_sent': '30',
  'net/netfilter/nf_conntrack_tcp_timeout_syn_recv': '30',
} as const;

function instanceTable(
  network: Gates,
  self: NodeItem,
  way: Pick<EgressWay, 'here' | 'addresses'> | undefined,
): NftObject[] {
  const cidr6 = podCidrOf(self, 6);
  // As who a pod meets itself through its Service. Not the link-local gateway in IPv6: programs would need its zone.
  const hairpin = { 4: GATEWAY[4], 6: cidr6 === undefined ? GATEWAY[6] : errorSource(cidr6) };
  return [
    ...COUNTERS,
    ...FAMILIES.flatMap(familySets),
    ...policyObjects('meta mark'),
    ...chains(network, hairpin, way),
    ...UPLINK_ELEMENTS,
    element('ep_to', `"${VXLAN_DEV}"`, way?.here === false ? 'goto gate_via' : 'accept'),
    ...egressElements(network),
  ];
}

function familySets(family: 4 | 6): NftObject[] {
  const addr = addrType(family);
  const set = (name: string, type: string, flags?: readonly string[]): NftObject => ({
    kind: 'set',
    name: `${name}${family}`,
    type,
    ...(flags ? { flags } : {}),
  });
  return [
    set('src', `ifname . ${addr}`),
    set('probe', addr),
    set('self', addr),
    set('node', addr),
    set('nodes', addr),
    set('pods', addr, ['interval']),
    set('cluster', addr, ['interval']),
    ...peerSets(family),
    ...apiServerSets(family),
    set('own', addr, ['interval']),
    set('egress_ok', addr, ['interval']),
    set('egress_ok_port', `${addr} . inet_proto . inet_service`, ['interval']),
    set('exposed', `${addr} . inet_proto . inet_service`),
    set('hairpin', `${addr} . ${addr}`),
    { kind: 'set', name: `svc${family}`, type: `${addr} . inet_proto . inet_service`, to: 'verdict' },
    { kind: 'set', name: `node_port${family}`, type: 'inet_proto . inet_service', to: 'verdict' },
  ];
}

type EgressSpec = Pick<NetworkItem, 'egress' | 'egressAllow'>;
type Gates = EgressSpec & Pick<NetworkItem, 'apiServerAccess'>;

const egressElements = ({ egressAllow }: EgressSpec): NftObject[] =>
  (egressAllow ?? []).flatMap(({ prefix, ports }) => {
    const family = familyOf(prefix);
    if (ports === 'any') return [element(`egress_ok${family}`, prefix)];
    return portKeys(ports).map((key) => element(`egress_ok_port${family}`, `${prefix} . ${key}`));
  });

/** One for each reason to refuse or drop; the agent's metric of drops reads them. */
const COUNTERS: NftObject[] = ['spoofed_source', 'ingress_gate', 'egress_gate'].map((name) => ({
  kind: 'counter',
  name,
}));

const UPLINK_ELEMENTS: NftObject[] = [
  element('ep_from', `"${UPLINK_DEV}"`, 'jump gate_in'),
  element('ep_from', `"${VXLAN_DEV}"`, 'jump from_net'),
  element('ep_to', `"${UPLINK_DEV}"`, 'goto gate_out'),
];

/**
 * What comes by the uplink and by the overlay: only from addresses that belong beyond them, so that a packet from elsewhere neither
 * gets in nor makes a connection whose replies go another way. In both families, whatever rp_filter says.
 */
function arrivals(way: Pick<EgressWay, 'here' | 'addresses'> | undefined): NftObject[] {
  const spoofed = 'counter name spoofed_source drop';
  // Errors come from whichever address a router has; the gate takes those that belong to a connection. Link-local sources are
  // never forwarded.
  const exempt = [
    'icmp type { destination-unreachable, time-exceeded, parameter-problem } accept',
    'icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept',
    'ip6 saddr { ::, fe80::/10 } accept',
  ];
  const elsewhere = (f: 4 | 6): boolean => leavesElsewhere(way, f);
  return [
    {
      kind: 'chain',
      name: 'by_uplink',
      rules: [
        ...exempt,
        // Where the outside is reached by the overlay, its replies come by the uplink all the same.
        ...FAMILIES.map((f) =>
          elsewhere(f)
            ? `${ipWord(f)} saddr @own${f} ${spoofed}`
            : `meta nfproto ipv${f} fib saddr . iif oif missing ${spoofed}`,
        ),
        'accept',
      ],
    },
    {
      kind: 'chain',
      name: 'by_overlay',
      rules: [
        ...exempt,
        `fib saddr . iif oif missing ${spoofed}`,
        ...FAMILIES.filter(elsewhere).map((f) => `${ipWord(f)} saddr != @own${f} ${spoofed}`),
        // Pods of other nodes leave by here; replies go another way, so half a connection is not tracked.
        ...(way?.here
          ? FAMILIES.map((f) => `${ipWord(f)} saddr @own${f} ${ipWord(f)} daddr != @cluster${f} notrack accept`)
          : []),
        'accept',
      ],
    },
  ];
}

/** What is for the instance itself, and how isolation answers. */
const INPUT: readonly NftObject[] = [
  // Isolation answers at once; a silent drop would look like a slow network.
  {
    kind: 'chain',
    name: 'deny',
    rules: ['meta l4proto tcp reject with tcp reset', 'reject with icmpx admin-prohibited'],
  },
  {
    kind: 'chain',
    name: 'input',
    hook: { type: 'filter', hook: 'input', priority: 'filter', policy: 'drop' },
    rules: [
      'ct state established,related accept',
      'iifname "lo" accept',
      'iifname "bhp*" icmp type echo-request limit rate 100/second accept',
      'iifname "bhp*" icmpv6 type echo-request limit rate 100/second accept',
      'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
      'iifname "bhp*" goto deny',
    ],
  },
];

function chains(
  network: Gates,
  hairpin: Readonly<Record<4 | 6, string>>,
  way: Pick<EgressWay, 'here' | 'addresses'> | undefined,
): NftObject[] {
  const both = (rule: (ip: string, family: 4 | 6) => string): string[] => FAMILIES.map((f) => rule(ipWord(f), f));
  const frontend = (ip: string): string => `${ip} daddr . meta l4proto . th dport`;
  return [
    {
      kind: 'chain',
      name: 'raw_pre',
      hook: { type: 'filter', hook: 'prerouting', priority: 'raw', policy: 'drop' },
      rules: [
        `iifname vmap { "lo" : accept, "${UPLINK_DEV}" : goto by_uplink, "${VXLAN_DEV}" : goto by_overlay }`,
        ...both((ip, f) => `iifname . ${ip} saddr @src${f} accept`),
        'counter name spoofed_source drop',
      ],
    },
    ...arrivals(way),
    {
      kind: 'chain',
      name: 'nat_pre',
      hook: { type: 'nat', hook: 'prerouting', priority: 'dstnat', policy: 'accept' },
      rules: [
        ...both((ip, f) => `iifname "bhp*" ${frontend(ip)} vmap @svc${f}`),
        // Node ports of this network's own Services, on whichever node: they are met here and never on that node.
        ...both((ip, f) => `iifname "bhp*" ${ip} daddr @nodes${f} meta l4proto . th dport vmap @node_port${f}`),
      ],
    },
    {
      kind: 'chain',
      name: 'forward',
      hook: { type: 'filter', hook: 'forward', priority: 'filter', policy: 'drop' },
      rules: [
        'ct state established,related accept',
        'ct state invalid drop',
        ...revokedRules(),
        shareRule(),
        // An unknown sender has been dropped in raw_pre.
        ...fromRules,
        ...toRules,
        'counter name no_endpoint drop',
      ],
    },
    {
      kind: 'chain',
      name: 'from_net',
      rules: [
        ...(way?.here ? [`oifname "${UPLINK_DEV}" ct state untracked return`] : []),
        `oifname { "${UPLINK_DEV}", "${VXLAN_DEV}" } drop`,
      ],
    },
    { kind: 'chain', name: 'gate_via', rules: renderGate(gateVia(network)) },
    { kind: 'chain', name: 'gate_in', rules: renderGate(gateIn(network)) },
    { kind: 'chain', name: 'gate_out', rules: renderGate(gateOut(network)) },
    ...INPUT,
    {
      kind: 'chain',
      name: 'nat_post',
      hook: { type: 'nat', hook: 'postrouting', priority: 'srcnat', policy: 'accept' },
      rules: both((ip, f) => `${ip} saddr . ${ip} daddr @hairpin${f} snat ${ip} to ${hairpin[f]}`),
    },
  ];
}
