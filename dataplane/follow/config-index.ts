import type {
  BlockItem,
  NetworkItem,
  NetworkKey,
  NodeConfig,
  OpeningItem,
  PeerItem,
  ServiceItem,
} from '../../api/nodeconfig.ts';
import { servicesOf } from '../plan/peers.ts';

/** A configuration by network: made when it is asked for, and anew after a change. */
export type ConfigIndex = {
  readonly peers: ReadonlyMap<NetworkKey, readonly PeerItem[]>;
  readonly openings: ReadonlyMap<NetworkKey, readonly OpeningItem[]>;
  readonly blocks: ReadonlyMap<NetworkKey, readonly BlockItem[]>;
  readonly services: ReadonlyMap<NetworkKey, readonly ServiceItem[]>;
  /** Networks, by the namespaces to which their pods open themselves. */
  readonly openTo: ReadonlyMap<string, ReadonlySet<NetworkKey>>;
};

export function indexOf({ peer, opening, block, service }: NodeConfig): ConfigIndex {
  return {
    peers: Map.groupBy(peer.values(), (p) => p.network),
    openings: Map.groupBy(opening.values(), (o) => o.network),
    blocks: Map.groupBy(block.values(), (b) => b.network),
    services: Map.groupBy(service.values(), (x) => x.network),
    openTo: networksByNamespace(opening.values()),
  };
}

/** Networks in whose map a Service is by an allow list or a router. */
export function networksThatReach(config: NodeConfig, serviceKey: string): NetworkKey[] {
  return [
    ...[...config.network.values()].filter(({ allow }) => allowedBy(allow).has(serviceKey)).map((n) => n.key),
    ...[...config.peer.values()].filter((p) => servicesOf(p).has(serviceKey)).map((p) => p.network),
  ];
}

/** Keys of the Services that a network's item allows. Items never change: each list is read once. */
export function allowedBy(allow: NetworkItem['allow']): ReadonlySet<string> {
  const known = allowSets.get(allow) ?? new Set(allow);
  allowSets.set(allow, known);
  return known;
}

const allowSets = new WeakMap<NetworkItem['allow'], ReadonlySet<string>>();

function networksByNamespace(openings: Iterable<OpeningItem>): Map<string, Set<NetworkKey>> {
  const found = new Map<string, Set<NetworkKey>>();
  for (const { network, namespaces } of openings)
    for (const namespace of namespaces) found.set(namespace, (found.get(namespace) ?? new Set()).add(network));
  return found;
}
