import { MOST_ADDRESSES, MOST_ROUTES } from '../../api/report.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, covers, hostCidr, mustPrefix } from '../../lib/ip/prefix.ts';
import type { Netlink } from '../../lib/netlink/netlink.ts';
import { isOurLink } from '../plan/names.ts';

/** What of a node is the node, beside its pods: see the report's `addresses` and `routes`. Sorted. */
export type HostAddresses = { readonly addresses: readonly string[]; readonly routes: readonly string[] };

/** Of this host alone: nothing elsewhere reaches it by these. */
const HERE = ['127.0.0.0/8', '::1/128', 'fe80::/10'].map(mustPrefix);

/** On this device kube-proxy (mode ipvs) puts the addresses of all Services: they belong to no node. */
const SERVICE_DEVICE = 'kube-ipvs0';

/**
 * Reads the node's own addresses and routes; its resolvers are reached by routes like these. Whatever Bulkhead itself has put there is left out: its devices, what lies in the
 * node's pod CIDRs, and fixed egress addresses.
 */
export function hostAddresses(
  netlink: Pick<Netlink, 'hostAddresses' | 'hostRoutes'>,
  {
    podCIDRs,
    egress,
    resolvers,
  }: {
    readonly podCIDRs: readonly string[];
    readonly egress: readonly string[];
    readonly resolvers: readonly string[];
  },
): HostAddresses {
  const inside = [...HERE, ...podCIDRs.map(mustPrefix)];
  const addresses = netlink
    .hostAddresses()
    .filter(({ dev, ip, lent }) => !lent && !isOurLink(dev) && dev !== SERVICE_DEVICE && !egress.includes(ip))
    .map(({ ip }) => ip)
    .filter((ip) => !inside.some((p) => contains(p, mustIp(ip))));
  const routed = netlink
    .hostRoutes()
    .filter(({ dst, dev }) => !isOurLink(dev) && dev !== 'lo' && !dst.endsWith('/0'))
    .map(({ dst }) => dst);
  const routes = [...routed, ...resolvers.map(hostCidr)].filter(
    (dst) => !inside.some((p) => covers(p, mustPrefix(dst))),
  );
  return { addresses: first(addresses, MOST_ADDRESSES), routes: first(routes, MOST_ROUTES) };
}

const first = (texts: readonly string[], most: number): string[] => [...new Set(texts)].sort().slice(0, most);
