import { FLAT_NETWORK } from '../../api/names.ts';
import type { NetworkItem, NodeItem, ServiceItem, ServicePort } from '../../api/nodeconfig.ts';
import type { BlockUse } from '../../core/ipam/node-ipam.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { covers, mustPrefix } from '../../lib/ip/prefix.ts';
import type { ConfigStore } from '../follow/config-store.ts';
import { planApiServers, planOwnProcesses, planRegistered } from '../plan/api-server.ts';
import { egressWay, planWay, planWayRoot } from '../plan/egress-way.ts';
import { element, type Fragment } from '../plan/fragment.ts';
import { planGateSets, planInstance, planLocalBlock, planNodeAddresses, planUplink } from '../plan/instance.ts';
import { FIRST_NAMESPACE_NUMBER, planOpening, planPeer, planSource } from '../plan/peers.ts';
import { planRemoteBlock, planRemoteGiven, planRemoteNode } from '../plan/remote.ts';
import { planClosed, planRoot, planRootSets } from '../plan/root.ts';
import { planHostBackends, planServicePort } from '../plan/services.ts';
import { type ConnectionShares, planInstanceShares, planRootShares } from '../plan/shares.ts';
import type { ClusterRanges } from './cluster-ranges.ts';
import type { LocalNetworks } from './local-networks.ts';
import { Numbers } from './numbers.ts';
import { allowedServices, reachedServices } from './reached-services.ts';
import type { Wish } from './wishes.ts';

/** What plans take from the node itself. */
export type NodeLimits = {
  /** Of the connection tracking table; see plan/shares.ts. */
  readonly shares: ConnectionShares | undefined;
  /** Prefixes of the node's own links. */
  readonly onLink: readonly string[];
};

/**
 * What the configuration wants in the root and in each instance, beside pods, as wishes with their dependencies. Reads the
 * configuration and changes nothing.
 */
export class Wanted {
  limits: NodeLimits = { shares: undefined, onLink: [] };
  readonly #store: ConfigStore;
  readonly #local: LocalNetworks;
  readonly #ranges: ClusterRanges;
  /** Numbers of what routers let pass, in kernel sets: given once, and the same in every instance. */
  readonly #portNumbers = new Numbers(1, 2 ** 31);
  /** Numbers of namespaces in kernel sets: given once, and the same in every instance. */
  readonly #namespaceNumbers = new Numbers(FIRST_NAMESPACE_NUMBER, 2 ** 31);

  constructor(store: ConfigStore, local: LocalNetworks, ranges: ClusterRanges) {
    this.#store = store;
    this.#local = local;
    this.#ranges = ranges;
  }

  /** The root's own things, other nodes, and its end of each instance. */
  root(
    self: NodeItem,
    mtu: number,
    instances: Iterable<{ readonly network: NetworkItem; readonly mtu: number }>,
    blocks: readonly BlockUse[],
  ): Map<string, Wish> {
    const { node, block, cluster } = this.#store.config;
    const wanted = new Map<string, Wish>();
    wanted.set('base', { deps: [self, mtu], plan: () => planRoot(self, mtu) });
    const { shares, onLink } = this.limits;
    wanted.set('shares', {
      deps: [this.#local.version, shares, onLink],
      plan: () => planRootShares(shares, node.values(), onLink),
    });
    wanted.set('sets', {
      deps: [this.#local.version],
      plan: () => planRootSets(self, node.values(), this.#ranges.pods, cluster.get('cluster') ?? {}),
    });
    for (const [key, item] of this.#store.config.closed)
      wanted.set(`closed ${key}`, { deps: [item], plan: () => planClosed(item) });
    for (const other of node.values())
      if (other.name !== self.name)
        wanted.set(`node ${other.name}`, { deps: [other], plan: () => planRemoteNode(other) });
    for (const given of block.values()) {
      const owner = node.get(given.node);
      if (
        given.given &&
        owner &&
        given.node !== self.name &&
        this.#local.hostRanges.overlapping(given.cidr) === undefined
      )
        wanted.set(`given ${given.cidr}`, { deps: [given, owner], plan: () => planRemoteGiven(given, owner) });
    }
    const held = new Map<string, NetworkItem>();
    for (const { network: asked, mtu: own } of instances) {
      const network = this.#local.here(asked);
      held.set(network.key, network);
      const plan = (): Fragment => planUplink(network.vni, self, own);
      wanted.set(`uplink ${network.key}`, { deps: [network.vni, self, own], plan });
    }
    for (const network of held.values()) {
      const way = egressWay(network, self, node);
      if (!way) continue;
      const own = this.#prefixesOf(network, blocks);
      const mine = blocks.filter((b) => b.network === network.key).map((b) => b.cidr);
      const deps = [way.holder, way.here, way.addresses.join(), own.join(), mine.join()];
      wanted.set(`way ${network.key}`, { deps, plan: () => planWayRoot(way, own, mine) });
    }
    for (const { cidr, network: key, given } of blocks) {
      // Of a pod that is older than the node's present pod CIDRs: what leaves by the root is still this node's to masquerade.
      if (key === FLAT_NETWORK && !self.podCIDRs.some((c) => covers(mustPrefix(c), mustPrefix(cidr))))
        wanted.set(`outside ${cidr}`, {
          deps: [self],
          plan: () => ({ nft: [element(`local${familyOf(cidr)}`, cidr)] }),
        });
      const network = held.get(key);
      if (!network || network.closed) continue;
      const plan = (): Fragment => planLocalBlock(cidr, network, self, given).root;
      wanted.set(`block ${cidr}`, { deps: [network.vni, network.egress, self, given], plan });
    }
    if (this.#local.apiServers.nodes.includes(self.name))
      wanted.set('own processes', { deps: [self], plan: () => planOwnProcesses(self) });
    for (const service of allowedServices(this.#store))
      for (const port of service.ports)
        wanted.set(`backends ${portName(service, port)}`, { deps: [port], plan: () => planHostBackends(port) });
    return wanted;
  }

  /** One network's instance. */
  instance(asked: NetworkItem, self: NodeItem, mtu: number, blocks: readonly BlockUse[]): Map<string, Wish> {
    const network = this.#local.here(asked);
    const { key, closed } = network;
    const wanted = new Map<string, Wish>();
    const way = egressWay(network, self, this.#store.config.node);
    const plan = (): Fragment => planInstance(network, self, mtu, way);
    wanted.set('base', { deps: [network, self, mtu, way?.here, way?.addresses.join()], plan });
    if (way) {
      const own = this.#prefixesOf(network, blocks);
      const inside = this.#ranges.insideOf(network);
      wanted.set('way', {
        deps: [way.holder, way.here, way.addresses.join(), own.join(), inside.join()],
        plan: () => planWay(way, own, inside),
      });
    }
    const { shares } = this.limits;
    wanted.set('shares', { deps: [shares], plan: () => planInstanceShares(shares) });
    wanted.set('gate', {
      deps: [self, this.#local.version],
      plan: () => planGateSets(self, this.#store.config.node.values(), this.#ranges.inside, this.#ranges.pods),
    });
    const { nodes: dialled } = this.#ranges;
    wanted.set('nodes', { deps: [dialled], plan: () => planNodeAddresses(dialled) });
    wanted.set('api servers', {
      deps: [self.name, this.#local.version],
      plan: () => planApiServers(self, this.#store.config.node.values(), this.#local.apiServers),
    });
    for (const { cidr, network: owner } of blocks) {
      const plan = (): Fragment => planLocalBlock(cidr, network, self).instance;
      if (owner === key) wanted.set(`block ${cidr}`, { deps: [network.vni, network.egress, self], plan });
    }
    const { peers, openings, blocks: remote } = this.#store.index;
    for (const block of remote.get(key) ?? []) {
      const owner = this.#store.config.node.get(block.node);
      if (owner && block.node !== self.name)
        wanted.set(`remote ${block.cidr}`, { deps: [block, owner], plan: () => planRemoteBlock(block, owner) });
    }
    const portsNumber = (ports: string): number => this.#portNumbers.take(ports);
    for (const peer of closed ? [] : (peers.get(key) ?? []))
      wanted.set(`peer ${peer.other}`, { deps: [peer], plan: () => planPeer(peer, portsNumber) });
    const numberOf = (namespace: string): number => this.#namespaceNumbers.take(namespace);
    const named = new Set<string>();
    for (const opening of closed ? [] : (openings.get(key) ?? [])) {
      wanted.set(`opening ${opening.pod}`, { deps: [opening], plan: () => planOpening(opening, numberOf) });
      for (const n of opening.namespaces) named.add(n);
    }
    for (const n of named) {
      const source = this.#store.config.source.get(n);
      if (source) wanted.set(`source ${n}`, { deps: [source], plan: () => planSource(n, source, numberOf(n)) });
    }
    const place = { node: self.name, zone: self.zone ?? '' };
    for (const { service, reach, deps } of reachedServices(this.#store, network)) {
      for (const port of service.ports)
        wanted.set(`service ${portName(service, port)}`, {
          deps: [...deps, place.zone],
          plan: () => planServicePort(service, port, { place, reach }),
        });
      if (reach === 'own' && service.ports.some((p) => p.registered))
        wanted.set(`registered ${service.namespace}/${service.name}`, {
          deps: [service],
          plan: () => planRegistered(service),
        });
    }
    return wanted;
  }

  /** All prefixes of a network, disjoint. */
  #prefixesOf({ key, subnets = [] }: NetworkItem, blocks: readonly BlockUse[]): string[] {
    const all = [...blocks.filter((b) => b.network === key), ...(this.#store.index.blocks.get(key) ?? [])].map(
      (b) => b.cidr,
    );
    const outside = all.filter((b) => !subnets.some((s) => covers(mustPrefix(s), mustPrefix(b))));
    return [...new Set([...subnets, ...outside])].sort();
  }
}

const portName = ({ namespace, name }: ServiceItem, { protocol, port }: ServicePort): string =>
  `${namespace}/${name} ${protocol} ${port}`;
