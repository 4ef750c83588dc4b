import { formatIp } from '../../lib/ip/address.ts';
import { mustPrefix, nth } from '../../lib/ip/prefix.ts';

/** Address `.0` of a node's pod CIDR: what the node masquerades to towards pods, and its next hop inside overlays. */
export const nodeAddress = (podCIDR: string): string => formatIp(nth(mustPrefix(podCIDR), 0));

/** Address `.1` of a node's pod CIDR: source of this node's own processes towards its own pods. */
export const probeSource = (podCIDR: string): string => formatIp(nth(mustPrefix(podCIDR), 1));

/** The addresses of a pod CIDR that belong to the node itself: `.0` to `.3`. No pod ever has one. */
export const ownAddresses = (podCIDR: string): string[] =>
  [0, 1, 2, 3].map((i) => formatIp(nth(mustPrefix(podCIDR), i)));
