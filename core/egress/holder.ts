import type { Network, Node } from '../cluster/state.ts';
import type { View } from '../view/view.ts';
import { matches } from '../cluster/selector.ts';

/**
 * The node that has a network's fixed egress addresses: the one that has them, as long as it lives and is chosen; else the first
 * that is, beginning at a place that differs from network to network, so that they spread. Undefined: none, and nothing leaves.
 */
export function chooseHolder(
  network: Pick<Network, 'spec' | 'vni' | 'egressNode'>,
  nodes: Iterable<Node>,
  alive: ReadonlySet<string>,
): string | undefined {
  const egress = network.spec?.egress;
  if (!egress?.addresses?.length || egress.mode !== 'NAT') return undefined;
  const fit = [...nodes]
    .filter((n) => alive.has(n.name) && (!egress.nodeSelector || matches(egress.nodeSelector, n.labels)))
    .map((n) => n.name)
    .sort();
  if (network.egressNode !== undefined && fit.includes(network.egressNode)) return network.egressNode;
  return fit.length === 0 ? undefined : fit[(network.vni ?? 0) % fit.length];
}

/** The node that has a network's fixed egress addresses; undefined while none has, or they belong to another owner. */
export function holderOf({ state }: View, network: string): string | undefined {
  const node = state.networks.get(network)?.egressNode;
  return node !== undefined && state.nodes.has(node) && !state.conflicts?.has(network) ? node : undefined;
}
