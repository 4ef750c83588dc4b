import type { ApiServers, NetworkItem } from '../../api/nodeconfig.ts';
import type { ConfigStore } from '../follow/config-store.ts';
import { closedNetwork, HostRanges, withoutEgress } from '../plan/host-ranges.ts';
import type { HostAddresses } from '../probe/host-addresses.ts';

/** Networks as this node may carry them: nothing of the node itself is taken by any, and egress addresses only as far as it has them. */
export class LocalNetworks {
  readonly nodeName: string;
  readonly #store: ConfigStore;
  #host: HostAddresses = { addresses: [], routes: [] };
  #hostRanges = new HostRanges(this.#host);
  #heldEgress: ReadonlySet<string> = new Set();
  #version = 0;
  /** Of the store, when this was looked at last. */
  #nodesVersion = -1;
  // Items are compared by identity, so each is made once.
  readonly #closed = new WeakMap<NetworkItem, NetworkItem>();
  readonly #waiting = new WeakMap<NetworkItem, NetworkItem>();

  constructor(store: ConfigStore, nodeName: string) {
    this.#store = store;
    this.nodeName = nodeName;
  }

  /** Counts changes of nodes, of ranges of the cluster, and of what is the node's own: plans that depend on all of it depend on this. */
  get version(): number {
    this.#renew();
    return this.#version;
  }

  /** What the node itself has addresses in and routes to. */
  get hostRanges(): HostRanges {
    this.#renew();
    return this.#hostRanges;
  }

  get apiServers(): ApiServers {
    return this.#store.config.cluster.get('cluster')?.apiServers ?? { nodes: [], addresses: [] };
  }

  setHost(host: HostAddresses): void {
    this.#host = host;
    this.#nodesVersion = -1;
  }

  /** Egress addresses that are on this node: another one that it is to have is still another node's. */
  setHeld(addresses: readonly string[]): void {
    this.#heldEgress = new Set(addresses);
  }

  /** Networks that are closed on this node, since they would take something from the node itself: each with the reason. */
  closed(): Map<string, string> {
    const closed = new Map<string, string>();
    for (const [key, network] of this.#store.config.network) {
      const why = this.#hostOverlap(network);
      if (why !== undefined) closed.set(key, why);
    }
    return closed;
  }

  /** A network as this node may carry it. */
  here(network: NetworkItem): NetworkItem {
    if (network.closed || this.#hostOverlap(network) !== undefined) return once(this.#closed, network, closedNetwork);
    const via = network.egressVia;
    // With an address that the node does not have, packets would leave in the name of the one that has it.
    const waits = via?.node === this.nodeName && via.addresses.some((a) => !this.#heldEgress.has(a));
    return waits ? once(this.#waiting, network, withoutEgress) : network;
  }

  #hostOverlap({ subnets = [] }: NetworkItem): string | undefined {
    for (const subnet of subnets) {
      const what = this.hostRanges.overlapping(subnet);
      if (what !== undefined)
        return `its subnet ${subnet} overlaps ${what}: the node keeps it, and on this node the network's pods reach each other and nothing else; give the network another subnet`;
    }
    return undefined;
  }

  #renew(): void {
    if (this.#nodesVersion === this.#store.nodesVersion) return;
    this.#nodesVersion = this.#store.nodesVersion;
    this.#hostRanges = new HostRanges(this.#host, this.apiServers.addresses);
    this.#version++;
  }
}

function once<K extends object, V>(known: WeakMap<K, V>, key: K, make: (key: K) => V): V {
  const value = known.get(key) ?? make(key);
  known.set(key, value);
  return value;
}
