import { familyOf } from '../../lib/ip/address.ts';
import { readSysctl } from '../../lib/netns/sysctl.ts';
import { type Desired, selfOf } from '../desired/desired.ts';
import type { Pending } from '../desired/pending.ts';
import { dropOurArp } from '../kernel/arp.ts';
import { VXLAN_OVERHEAD } from '../plan/names.ts';
import { onLinkPrefixes } from '../plan/on-link.ts';
import { connectionShares } from '../plan/shares.ts';
import { type HostAddresses, hostAddresses } from '../probe/host-addresses.ts';
import { resolvers } from '../probe/resolvers.ts';
import type { Place, Places } from './places.ts';

/** What plans need of the node itself, as the kernel has it: others may change it at any time. */
export class NodeWatch {
  readonly #desired: Desired;
  readonly #pending: Pending;
  readonly #places: Places;
  readonly #connectionsPerPod: number | undefined;
  #host: HostAddresses = { addresses: [], routes: [] };
  #mtu: { readonly underlay: string; readonly value: number } | undefined;

  /** @param connectionsPerPod connections that one pod may have in one tracking table; 0: any number; absent: an eighth of the table */
  constructor(desired: Desired, pending: Pending, places: Places, connectionsPerPod?: number) {
    this.#desired = desired;
    this.#pending = pending;
    this.#places = places;
    this.#connectionsPerPod = connectionsPerPod;
    this.look();
  }

  /** Reads again what is read once and for all: the size of connection tracking, the node's links, the MTU of the underlay. */
  look(): void {
    this.#mtu = undefined;
    dropOurArp(this.#root.nft);
    const most = Number(readSysctl('net/netfilter/nf_conntrack_max') ?? DEFAULT_CONNTRACK_MAX);
    const shares = connectionShares(most, this.#connectionsPerPod);
    const onLink = onLinkPrefixes(this.#root.netlink.hostRoutes());
    const { wanted } = this.#desired;
    if (JSON.stringify([shares, onLink]) === JSON.stringify([wanted.limits.shares, wanted.limits.onLink])) return;
    wanted.limits = { shares, onLink };
    this.#pending.planAll();
  }

  /** Addresses and routes of this node beside its pods, as the kernel has them now: no network takes any of them from the node. */
  survey(): HostAddresses {
    const { store, local } = this.#desired;
    const egress = [...store.config.network.values()].flatMap((n) => n.egressVia?.addresses ?? []);
    const now = hostAddresses(this.#root.netlink, {
      podCIDRs: selfOf(this.#desired)?.podCIDRs ?? [],
      egress,
      resolvers: resolvers(),
    });
    if (JSON.stringify(now) === JSON.stringify(this.#host)) return this.#host;
    this.#host = now;
    local.setHost(now);
    this.#pending.planAll();
    this.#pending.lookAt(...this.#places.instances.keys());
    return now;
  }

  /** The device that has this node's own address. Asks the kernel. */
  underlayDev(): string | undefined {
    const underlay = selfOf(this.#desired)?.underlay;
    return this.#root.netlink.addresses().find((a) => a.cidr.split('/')[0] === underlay)?.dev;
  }

  /** MTU of pods: what the underlay carries, less the encapsulation. Two dumps, so asked once per node address. */
  mtu(): number {
    const self = selfOf(this.#desired);
    if (this.#mtu && this.#mtu.underlay === self?.underlay) return this.#mtu.value;
    const dev = this.underlayDev();
    const mtu = this.#root.netlink.links().find((l) => l.name === dev)?.mtu ?? 1500;
    const value = mtu - VXLAN_OVERHEAD[familyOf(self?.underlay ?? '')];
    if (dev !== undefined && self) this.#mtu = { underlay: self.underlay, value };
    return value;
  }

  /** Less still when the network says so. */
  mtuFor(network: string): number {
    const wish = this.#desired.store.config.network.get(network)?.mtu;
    return wish === undefined ? this.mtu() : Math.min(wish, this.mtu());
  }

  get #root(): Place {
    return this.#places.root;
  }
}

/** What the kernel gives itself with 1 GiB of memory or more. */
const DEFAULT_CONNTRACK_MAX = 262_144;
