import type { NetworkItem } from '../../api/nodeconfig.ts';
import { LOCAL } from '../../core/decide/destination.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, hostCidr, mustPrefix, overlaps } from '../../lib/ip/prefix.ts';
import type { ConfigStore } from '../follow/config-store.ts';
import { addressesOf } from '../plan/names.ts';
import type { LocalNetworks } from './local-networks.ts';

/** What is inside the cluster. */
type Ranges = {
  /** Ranges of pods, less what of networks' own subnets is the node's. */
  readonly pods: readonly string[];
  /** Everything inside the cluster, disjoint: a node's further address may lie in a range of others. */
  readonly inside: readonly string[];
  /** Where node ports are dialled. */
  readonly nodes: readonly string[];
};

/** Ranges of the cluster as this node sees them, made anew when nodes, cluster or host have changed. */
export class ClusterRanges {
  readonly #store: ConfigStore;
  readonly #local: LocalNetworks;
  #known: { readonly version: number; readonly ranges: Ranges } | undefined;

  constructor(store: ConfigStore, local: LocalNetworks) {
    this.#store = store;
    this.#local = local;
  }

  get pods(): readonly string[] {
    return this.#now().pods;
  }

  get inside(): readonly string[] {
    return this.#now().inside;
  }

  get nodes(): readonly string[] {
    return this.#now().nodes;
  }

  /** What of the cluster a network reaches by its uplink, wherever it leaves the cluster: also backends that are no node. */
  insideOf({ allow }: NetworkItem): string[] {
    const { node, service, cluster } = this.#store.config;
    const nodes = [...node.values()].flatMap((n) => n.addresses.map(hostCidr));
    const backends = allow.flatMap((key) =>
      (service.get(key)?.ports ?? []).flatMap((p) => p.backends.map((b) => hostCidr(b.ip))),
    );
    const services = cluster.get('cluster')?.serviceCIDRs ?? [];
    return [...new Set([...this.pods, ...services, ...nodes, ...backends])].sort();
  }

  #now(): Ranges {
    const { version } = this.#local;
    if (this.#known?.version !== version) this.#known = { version, ranges: this.#make() };
    return this.#known.ranges;
  }

  #make(): Ranges {
    const nodes = [...this.#store.config.node.values()];
    const pods = this.#podRanges(nodes.flatMap((n) => n.podCIDRs));
    const services = this.#store.config.cluster.get('cluster')?.serviceCIDRs ?? [];
    const ranges = [...pods, ...services, ...LOCAL];
    const prefixes = ranges.map(mustPrefix);
    // One that lies in a range of pods is not dialled as a node: a pod may have it.
    const apart = [...new Set(nodes.flatMap(addressesOf))].filter((a) => {
      const ip = mustIp(a);
      return !prefixes.some((p) => contains(p, ip));
    });
    return { pods, inside: [...ranges, ...apart.map(hostCidr)], nodes: apart };
  }

  #podRanges(ofNodes: readonly string[]): readonly string[] {
    const told = this.#store.config.cluster.get('cluster')?.podCIDRs ?? [];
    if (told.length === 0) return ofNodes;
    const prefixes = ofNodes.map(mustPrefix);
    return told.flatMap((range) => {
      const prefix = mustPrefix(range);
      return prefixes.some((p) => overlaps(p, prefix)) ? [range] : this.#local.hostRanges.without(range);
    });
  }
}
