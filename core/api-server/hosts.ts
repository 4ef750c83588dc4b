import type { ApiServers } from '../../api/nodeconfig.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import type { ClusterState } from '../cluster/state.ts';

type Seen = Pick<ClusterState, 'slices' | 'nodes' | 'podCIDRs' | 'serviceCIDRs'>;

/**
 * The hosts of the API servers: endpoints of `default/kubernetes`. Only the slice that the API server itself keeps (its name is
 * "kubernetes") counts, so that editing other slices of the namespace `default` makes no host an API server. An address of a pod or
 * a Service is never one.
 */
export function apiServerHosts({ slices, nodes, podCIDRs, serviceCIDRs }: Seen): ApiServers {
  const slice = slices.get('default/kubernetes');
  if (slice?.service !== 'kubernetes') return { nodes: [], addresses: [] };
  const owner = new Map([...nodes.values()].flatMap((n) => n.addresses.map((a) => [a, n.name] as const)));
  const inside = [...podCIDRs, ...serviceCIDRs].map(mustPrefix);
  const found = { nodes: new Set<string>(), addresses: new Set<string>() };
  for (const { ip } of slice.endpoints) {
    const node = owner.get(ip);
    if (node !== undefined) found.nodes.add(node);
    else if (!inside.some((prefix) => contains(prefix, mustIp(ip)))) found.addresses.add(ip);
  }
  return { nodes: [...found.nodes].sort(), addresses: [...found.addresses].sort() };
}
