import { FLAT_NETWORK } from '../../api/names.ts';
import type { NetworkKey, PeerItem } from '../../api/nodeconfig.ts';
import { covers, mustPrefix } from '../../lib/ip/prefix.ts';
import { keyOf, type Service } from '../cluster/state.ts';
import { flatSources } from '../view/flat-sources.ts';
import type { View } from '../view/view.ts';
import { combine, type Grant } from '../routers/connect.ts';

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
  const namespaces = new Set(grants.flatMap((g) => [...(g.namespaces ?? [])]));
  return [...namespaces].sort().flatMap((namespace) => {
    const prefixes = flatSources(view, namespace);
    if (prefixes.length === 0) return [];
    const { pods, services } = combine(grants, namespace);
    return [{ prefixes, pods, services }];
  });
}

const coversText = (outer: string, inner: string): boolean => covers(mustPrefix(outer), mustPrefix(inner));

/** All prefixes that only pods of this network have addresses from. Sorted, disjoint. */
export function prefixesOf(view: View, network: NetworkKey): string[] {
  const subnets = view.state.networks.get(network)?.spec?.subnets ?? [];
  const blocks = (view.blocksByNetwork.get(network) ?? []).map((b) => b.cidr);
  return [...new Set([...subnets, ...blocks.filter((b) => !subnets.some((s) => coversText(s, b)))])].sort();
}
