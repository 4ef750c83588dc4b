import type { NetworkItem, NodeItem } from '../../api/nodeconfig.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { Sysctls } from '../../lib/netns/sysctl.ts';
import { element, type Fragment } from './fragment.ts';
import { FAMILIES, podCidrOf, UPLINK_DEV, UPLINK_HOP, VXLAN_DEV } from './names.ts';
import { overlayHop, vtep } from './remote.ts';

/**
 * A network with a fixed egress address leaves the cluster by one node. On the others its instance sends what is for the outside
 * through its VXLAN to the instance of that node, which lets it out to its root, where it gets the address. Replies come back by
 * the overlay of the flat network to the root of the pod's node: no connection tracking but the pod's own instance sees both
 * directions, apart from the root that translates, and the others do not track it at all.
 */
export type EgressWay = { readonly holder: NodeItem; readonly here: boolean; readonly addresses: readonly string[] };

/** Where a network leaves the cluster; undefined: on each node by itself. */
export function egressWay(
  network: Pick<NetworkItem, 'egressVia'>,
  self: NodeItem,
  nodes: ReadonlyMap<string, NodeItem>,
): EgressWay | undefined {
  const holder = nodes.get(network.egressVia?.node ?? '');
  if (!holder || !network.egressVia) return undefined;
  return { holder, here: holder.name === self.name, addresses: network.egressVia.addresses };
}

/** Whether packets of a family go to another node for that: a family without a fixed address leaves on each node by itself. */
export const leavesElsewhere = (way: Pick<EgressWay, 'here' | 'addresses'> | undefined, family: 4 | 6): boolean =>
  way?.here === false && way.addresses.some((a) => familyOf(a) === family);

/** In the instance. `own`: all prefixes of the network; `inside`: what of the cluster is reached by the uplink as ever. */
export function planWay(way: EgressWay, own: readonly string[], inside: readonly string[]): Fragment {
  const nft = own.map((prefix) => element(`own${familyOf(prefix)}`, prefix));
  if (way.here) return { nft };
  const hops = FAMILIES.filter((f) => leavesElsewhere(way, f)).flatMap((f) => {
    const cidr = podCidrOf(way.holder, f);
    return cidr === undefined ? [] : [{ dst: f === 4 ? '0.0.0.0/0' : '::/0', via: overlayHop(way.holder, cidr) }];
  });
  return {
    nft,
    routes: [
      ...hops.map(({ dst, via }) => ({ dst, via, type: 'unicast' as const, dev: VXLAN_DEV, onlink: true })),
      ...inside.map((dst) => ({
        dst,
        type: 'unicast' as const,
        dev: UPLINK_DEV,
        via: UPLINK_HOP[familyOf(dst)],
        onlink: true,
      })),
    ],
    ...vtep(VXLAN_DEV, way.holder),
    sysctls: UNCHECKED,
  };
}

/** In the root: the address on the node that has it; no tracking of half a connection on the others. */
export function planWayRoot(way: EgressWay, own: readonly string[], localBlocks: readonly string[]): Fragment {
  if (!way.here) return { nft: localBlocks.map((cidr) => element(`via${familyOf(cidr)}`, cidr)) };
  return {
    nft: own.flatMap((prefix) => {
      const address = way.addresses.find((a) => familyOf(a) === familyOf(prefix));
      return address === undefined ? [] : [element(`egress_snat${familyOf(prefix)}`, prefix, address)];
    }),
  };
}

/**
 * Replies come by another way than the request left. Loose checking would do, but the kernel is strict all the same on a device
 * without an address (fib_validate_source). Who may send is checked at the pods.
 */
const UNCHECKED: Sysctls = { [`net/ipv4/conf/${UPLINK_DEV}/rp_filter`]: '0' };
