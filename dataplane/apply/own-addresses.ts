import { FLAT_NETWORK } from '../../api/names.ts';
import { probeSource } from '../../core/nodes/addresses.ts';
import { type Desired, selfOf } from '../desired/desired.ts';
import type { Places } from './places.ts';

/** What is this node itself, seen from a network: its own processes use other addresses towards an instance. */
export function ownAddressesIn(key: string, desired: Desired, { root }: Places): string[] {
  if (key === FLAT_NETWORK) return root.netlink.addresses().map((a) => a.cidr.split('/')[0] ?? '');
  const self = selfOf(desired);
  return [...(self?.podCIDRs.map(probeSource) ?? []), ...(self?.addresses ?? [])];
}
