import { hostCidr } from '../../lib/ip/prefix.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { ClosedItem, ClusterItem, NodeItem, Protocol } from '../../api/nodeconfig.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { element, type Fragment } from './fragment.ts';
import { HOST_PORT_OBJECTS } from './host-ports.ts';
import { fromRules, policyObjects, revokedRules, toRules } from './policy.ts';
import { addressesOf, addrType, FAMILIES, ipWord, OVERLAY_DEV, vtepMac } from './names.ts';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import { shareRule } from './shares.ts';
import { FLAT_VNI, VXLAN_PORT } from '../../api/names.ts';

/** The node's own namespace: the flat network lives here, with kube-proxy and the host's processes. */
export function planRoot(self: NodeItem, mtu: number): Fragment {
  return {
    links: [
      {
        name: OVERLAY_DEV,
        mac: vtepMac(self.underlay),
        mtu,
        make: { kind: 'vxlan', vni: FLAT_VNI, local: self.underlay, port: VXLAN_PORT },
      },
    ],
    addresses: self.podCIDRs.flatMap((c) => [
      { dev: OVERLAY_DEV, cidr: hostCidr(nodeAddress(c)), scope: 'global' as const },
      // Scope link: nothing chooses it as a source by itself; only the routes to local pods name it.
      { dev: 'lo', cidr: hostCidr(probeSource(c)), scope: 'link' as const },
    ]),
    routes: self.podCIDRs.map((c) => ({ dst: c, type: 'unreachable', metric: 4000 })),
    nft: rootTable(self),
    sysctls: ROOT_SYSCTLS,
  };
}

/** Ranges of the cluster that the root's table refers to. */
export function planRootSets(
  self: NodeItem,
  nodes: Iterable<NodeItem>,
  podRanges: readonly string[],
  {
    closedNodePorts = [],
    closedFrontends = [],
    frontends = [],
  }: Pick<ClusterItem, 'closedNodePorts' | 'closedFrontends' | 'frontends'>,
): Fragment {
  const nft: NftObject[] = podRanges.map((range) => element(`pods${familyOf(range)}`, range));
  for (const cidr of self.podCIDRs)
    nft.push(element(`local${familyOf(cidr)}`, cidr), element(`assigned${familyOf(cidr)}`, cidr));
  for (const address of self.addresses) nft.push(element(`self${familyOf(address)}`, address));
  for (const { protocol, port } of closedNodePorts)
    nft.push(
      element('closed_node_ports', `${protocol.toLowerCase()} . ${port}`),
      element(`closed_${protocol.toLowerCase() as Lowercase<Protocol>}_ports`, `${port}`),
    );
  for (const [set, outer] of [
    ['closed_frontends', closedFrontends],
    ['frontends', frontends],
  ] as const)
    for (const { ip, protocol, port } of outer)
      nft.push(element(`${set}${familyOf(ip)}`, `${ip} . ${protocol.toLowerCase()} . ${port}`));
  for (const node of nodes) {
    for (const a of addressesOf(node)) nft.push(element(`nodes${familyOf(a)}`, a));
    if (node.name !== self.name && node.podCIDRs.length > 0)
      nft.push(element(`vteps${familyOf(node.underlay)}`, node.underlay));
  }
  return { nft };
}

/** Where a network is reached from outside, and by no pod of the flat network under another address. */
export const planClosed = ({ backends }: ClosedItem): Fragment => ({
  nft: backends.map(({ ip, protocol, port }) =>
    element(`closed_backends${familyOf(ip)}`, `${ip} . ${protocol.toLowerCase()} . ${port}`),
  ),
});

/** `rp_filter` 2, loose: see planUplink; the kernel takes the larger of this and "all". */
const ROOT_SYSCTLS = {
  'net/ipv4/ip_forward': '1',
  'net/ipv6/conf/all/forwarding': '1',
  [`net/ipv4/conf/${OVERLAY_DEV}/rp_filter`]: '2',
} as const;

function rootTable(self: NodeItem): NftObject[] {
  return [...OBJECTS, ...FAMILIES.flatMap(familySets), ...HOST_PORT_OBJECTS, ...chains(self)];
}

const NAT_PROTOCOLS = ['tcp', 'udp', 'sctp'] as const;

const OBJECTS: readonly NftObject[] = [
  { kind: 'counter', name: 'spoofed_source' },
  { kind: 'counter', name: 'node_port' },
  { kind: 'counter', name: 'vxlan_refused' },
  { kind: 'counter', name: 'node_address' },
  { kind: 'counter', name: 'translated' },
  { kind: 'set', name: 'ep_node', type: 'ifname', to: 'verdict' },
  { kind: 'set', name: 'pol_node', type: 'ifname' },
  ...policyObjects('ct mark'),
  { kind: 'set', name: 'closed_node_ports', type: 'inet_proto . inet_service' },
  // The same by protocol: nft takes what was dialled before a translation into no concatenation.
  ...NAT_PROTOCOLS.map((p): NftObject => ({ kind: 'set', name: `closed_${p}_ports`, type: 'inet_service' })),
];

function familySets(family: 4 | 6): NftObject[] {
  const addr = addrType(family);
  return [
    { kind: 'set', name: `src${family}`, type: `ifname . ${addr}` },
    { kind: 'set', name: `pods${family}`, type: addr, flags: ['interval'] },
    // What of that some node has: in the rest is no pod, and only a default route leads there.
    { kind: 'set', name: `assigned${family}`, type: addr, flags: ['interval'] },
    { kind: 'set', name: `nodes${family}`, type: addr },
    { kind: 'set', name: `self${family}`, type: addr },
    // VXLAN ends of the other nodes: who may speak the overlay's protocol to this one.
    { kind: 'set', name: `vteps${family}`, type: addr },
    // Addresses of this node's pods: what it masquerades.
    { kind: 'set', name: `local${family}`, type: addr, flags: ['interval'] },
    { kind: 'set', name: `routed${family}`, type: addr, flags: ['interval'] },
    // Networks that leave by another node, and those that leave by this one with an address of their own.
    { kind: 'set', name: `via${family}`, type: addr, flags: ['interval'] },
    { kind: 'set', name: `egress_snat${family}`, type: addr, to: addr, flags: ['interval'] },
    { kind: 'set', name: `closed_frontends${family}`, type: `${addr} . inet_proto . inet_service` },
    { kind: 'set', name: `closed_backends${family}`, type: `${addr} . inet_proto . inet_service` },
    { kind: 'set', name: `frontends${family}`, type: `${addr} . inet_proto . inet_service` },
    { kind: 'set', name: `hostbackend${family}`, type: `${addr} . inet_proto . inet_service` },
  ];
}

/**
 * Policies are accept, so that the node itself is never cut off. Isolation between pods is done in the instances, where no foreign
 * `flush ruleset` reaches; here is what keeps strangers out of the overlay, and instances away from the node.
 */
function chains(self: NodeItem): NftObject[] {
  return [...fromPods(self), ...toNodes(), ...forwarding(), ...inputs(self), ...natPost(self)];
}

const both = (rule: (ip: string, family: 4 | 6) => string): string[] => FAMILIES.map((f) => rule(ipWord(f), f));
const OVERLAY = `udp dport ${VXLAN_PORT}`;

/** From another node's VXLAN end to this one's. */
function fromVtep({ underlay }: NodeItem): string {
  const family = familyOf(underlay);
  const ip = ipWord(family);
  return `${OVERLAY} ${ip} daddr ${underlay} ${ip} saddr @vteps${family}`;
}

/** Before connection tracking: who may say that it is whom. */
function fromPods(self: NodeItem): NftObject[] {
  return [
    {
      kind: 'chain',
      name: 'raw_pre',
      hook: { type: 'filter', hook: 'prerouting', priority: 'raw', policy: 'accept' },
      rules: [
        `${fromVtep(self)} iifname != "bh*" notrack accept`,
        'iifname { "bhp*", "bhu*" } ip daddr 127.0.0.0/8 counter name spoofed_source drop',
        'iifname "bhp*" goto from_pod',
        // An address of pods comes only from where the route to it leads: never by the underlay, and by the overlay only from
        // other nodes. An instance has checked its own pods, and lets pods of other nodes out by this one.
        ...both(
          (ip, f) =>
            `iifname != { "bhu*", "lo" } ${ip} saddr @pods${f} ${ip} saddr != @assigned${f} counter name spoofed_source drop`,
        ),
        ...both(
          (ip, f) =>
            `iifname != { "bhu*", "lo" } ${ip} saddr @pods${f} fib saddr . iif oif missing counter name spoofed_source drop`,
        ),
        ...both(
          (ip, f) =>
            `iifname "${OVERLAY_DEV}" ${ip} saddr != @pods${f} fib saddr type local counter name spoofed_source drop`,
        ),
        ...both(
          (ip, f) =>
            `iifname "${OVERLAY_DEV}" ${ip} daddr @via${f} ${ip} saddr != @pods${f} ${ip} saddr != @nodes${f} notrack`,
        ),
      ],
    },
    {
      kind: 'chain',
      name: 'from_pod',
      rules: [...both((ip, f) => `iifname . ${ip} saddr @src${f} accept`), 'counter name spoofed_source drop'],
    },
    {
      kind: 'chain',
      name: 'raw_out',
      hook: { type: 'filter', hook: 'output', priority: 'raw', policy: 'accept' },
      rules: [
        `${OVERLAY} ${ipWord(familyOf(self.underlay))} saddr ${self.underlay} notrack accept`,
        // Not from here: IPVS sends on what came to it by this hook, and never by forward.
        `${OVERLAY} fib saddr type != local counter name vxlan_refused drop`,
        `${OVERLAY} notrack`,
      ],
    },
  ];
}

/** Before kube-proxy translates, or gives the connection another source: behind that, nothing tells whose it was, and what for. */
function toNodes(): NftObject[] {
  return [
    {
      kind: 'chain',
      name: 'node_ports',
      hook: { type: 'filter', hook: 'prerouting', priority: 'mangle', policy: 'accept' },
      rules: [
        'ct state established,related accept',
        shareRule('iifname "bh*" '),
        'iifname "bhu*" goto instance_to_node',
        'iifname "bh*" meta l4proto . th dport @closed_node_ports fib daddr type local goto node_port_closed',
        ...both(
          (ip, f) =>
            `iifname "bhp*" meta l4proto . th dport @closed_node_ports ${ip} daddr @nodes${f} goto node_port_closed`,
        ),
        ...both(
          (ip, f) => `iifname "bhp*" ${ip} daddr . meta l4proto . th dport @closed_frontends${f} goto node_port_closed`,
        ),
      ],
    },
    {
      kind: 'chain',
      name: 'node_port_closed',
      rules: ['ct state established,related accept', 'counter name node_port', 'goto refuse'],
    },
    {
      // An instance reaches nodes, by whichever of their addresses, for replies and where a Service of its allow list runs on one.
      kind: 'chain',
      name: 'instance_to_node',
      rules: [
        'ct state established,related accept',
        ...both((ip, f) => `${ip} daddr . meta l4proto . th dport @hostbackend${f} accept`),
        'fib daddr type { local, broadcast, anycast, multicast } counter name node_address goto refuse',
        ...both((ip, f) => `${ip} daddr @nodes${f} counter name node_address goto refuse`),
        ...both((ip, f) => `${ip} daddr . meta l4proto . th dport @frontends${f} counter name translated goto refuse`),
      ],
    },
    {
      // What leaves an instance goes where it says. Its own address is as good a translation as any other, and the first one
      // stands: an external address of another network's Service takes nothing of it.
      kind: 'chain',
      name: 'nat_instances',
      hook: { type: 'nat', hook: 'prerouting', priority: 'dstnat - 10', policy: 'accept' },
      rules: both((ip) => `iifname "bhu*" dnat ${ip} to ${ip} daddr`),
    },
    {
      kind: 'chain',
      name: 'refuse',
      rules: ['meta l4proto tcp reject with tcp reset', 'reject with icmpx admin-prohibited'],
    },
  ];
}

function forwarding(): NftObject[] {
  return [
    ...FAMILIES.map(byNode),
    {
      kind: 'chain',
      name: 'forward',
      hook: { type: 'filter', hook: 'forward', priority: 'filter - 10', policy: 'accept' },
      rules: [
        // Behind this hook the source may become this node's address, which other nodes take the overlay's packets from. All
        // destinations: another node may be unknown here yet.
        `${OVERLAY} iifname "bh*" oifname != "bh*" counter name vxlan_refused drop`,
        // The same for what a node port of this node leads back out: it came from another node, which has given it its own address.
        `${OVERLAY} ct status dnat oifname != "bh*" counter name vxlan_refused drop`,
        ...both(
          (ip, f) => `${OVERLAY} ${ip} daddr @nodes${f} ${ip} saddr != @vteps${f} counter name vxlan_refused drop`,
        ),
        ...both(
          (ip, f) => `${OVERLAY} ${ip} daddr @nodes${f} fib saddr . iif oif missing counter name vxlan_refused drop`,
        ),
        'ct state established,related accept',
        // Dialled by another name, of a Service whose endpoint is a node port: behind this hook its source becomes this node's.
        ...FAMILIES.flatMap(closedBehind),
        ...both(
          (ip, f) => `ct status dnat ${ip} saddr @nodes${f} ${backend(ip)} @closed_backends${f} jump by_node${f}`,
        ),
        // An instance translates what its network may reach; nat_instances keeps all others from it.
        'iifname "bhu*" ct status dnat counter name translated goto refuse',
        'iifname != "bhp*" oifname != "bhp*" accept',
        // Pods of the flat network: what the sender's policies say, then the receiver's. Behind kube-proxy's translation.
        'ct state invalid drop',
        ...revokedRules(),
        ...fromRules,
        ...toRules,
        'oifname "bhp*" counter name no_endpoint drop',
      ],
    },
  ];
}

/** What a Service by hand leads to a port of a node that is closed to pods: for a pod, and for another node that masqueraded one. */
function closedBehind(f: 4 | 6): string[] {
  const ip = ipWord(f);
  return ['iifname "bhp*"', `${ip} saddr @nodes${f}`].flatMap((who) => [
    `${who} ct status dnat ${ip} daddr @nodes${f} meta l4proto . th dport @closed_node_ports goto node_port_closed`,
    `${who} ct status dnat ${ip} daddr . meta l4proto . th dport @closed_frontends${f} goto node_port_closed`,
  ]);
}

/**
 * What another node sends to a backend that is closed to pods. It may be a pod's connection, under that node's address: those to
 * the Service's own ports have been refused on that node, so these are the node's own processes. Any other way there is another client's
 * Service by hand.
 */
const byNode = (f: 4 | 6): NftObject => ({
  kind: 'chain',
  name: `by_node${f}`,
  rules: [
    // The same number at an outer address is the port of some other Service.
    ...NAT_PROTOCOLS.map((p) => `meta l4proto ${p} ct original ${byNodeAddress(f)} @closed_${p}_ports return`),
    `${backend(ipWord(f))} @host_port_pods${f} return`,
    'goto node_port_closed',
  ],
});

const byNodeAddress = (f: 4 | 6): string => `${ipWord(f)} daddr @nodes${f} ct original proto-dst`;
const backend = (ip: string): string => `${ip} daddr . meta l4proto . th dport`;

function inputs(self: NodeItem): NftObject[] {
  return [
    {
      kind: 'chain',
      name: 'input',
      hook: { type: 'filter', hook: 'input', priority: 'filter - 10', policy: 'accept' },
      rules: [
        `${OVERLAY} accept`, // judged by input_late
        'iifname "bhu*" goto from_instance',
        'iifname "bhp*" ct state established,related accept',
        'iifname vmap @ep_node',
        'iifname @pol_node jump ask_eg',
      ],
    },
    {
      // Behind IPVS, which translates in this hook, at 98.
      kind: 'chain',
      name: 'input_late',
      hook: { type: 'filter', hook: 'input', priority: '110', policy: 'accept' },
      rules: [`${OVERLAY} goto vxlan`],
    },
    {
      // Behind every translation and reassembly: whatever the packet looked like before, this is where it would get in. What raw_pre
      // took for VXLAN is untracked; a tracked packet has become it here, by a node port for example.
      kind: 'chain',
      name: 'vxlan',
      rules: [
        'iifname "bh*" counter name vxlan_refused drop',
        `${fromVtep(self)} ct state untracked accept`,
        'counter name vxlan_refused drop',
      ],
    },
    {
      // Behind kube-proxy's translation; instance_to_node has judged by what was dialled.
      kind: 'chain',
      name: 'from_instance',
      rules: [
        'ct state established,related accept',
        'ct status dnat drop',
        ...both((ip, f) => `${ip} daddr . meta l4proto . th dport @hostbackend${f} accept`),
        'drop',
      ],
    },
  ];
}

function natPost(self: NodeItem): NftObject[] {
  return [natAsItself, masquerade(self)];
}

/**
 * In front of kube-proxy's masquerade, and the first translation stands: a pod of the flat network that a Service by hand leads to such
 * a backend comes there as itself, whatever it dialled, and the gate of that network judges it by what the pod behind it opens.
 */
const natAsItself: NftObject = {
  kind: 'chain',
  name: 'nat_as_itself',
  hook: { type: 'nat', hook: 'postrouting', priority: 'srcnat - 5', policy: 'accept' },
  rules: both(
    (ip, f) =>
      `${ip} saddr @pods${f} ${backend(ip)} @closed_backends${f} ${backend(ip)} != @host_port_pods${f} snat ${ip} to ${ip} saddr`,
  ),
};

function masquerade(self: NodeItem): NftObject {
  return {
    kind: 'chain',
    name: 'nat_post',
    hook: { type: 'nat', hook: 'postrouting', priority: 'srcnat + 10', policy: 'accept' },
    rules: self.podCIDRs.flatMap((c) => {
      const family = familyOf(c);
      const ip = ipWord(family);
      const node = nodeAddress(c);
      return [
        // A pod's connection to a node port: the gate of the Service's network knows the node, and refuses pods of other networks.
        `ct original ${ip} daddr @nodes${family} ${ip} saddr @pods${family} ct status dnat oifname "bh*" snat ${ip} to ${node}`,
        // A host port, used by the pod itself or from the node's loopback: the answer must come back here.
        `${ip} saddr . ${ip} daddr @mapped${family} snat ${ip} to ${node}`,
        ...(family === 4 ? [`ip saddr 127.0.0.0/8 ct status dnat oifname "bh*" snat ip to ${node}`] : []),
        `${ip} daddr != @pods${family} oifname != "bh*" snat ${ip} to ${ip} saddr map @egress_snat${family}`,
        `${ip} saddr @local${family} ${ip} daddr != @pods${family} oifname != "bh*" ${ip} saddr != @routed${family} masquerade`,
      ];
    }),
  };
}
