import type { NodeReport } from '../../api/report.ts';
import { canonicalIp, mustIp } from '../../lib/ip/address.ts';
import { contains, covers, formatPrefix, mustPrefix, parsePrefix } from '../../lib/ip/prefix.ts';
import type { ClusterState, Node } from '../cluster/state.ts';

/** Addresses of one node that only its agent knows of. */
const MOST_FURTHER = 64;

/** Ranges that no node is reached by from elsewhere: this host, loopback, link-local, multicast, reserved (RFC 6890). */
const NOWHERE = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/8', 'fe80::/10', 'ff00::/8'].map(
  mustPrefix,
);

/** Wider routes are a default route in pieces (VPNs write 0.0.0.0/1 and 128.0.0.0/1), and say nothing of where a node is. */
export const WIDEST_ROUTE = { 4: 8, 6: 16 } as const;

/**
 * A node with what its agent reports of it.
 *
 * An agent's token may be stolen, so its word only ever closes: a reported address is one more that pods may not reach as they may
 * not reach nodes, and a reported route one more range that networks may not take. It says nothing about addresses of pods and
 * Services, which have their owners already, and about a bounded number of others.
 */
export function withReport(
  node: Node,
  report: Pick<NodeReport, 'addresses' | 'routes'> | undefined,
  { podCIDRs, serviceCIDRs }: Pick<ClusterState, 'podCIDRs' | 'serviceCIDRs'>,
): Node {
  if (!report) return { ...node, unheard: true };
  const owned = [...NOWHERE, ...[...podCIDRs, ...node.podCIDRs, ...serviceCIDRs].map(mustPrefix)];
  const known = new Set([...node.addresses, ...node.further]);
  const further = report.addresses
    .flatMap((a) => canonicalIp(a) ?? [])
    .filter((a) => !known.has(a) && !owned.some((o) => contains(o, mustIp(a))));
  const routes = report.routes.flatMap((text) => {
    const p = parsePrefix(text);
    return p && p.length >= WIDEST_ROUTE[p.family] && !owned.some((o) => covers(o, p)) ? [formatPrefix(p)] : [];
  });
  return {
    ...node,
    further: [...node.further, ...new Set(further.sort().slice(0, MOST_FURTHER))],
    routes: [...new Set(routes)].sort(),
  };
}
