import type { NodeItem } from '../../api/nodeconfig.ts';
import { familyOf, ipToBytes, mustIp } from '../../lib/ip/address.ts';
import { canonicalIp, formatIp } from '../../lib/ip/address.ts';
import { mustPrefix, nth } from '../../lib/ip/prefix.ts';

/**
 * Names and constants of the data plane. One prefix per role, since rules match `bhp*` and `bhu*`. A test compares the names of
 * chains, sets and counters with the rules, with what `bulkhead trace` says, and with packet-flow.md of docs/.
 */

/** Our table, in every namespace. */
export const TABLE = 'inet bulkhead';
/** ARP is dropped wholesale: every neighbour is permanent. */
export const ARP_TABLE = 'arp bulkhead';

export const VXLAN_DEV = 'vx0';
export const UPLINK_DEV = 'up0';
export const OVERLAY_DEV = 'bh0';
export const POD_PREFIX = 'bhp';
export const UPLINK_PREFIX = 'bhu';
/** Whether a device of the node's own namespace is Bulkhead's. */
export const isOurLink = (dev: string): boolean => /^bh([pu].+|0)$/.test(dev);
/** At most 3 + 8 characters: a VNI has 24 bits. */
export const uplinkName = (vni: number): string => `${UPLINK_PREFIX}${vni}`;
/** Under /run/netns, so that `ip netns` shows it. */
export const netnsName = (vni: number): string => `bh-${vni}`;

/** Chains with fixed names, in the root and in each instance; numbered ones are named by {@link NUMBERED_CHAINS}. */
export const CHAINS = {
  both: [
    'raw_pre',
    'forward',
    'input',
    'nat_post',
    'share',
    // Policies: the class of an address, then what the profile says of it.
    'cls_dst',
    'cls_src',
    'eg_started',
    'in_started',
    'ask_eg',
    'ask_in',
    'unplanned',
    'ok_eg',
    'ok_in',
    'log_share',
    'unplanned',
  ],
  root: [
    'from_pod',
    'raw_out',
    'node_ports',
    'node_port_closed',
    'instance_to_node',
    'nat_instances',
    'refuse',
    'by_node4',
    'by_node6',
    'input_late',
    'vxlan',
    'from_instance',
    'host_ports',
    'nat_prerouting',
    'nat_output',
    'nat_as_itself',
    'own_processes',
    'seek',
  ],
  instance: ['by_uplink', 'by_overlay', 'nat_pre', 'from_net', 'gate_in', 'gate_out', 'gate_via', 'deny', 'share_out'],
} as const;

/** Chains of profiles (eg_1, in_1, en_1), of rules (ok_eg_1, no_in_1), and of Services: what their names begin with. */
export const NUMBERED_CHAINS = ['eg_', 'in_', 'en_', 'ok_eg_', 'ok_in_', 'no_eg_', 'no_in_', 'svc4/', 'svc6/'] as const;

/** Sets and maps of which there is one for each family: "src" is `src4` and `src6`. */
export const FAMILY_SETS = [
  // Who may send from where, and what an address is.
  'src',
  'pods',
  'assigned',
  'nodes',
  'self',
  'vteps',
  'local',
  'routed',
  'probe',
  'node',
  'cluster',
  'own',
  // Ways out of the cluster.
  'via',
  'egress_snat',
  'egress_ok',
  'egress_ok_port',
  // Services and ports.
  'svc',
  'node_port',
  'exposed',
  'hairpin',
  'closed_frontends',
  'closed_backends',
  'frontends',
  'hostbackend',
  'hostip',
  'hostport',
  'mapped',
  'host_port_pods',
  // Routers, what pods open, and the API server.
  'peer_out',
  'peer_in',
  'peer_ports',
  'peer_out_port',
  'peer_in_port',
  'peer_in_service',
  'backend',
  'open_from',
  'open_any',
  'opened',
  'opened_range',
  'api',
  'registered',
  // Policies.
  'cls',
  'cls_range',
  'revoked',
  'logged',
  // Shares of connection tracking and of the neighbour table.
  'new',
  'over',
  'masked',
  'on_link',
  'neighbours',
  'seeks',
] as const;
export type FamilySet = (typeof FAMILY_SETS)[number];

/** The other sets and maps. */
export const SETS = [
  'ep_from',
  'ep_to',
  'ep_node',
  'pol_from',
  'pol_to',
  'pol_node',
  'eg_port',
  'eg_range',
  'eg_proto',
  'eg_rest',
  'in_port',
  'in_range',
  'in_proto',
  'in_rest',
  'closed_node_ports',
  'closed_tcp_ports',
  'closed_udp_ports',
  'closed_sctp_ports',
  'logged',
  'new_neighbours',
] as const;

/** A set or map with a fixed name. */
export type SetName = `${FamilySet}${4 | 6}` | (typeof SETS)[number];

/** What rules count; `rule_N` beside them for each rule of a policy. */
export const COUNTERS = [
  'spoofed_source',
  'ingress_gate',
  'egress_gate',
  'node_port',
  'vxlan_refused',
  'node_address',
  'translated',
  'revoked',
  'policy_unknown',
  'no_endpoint',
  'log_share',
  'conn_rate',
  'conn_share',
  'neighbour_share',
] as const;

/** The gateway that every pod sees. Not an address of any real link. */
export const GATEWAY = { 4: '169.254.1.1', 6: 'fe80::1' } as const;
/** The other end of an uplink, seen from either side. */
export const UPLINK_HOP = { 4: '169.254.1.2', 6: 'fe80::2' } as const;
/** MAC of the node's end of every pod link: constant, so a pod's neighbour entry never goes stale. */
export const GATEWAY_MAC = '02:62:68:00:00:01';
export const UPLINK_MAC = { instance: '02:62:68:00:00:02', root: '02:62:68:00:00:03' } as const;

/** Outer Ethernet, IP, UDP, VXLAN headers. */
export const VXLAN_OVERHEAD = { 4: 50, 6: 70 } as const;

/** Conntrack mark of connections to Services of the allow list: the gate lets out what carries it. */
export const ALLOWED_MARK = '0x62680001';

/** MAC of a node's VXLAN ends, from its underlay address: the far end needs no lookup. */
export function vtepMac(underlay: string): string {
  const bytes = ipToBytes(mustIp(underlay));
  // IPv4 fits as it is. Of IPv6 the last four bytes tell hosts of a subnet apart, and all bytes are folded in.
  const tail =
    bytes.length === 4
      ? [...bytes]
      : [0, 1, 2, 3].map((i) => [0, 4, 8, 12].reduce((x, o) => x ^ (bytes[o + i] ?? 0), 0));
  return [0x0e, bytes.length === 4 ? 0x04 : 0x06, ...tail].map((b) => b.toString(16).padStart(2, '0')).join(':');
}

/**
 * IPv6 next hop to another node inside an instance's overlay: link-local, from the node's VXLAN MAC. Not an address of its pod
 * CIDR: the kernel refuses a gateway that another route leads to by another device, onlink or not (ip6_route_check_nh_onlink).
 */
export function vtepHop(underlay: string): string {
  const [, , a = '0', b = '0', c = '0', d = '0'] = vtepMac(underlay).split(':');
  return canonicalIp(`fe80::62:${a}${b}:${c}${d}`) ?? '';
}

/**
 * Address `::2` of a node's IPv6 pod CIDR: source of ICMPv6 errors that an instance sends out by its uplink. A link-local one
 * would not be forwarded. In IPv4 the kernel has 192.0.0.8 for hosts without an address (RFC 7600).
 */
export const errorSource = (podCIDR: string): string => formatIp(nth(mustPrefix(podCIDR), 2));

/** The node's pod CIDR of a family, if it has one. */
export const podCidrOf = (node: Pick<NodeItem, 'podCIDRs'>, family: 4 | 6): string | undefined =>
  node.podCIDRs.find((c) => familyOf(c) === family);

/** All addresses of a node. */
export const addressesOf = (node: Pick<NodeItem, 'addresses' | 'further'>): string[] => [
  ...new Set([...node.addresses, ...(node.further ?? [])]),
];

/** "4" or "6" behind the name of each pair of sets. */
export const FAMILIES = [4, 6] as const;
/** nft's word for the header of a family. */
export const ipWord = (family: 4 | 6): string => (family === 4 ? 'ip' : 'ip6');
/** nft's word for an address type. */
export const addrType = (family: 4 | 6): string => (family === 4 ? 'ipv4_addr' : 'ipv6_addr');

/** A mark in eight digits, as nft itself writes it. */
export const hex = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;
