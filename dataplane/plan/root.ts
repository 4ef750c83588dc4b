import { hostCidr } from '../../lib/ip/prefix.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { NodeItem } from '../../api/nodeconfig.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { element, type Fragment } from './fragment.ts';
import { addrType, FAMILIES, ipWord, nodeAddress, OVERLAY_DEV, probeSource, VXLAN_PORT, vtepMac } from './names.ts';
import { FLAT_VNI } from '../../api/names.ts';

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
export function planRootSets(nodes: Iterable<NodeItem>, podRanges: readonly string[]): Fragment {
  const nft: NftObject[] = podRanges.map((range) => element(`pods${familyOf(range)}`, range));
  for (const node of nodes) for (const a of node.addresses) nft.push(element(`nodes${familyOf(a)}`, a));
  return { nft };
}

/** `rp_filter` 2, loose: see planUplink; the kernel takes the larger of this and "all". */
const ROOT_SYSCTLS = {
  'net/ipv4/ip_forward': '1',
  'net/ipv6/conf/all/forwarding': '1',
  [`net/ipv4/conf/${OVERLAY_DEV}/rp_filter`]: '2',
} as const;

function rootTable(self: NodeItem): NftObject[] {
  return [{ kind: 'counter', name: 'spoofed_source' }, ...FAMILIES.flatMap(familySets), ...chains(self)];
}

function familySets(family: 4 | 6): NftObject[] {
  const addr = addrType(family);
  return [
    { kind: 'set', name: `src${family}`, type: `ifname . ${addr}` },
    { kind: 'set', name: `pods${family}`, type: addr, flags: ['interval'] },
    { kind: 'set', name: `nodes${family}`, type: addr },
    { kind: 'set', name: `routed${family}`, type: addr, flags: ['interval'] },
    { kind: 'set', name: `hostbackend${family}`, type: `${addr} . inet_proto . inet_service` },
  ];
}

/**
 * Nothing here is needed for isolation: that is done in the instances, where no foreign `flush ruleset` reaches. Policies are
 * accept, so that the node itself is never cut off.
 */
function chains(self: NodeItem): NftObject[] {
  const both = (rule: (ip: string, family: 4 | 6) => string): string[] => FAMILIES.map((f) => rule(ipWord(f), f));
  const overlay = `udp dport ${VXLAN_PORT}`;
  return [
    {
      kind: 'chain',
      name: 'raw_pre',
      hook: { type: 'filter', hook: 'prerouting', priority: 'raw', policy: 'accept' },
      rules: [
        // A pod may neither forge its source nor speak the overlay's own protocol to a node.
        'iifname "bhp*" goto from_pod',
        `iifname "bhu*" ${overlay} fib daddr type local drop`,
        `iifname != "bh*" ${overlay} notrack`,
      ],
    },
    {
      kind: 'chain',
      name: 'from_pod',
      rules: [
        ...both((ip, f) => `iifname . ${ip} saddr @src${f} goto from_pod_checked`),
        'counter name spoofed_source drop',
      ],
    },
    { kind: 'chain', name: 'from_pod_checked', rules: both((ip, f) => `${ip} daddr @nodes${f} ${overlay} drop`) },
    {
      kind: 'chain',
      name: 'raw_out',
      hook: { type: 'filter', hook: 'output', priority: 'raw', policy: 'accept' },
      rules: [`${overlay} notrack`],
    },
    {
      kind: 'chain',
      name: 'forward',
      hook: { type: 'filter', hook: 'forward', priority: 'filter - 10', policy: 'accept' },
      rules: both((ip, f) => `iifname "bh*" ${ip} daddr @nodes${f} ${overlay} drop`),
    },
    {
      kind: 'chain',
      name: 'input',
      hook: { type: 'filter', hook: 'input', priority: 'filter - 10', policy: 'accept' },
      rules: ['iifname "bhu*" goto from_instance'],
    },
    {
      // An instance reaches the node itself for replies, and where a Service of its allow list runs on the host.
      kind: 'chain',
      name: 'from_instance',
      rules: [
        'ct state established,related accept',
        ...both((ip, f) => `${ip} daddr . meta l4proto . th dport @hostbackend${f} accept`),
        'drop',
      ],
    },
    {
      kind: 'chain',
      name: 'nat_post',
      hook: { type: 'nat', hook: 'postrouting', priority: 'srcnat + 10', policy: 'accept' },
      rules: self.podCIDRs.flatMap((c) => {
        const family = familyOf(c);
        const ip = ipWord(family);
        return [
          `${ip} saddr ${c} ${ip} daddr != @pods${family} oifname != "bh*" ${ip} saddr != @routed${family} masquerade`,
        ];
      }),
    },
  ];
}
