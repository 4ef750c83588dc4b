import { familyOf } from '../../lib/ip/address.ts';
import type { PortMapping } from '../../api/cni.ts';
import type { NodeItem } from '../../api/nodeconfig.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { element, type Fragment } from './fragment.ts';
import { planMappedPorts } from './host-ports.ts';
import { GATEWAY, GATEWAY_MAC, podCidrOf } from './names.ts';
import { probeSource } from '../../core/nodes/addresses.ts';

/** What of an attachment the plan needs. */
export type PodLink = {
  readonly hostIf: string;
  readonly mac: string;
  readonly ips: readonly string[];
  readonly mtu: number;
  /** Of an interface beside the first: addresses of the first, by which the pod may meet itself here. */
  readonly first?: readonly string[];
  /** Ports of the node that lead to it. */
  readonly ports?: readonly PortMapping[];
};

/** A chain of policies; `ask`: whether the maps are to be asked behind it. See policy.ts. */
export type PodChain = { readonly name: string; readonly ask: boolean };

/** For what a pod sends, for what it is sent, and for what it sends to its own node; each absent when nothing is to be asked. */
export type PodChains = { readonly from?: PodChain; readonly to?: PodChain; readonly node?: PodChain };

function policyElements({ hostIf }: PodLink, { from, to }: PodChains): NftObject[] {
  const name = `"${hostIf}"`;
  const asked = (set: 'pol_from' | 'pol_to', chain: PodChain | undefined): NftObject[] =>
    chain?.ask ? [element(set, name)] : [];
  return [
    // Every interface is named, also one without policies: what is not named is dropped (or, as a sender, spoofed).
    ...(from ? [element('ep_from', name, `jump ${from.name}`)] : []),
    ...asked('pol_from', from),
    element('ep_to', name, to ? `${to.ask ? 'jump' : 'goto'} ${to.name}` : 'accept'),
    ...asked('pol_to', to),
  ];
}

/** A pod on an instance. */
export function planPod(pod: PodLink, chains: PodChains): Fragment {
  const nft: NftObject[] = pod.ips.flatMap((ip) => {
    const family = familyOf(ip);
    const itself = [ip, ...(pod.first ?? []).filter((other) => familyOf(other) === family)];
    return [
      element(`src${family}`, `"${pod.hostIf}" . ${ip}`),
      // A packet from one of its own addresses would be dropped by the pod, so it meets itself under another address.
      ...itself.map((own) => element(`hairpin${family}`, `${own} . ${ip}`)),
    ];
  });
  nft.push(...policyElements(pod, chains));
  nft.push(...planMappedPorts(pod.ips, pod.ports ?? []));
  return {
    ...links(pod),
    routes: pod.ips.map((ip) => ({ dst: hostCidr(ip), type: 'unicast', dev: pod.hostIf, ...linkScope(ip) })),
    nft,
  };
}

/** A pod on the flat network, in the root. */
export function planFlatPod(pod: PodLink, self: NodeItem, chains: PodChains): Fragment {
  return {
    ...links(pod),
    routes: pod.ips.map((ip) => {
      const cidr = podCidrOf(self, familyOf(ip));
      return {
        dst: hostCidr(ip),
        type: 'unicast',
        dev: pod.hostIf,
        ...linkScope(ip),
        ...(cidr === undefined ? {} : { src: probeSource(cidr) }),
      };
    }),
    nft: [
      ...pod.ips.map((ip) => element(`src${familyOf(ip)}`, `"${pod.hostIf}" . ${ip}`)),
      ...policyElements(pod, chains),
      ...(chains.node
        ? [element('ep_node', `"${pod.hostIf}"`, `jump ${chains.node.name}`), element('pol_node', `"${pod.hostIf}"`)]
        : []),
    ],
    // A connection from the node's loopback to a host port goes on to the pod; root's table lets no pod use that.
    ...(pod.ports ? { sysctls: { [`net/ipv4/conf/${pod.hostIf}/route_localnet`]: '1' } } : {}),
  };
}

function links(pod: PodLink): Pick<Fragment, 'links' | 'addresses' | 'neighbours'> {
  return {
    links: [{ name: pod.hostIf, mac: GATEWAY_MAC, mtu: pod.mtu, make: { kind: 'pod' } }],
    // The kernel needs an address of the link to answer a pod with ICMPv6 errors (packet too big).
    addresses: pod.ips.some((ip) => ip.includes(':'))
      ? [{ dev: pod.hostIf, cidr: `${GATEWAY[6]}/64`, scope: 'link' }]
      : [],
    neighbours: pod.ips.map((ip) => ({ dev: pod.hostIf, ip, mac: pod.mac })),
  };
}

const linkScope = (ip: string): { readonly scope?: 'link' } => (ip.includes(':') ? {} : { scope: 'link' });
