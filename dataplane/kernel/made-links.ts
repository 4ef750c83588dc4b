import { type Link, vxlanDetails } from '../../lib/netlink/link.ts';
import type { DesiredLink } from '../plan/fragment.ts';

/** What of a device is compared with what it should be. */
export type RealLink = Pick<Link, 'mac' | 'mtu' | 'up' | 'kind' | 'vxlan'>;

/** Whether a device needs no change. */
export const sameLink = (a: DesiredLink | RealLink, b: DesiredLink | RealLink): boolean =>
  a.mac === b.mac && a.mtu === b.mtu && (!('up' in b) || (b.up && !('make' in a && isOtherwise(a, b))));

/** What a link that was made in this way shows. */
export const madeOf = (make: DesiredLink['make']): Pick<RealLink, 'kind' | 'vxlan'> =>
  make.kind === 'vxlan' ? { kind: 'vxlan', vxlan: vxlanDetails(make) } : { kind: 'veth', vxlan: undefined };

/** Whether a link has to be made anew. Those that only others can make are taken as they are. */
export function isOtherwise({ make }: DesiredLink, real: RealLink): boolean {
  if (make.kind !== 'vxlan' && make.kind !== 'uplink') return false;
  const wanted = madeOf(make);
  return wanted.kind !== real.kind || JSON.stringify(wanted.vxlan) !== JSON.stringify(real.vxlan);
}
