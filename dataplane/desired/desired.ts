import type { NodeItem } from '../../api/nodeconfig.ts';
import type { ConfigStore } from '../follow/config-store.ts';
import { FLAT_NETWORK } from '../../api/names.ts';
import { ClusterRanges } from './cluster-ranges.ts';
import { LocalNetworks } from './local-networks.ts';
import { Wanted } from './wanted.ts';

/** What the configuration wants of one node. */
export type Desired = {
  readonly store: ConfigStore;
  readonly local: LocalNetworks;
  readonly ranges: ClusterRanges;
  readonly wanted: Wanted;
};

export function desiredBy(store: ConfigStore, nodeName: string): Desired {
  const local = new LocalNetworks(store, nodeName);
  const ranges = new ClusterRanges(store, local);
  return { store, local, ranges, wanted: new Wanted(store, local, ranges) };
}

/** This node as the controller describes it; undefined until it does. */
export const selfOf = ({ store, local }: Pick<Desired, 'store' | 'local'>): NodeItem | undefined =>
  store.config.node.get(local.nodeName);

/** Networks that pods of this node are on, or will be on next. */
export function neededNetworks(desired: Pick<Desired, 'store' | 'local'>): Set<string> {
  const { config } = desired.store;
  const needed = new Set<string>(selfOf(desired) ? [FLAT_NETWORK] : []);
  const pods = [...config.pod.values()].flatMap((p) => [p, ...(p.interfaces ?? [])]);
  for (const { assignment } of [...pods, ...config.namespace.values()]) {
    if ('network' in assignment && config.network.has(assignment.network)) needed.add(assignment.network);
  }
  return needed;
}
