import { FLAT_NETWORK } from '../../api/names.ts';
import type { NetworkKey, PeerItem } from '../../api/nodeconfig.ts';
import { covers, hostCidr, mustPrefix } from '../../lib/ip/prefix.ts';
import { keyOf, type Service } from '../cluster/state.ts';
import { networkOf, type View } from '../cluster/view.ts';
import { combine, type Grant } from './connect.ts';

/** What a node's gate of `network` must know of each network that it is connected with, and which Services go with it. */
export function peersOf(
  view: View,
  network: NetworkKey,
): { readonly peer: PeerItem; readonly services: readonly Service[] }[] {
  return [...(view.connections.get(network) ?? [])].map(([other, grants]) => {
    const services = (view.servicesByNetwork.get(other) ?? []).filter(
      (s) => other !== FLAT_NETWORK || grants.some((g) => g.namespaces?.has(s.namespace)),
    );
    const parts = other === FLAT_NETWORK ? flatParts(view, grants) : [wholeNetwork(view, other, grants)];
    return { peer: { network, other, parts, services: services.map(keyOf).sort() }, services };
  });
}

function wholeNetwork(view: View, other: NetworkKey, grants: readonly Grant[]): PeerItem['parts'][number] {
  const { pods, services } = combine(grants);
  return { prefixes: prefixesOf(view, other), pods, services };
}

/** The flat network has no prefix of its own for each namespace: its pods are named one by one, by what holds for them. */
function flatParts(view: View, grants: readonly Grant[]): PeerItem['parts'][number][] {
  const byNamespace = new Map<string, string[]>();
  for (const pod of view.state.pods.values()) {
    if (!grants.some((g) => g.namespaces?.has(pod.namespace)) || networkOf(view, pod) !== FLAT_NETWORK) continue;
    const ips = byNamespace.get(pod.namespace) ?? [];
    byNamespace.set(pod.namespace, [...ips, ...pod.ips.map(hostCidr)]);
  }
  return [...byNamespace]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([namespace, prefixes]) => {
      const { pods, services } = combine(grants, namespace);
      return { prefixes: prefixes.sort(), pods, services };
    });
}

const coversText = (outer: string, inner: string): boolean => covers(mustPrefix(outer), mustPrefix(inner));

/** All prefixes that only pods of this network have addresses from. Sorted, disjoint. */
export function prefixesOf(view: View, network: NetworkKey): string[] {
  const subnets = view.state.networks.get(network)?.spec?.subnets ?? [];
  const blocks = (view.blocksByNetwork.get(network) ?? []).map((b) => b.cidr);
  return [...new Set([...subnets, ...blocks.filter((b) => !subnets.some((s) => coversText(s, b)))])].sort();
}
