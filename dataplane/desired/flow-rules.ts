import type { NetworkItem } from '../../api/nodeconfig.ts';
import type { BlockUse } from '../../core/ipam/node-ipam.ts';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import type { ConfigStore } from '../follow/config-store.ts';
import { apiServerSources } from '../plan/api-server.ts';
import type { FlowRules } from '../plan/gate-facts.ts';
import type { ClusterRanges } from './cluster-ranges.ts';
import type { LocalNetworks } from './local-networks.ts';
import { reachedServices } from './reached-services.ts';

/**
 * All that decides in a network's instance whether a connection may be made.
 *
 * @param mapped ports of pods that host ports of this node lead to
 */
export function flowRules(
  {
    store,
    local,
    ranges,
  }: { readonly store: ConfigStore; readonly local: LocalNetworks; readonly ranges: ClusterRanges },
  asked: NetworkItem,
  blocks: readonly BlockUse[],
  mapped: ReadonlySet<string>,
): FlowRules {
  const network = local.here(asked);
  const { config, index } = store;
  const self = config.node.get(local.nodeName);
  const nodes = [...config.node.values()];
  const own = [...blocks.filter((b) => b.network === network.key), ...(index.blocks.get(network.key) ?? [])];
  return {
    network,
    own: own.map((b) => b.cidr),
    pods: ranges.pods,
    cluster: ranges.inside,
    nodes: nodes.flatMap((n) => n.podCIDRs.flatMap((c) => [nodeAddress(c), probeSource(c)])),
    masqueraded: nodes.flatMap((n) => n.podCIDRs.map(nodeAddress)),
    probes: self?.podCIDRs.map(probeSource) ?? [],
    mapped,
    apiServers: apiServerSources({ name: local.nodeName }, nodes, local.apiServers),
    peers: network.closed ? [] : (index.peers.get(network.key) ?? []),
    openings: network.closed ? [] : (index.openings.get(network.key) ?? []),
    sources: config.source,
    services: reachedServices(store, network),
    place: { node: local.nodeName, zone: self?.zone ?? '' },
    nodeAddresses: ranges.nodes,
  };
}
