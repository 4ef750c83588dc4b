import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import type { ClusterState, Node } from '../cluster/state.ts';
import { withReport } from './reported.ts';

/** An address of a node's own network namespace, with its device. */
export type LinkAddress = { readonly dev: string; readonly ip: string };

/** What the agent itself puts on a node, and what kube-proxy (mode ipvs) puts there of Services. */
const NOT_OF_THE_NODE = /^(bh([pu].+|0)|kube-ipvs0)$/;
/** The device of NodeLocal DNSCache: what it listens on answers on every node. */
const DNS_CACHE = 'nodelocaldns';
const LINK_LOCAL = mustPrefix('169.254.0.0/16');
const HERE = ['127.0.0.0/8', '::1/128', 'fe80::/10'].map(mustPrefix);

/**
 * A node with the addresses that it has in its kernel, for questions about it: as an agent reports them to the controller, and
 * besides those that only its own pods can dial.
 */
export function withLinks(
  node: Node,
  links: readonly LinkAddress[],
  ranges: Pick<ClusterState, 'podCIDRs' | 'serviceCIDRs'>,
): Node {
  const own = links.filter(
    ({ dev, ip }) => !NOT_OF_THE_NODE.test(dev) && !HERE.some((prefix) => contains(prefix, mustIp(ip))),
  );
  const local = own.filter(({ dev, ip }) => dev === DNS_CACHE || contains(LINK_LOCAL, mustIp(ip)));
  const addresses = own.filter((l) => !local.includes(l)).map((l) => l.ip);
  const known = withReport(node, { addresses, routes: [] }, ranges);
  return { ...known, ...(local.length > 0 ? { local: [...new Set(local.map((l) => l.ip))].sort() } : {}) };
}
