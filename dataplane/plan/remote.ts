import { familyOf } from '../../lib/ip/address.ts';
import type { BlockItem, NodeItem } from '../../api/nodeconfig.ts';
import { element, type Fragment } from './fragment.ts';
import { OVERLAY_DEV, podCidrOf, VXLAN_DEV, vtepHop, vtepMac } from './names.ts';
import { nodeAddress } from '../../core/nodes/addresses.ts';

/** A block of the same network on another node. In IPv4 the next hop is that node's `.0`: an address of the overlay only. */
export function planRemoteBlock(block: BlockItem, owner: NodeItem): Fragment {
  const family = familyOf(block.cidr);
  const cidr = podCidrOf(owner, family);
  if (cidr === undefined) return {};
  return {
    routes: [{ dst: block.cidr, type: 'unicast', dev: VXLAN_DEV, via: overlayHop(owner, cidr), onlink: true }],
    ...vtep(VXLAN_DEV, owner),
  };
}

/** Another node, seen from the flat network: its whole pod CIDR. */
export function planRemoteNode(node: NodeItem): Fragment {
  if (node.podCIDRs.length === 0) return {};
  return {
    routes: node.podCIDRs.map((c) => ({
      dst: c,
      type: 'unicast',
      dev: OVERLAY_DEV,
      via: nodeAddress(c),
      onlink: true,
    })),
    nft: node.podCIDRs.map((c) => element(`assigned${familyOf(c)}`, c)),
    ...vtep(OVERLAY_DEV, node),
  };
}

/** A block of another node that is in no pod CIDR: the root reaches it as it reaches that node's own. */
export function planRemoteGiven(block: BlockItem, owner: NodeItem): Fragment {
  const cidr = podCidrOf(owner, familyOf(block.cidr));
  if (cidr === undefined) return {};
  return {
    routes: [{ dst: block.cidr, type: 'unicast', dev: OVERLAY_DEV, via: nodeAddress(cidr), onlink: true }],
    nft: [element(`assigned${familyOf(block.cidr)}`, block.cidr)],
    ...vtep(OVERLAY_DEV, owner),
  };
}

/** Next hop to another node inside an instance's overlay, of the family of its pod CIDR. */
export const overlayHop = (node: NodeItem, podCIDR: string): string =>
  familyOf(podCIDR) === 6 ? vtepHop(node.underlay) : nodeAddress(podCIDR);

/** How another node's end of an overlay is found. */
export function vtep(dev: string, node: NodeItem): Pick<Fragment, 'neighbours' | 'fdb'> {
  const mac = vtepMac(node.underlay);
  return {
    neighbours: node.podCIDRs.map((c) => ({
      dev,
      ip: dev === VXLAN_DEV ? overlayHop(node, c) : nodeAddress(c),
      mac,
    })),
    fdb: [{ dev, mac, dst: node.underlay }],
  };
}
