import { canonicalIp, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { holderOf } from '../egress/holder.ts';
import { nodeAddress, probeSource } from '../nodes/addresses.ts';
import { networkOf, type View } from '../view/view.ts';
import type { Destination } from './decision.ts';

/** The address that NodeLocal DNSCache listens on, unless it is told otherwise. */
const NODE_LOCAL_DNS = '169.254.20.10';

/** Whether an address means the sender's own node and nothing else: link-local, or taken by a DNS cache on the node. */
function isLocalTo(view: View, node: string, address: string): boolean {
  if (view.state.nodes.get(node)?.local?.includes(address)) return true;
  return (
    address === NODE_LOCAL_DNS &&
    [...view.state.pods.values()].some(
      (p) => p.hostNetwork && !p.finished && p.node === node && p.labels['k8s-app'] === 'node-local-dns',
    )
  );
}

/** What stands behind an address. `frontends`: outer addresses of Services count. `node`: where the sender is. */
export function destinationOf(
  view: View,
  address: string,
  { frontends = true, node: here = '' }: { readonly frontends?: boolean; readonly node?: string } = {},
): Destination {
  if (here !== '' && isLocalTo(view, here, address)) return { kind: 'Node', node: here };
  const extra = view.extraByIp.get(address);
  if (extra) return { kind: 'Pod', ...extra };
  const pod = view.podByIp.get(address);
  if (pod) {
    const network = networkOf(view, pod);
    if (network !== undefined) return { kind: 'Pod', pod, network };
  }
  for (const [network, services] of view.servicesByNetwork) {
    const service = services.find(
      (s) => s.clusterIPs.includes(address) || (frontends && s.frontends.some((f) => f.ip === address)),
    );
    if (service) return { kind: 'Service', service, network };
  }
  // Bridges of several nodes have one address: the sender's own node is nearest.
  const own = view.state.nodes.get(here);
  for (const node of [...(own ? [own] : []), ...view.state.nodes.values()])
    if (node.addresses.includes(address) || node.further.includes(address)) return { kind: 'Node', node: node.name };
  const holder = egressHolderAt(view, address);
  if (holder !== undefined) return { kind: 'Node', node: holder };
  const ip = mustIp(address);
  const inside = (cidrs: readonly string[]): boolean => cidrs.some((c) => contains(mustPrefix(c), ip));
  for (const [key, network] of view.state.networks)
    if (inside(network.spec?.subnets ?? [])) return { kind: 'Cluster', what: `address ${address} of network ${key}` };
  if (inside(view.state.podCIDRs)) {
    const isOwn = (cidr: string): boolean => nodeAddress(cidr) === address || probeSource(cidr) === address;
    const node = [...view.state.nodes.values()].find((n) => inside(n.podCIDRs) && n.podCIDRs.some(isOwn));
    return node
      ? { kind: 'Node', node: node.name, internal: true }
      : { kind: 'Cluster', what: `pod address ${address}` };
  }
  if (inside(view.state.serviceCIDRs)) return { kind: 'Cluster', what: `Service address ${address}` };
  if (inside(LOCAL)) return { kind: 'Cluster', what: `link-local address ${address}` };
  return { kind: 'External' };
}

/** The node that has a fixed egress address: it is that node's as much as its others. */
function egressHolderAt(view: View, address: string): string | undefined {
  for (const [key, { spec }] of view.state.networks) {
    if (!spec?.egress.addresses?.some((a) => canonicalIp(a) === address)) continue;
    const node = holderOf(view, key);
    if (node !== undefined) return node;
  }
  return undefined;
}

/** Ranges that never lead out of a machine or a link. */
export const LOCAL = ['127.0.0.0/8', '169.254.0.0/16', '::1/128', 'fe80::/10'];
