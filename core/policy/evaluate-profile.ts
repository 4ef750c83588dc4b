import type { ProfileSide, Protocol } from '../../api/nodeconfig.ts';
import { admits } from '../cluster/ports.ts';
import { meets } from './cell.ts';
import { type SideVerdict, walk } from './walk.ts';

/** What one side of a resolved profile says of a connection, with its reasons. Port 0 for ICMP and the like. */
export function evaluateProfile(
  side: ProfileSide,
  groups: ReadonlySet<string>,
  { protocol, port }: { readonly protocol: Protocol | 'ICMP'; readonly port: number },
  options: { readonly ownNode?: boolean } = {},
): SideVerdict {
  return walk(side, (r) => r.matches.some((m) => meets(m.peers, groups) && admits(m.ports, protocol, port)), options);
}
