import { FLAT_NETWORK } from '../../api/names.ts';
import type {
  ApiServers,
  BlockItem,
  NetworkItem,
  NetworkKey,
  NodeConfig,
  NodeItem,
  OpeningItem,
  PeerItem,
  ServiceItem,
  ServicePort,
  StreamEvent,
} from '../../api/nodeconfig.ts';
import { LOCAL } from '../../core/decide/destination.ts';
import type { BlockUse } from '../../core/ipam/node-ipam.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, covers, hostCidr, mustPrefix, overlaps } from '../../lib/ip/prefix.ts';
import { element, type Fragment } from '../plan/fragment.ts';
import { apiServerSources, planApiServers, planOwnProcesses, planRegistered } from '../plan/api-server.ts';
import { egressWay, planWay, planWayRoot } from '../plan/egress-way.ts';
import { planGateSets, planInstance, planLocalBlock, planNodeAddresses, planUplink } from '../plan/instance.ts';
import { closedNetwork, HostRanges, withoutEgress } from '../plan/host-ranges.ts';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import { FIRST_NAMESPACE_NUMBER, peerAdmits, planOpening, planPeer, planSource, servicesOf } from '../plan/peers.ts';
import { addressesOf } from '../plan/names.ts';
import { planRemoteBlock, planRemoteGiven, planRemoteNode } from '../plan/remote.ts';
import { planClosed, planRoot, planRootSets } from '../plan/root.ts';
import { planHostBackends, planServicePort, type ServiceReach } from '../plan/services.ts';
import { type ConnectionShares, planInstanceShares, planRootShares } from '../plan/shares.ts';
import { sourceOwners, type SourceOwners } from '../plan/source-owners.ts';
import type { FlowRules } from '../plan/gate-facts.ts';
import type { HostAddresses } from '../probe/host-addresses.ts';
import { Numbers } from './numbers.ts';
import type { Wish } from './wishes.ts';

type Reached = {
  readonly service: ServiceItem;
  readonly reach: ServiceReach;
  /** What the plan of it depends on. */
  readonly deps: readonly unknown[];
};
type ByNetwork = {
  readonly peers: ReadonlyMap<string, readonly PeerItem[]>;
  readonly openings: ReadonlyMap<string, readonly OpeningItem[]>;
  readonly blocks: ReadonlyMap<string, readonly BlockItem[]>;
  readonly services: ReadonlyMap<string, readonly ServiceItem[]>;
  /** Networks, by the namespaces to which their pods open themselves. */
  readonly openTo: ReadonlyMap<string, ReadonlySet<string>>;
};

/** Everything inside the cluster, and the addresses of nodes in it; `version`: of the nodes that it was made of. */
type Inside = { readonly version: number; readonly ranges: readonly string[]; readonly nodes: readonly string[] };

/**
 * What the configuration wants in the root and in each instance, beside pods, as wishes with their dependencies. Reads the
 * configuration and changes nothing; what it finds by network it remembers until an event touches it.
 */
export class Wanted {
  readonly #config: NodeConfig;
  readonly #nodeName: string;
  #byNetwork: ByNetwork | undefined;
  #host: HostAddresses = { addresses: [], routes: [] };
  #hostRanges = new HostRanges(this.#host);
  #heldEgress: ReadonlySet<string> = new Set();
  readonly #closed = new WeakMap<NetworkItem, NetworkItem>();
  readonly #waiting = new WeakMap<NetworkItem, NetworkItem>();
  /** Counts changes of nodes and cluster ranges: what depends on all of them depends on this. */
  #nodesVersion = 0;
  #pods: { readonly version: number; readonly ranges: readonly string[] } | undefined;
  #inside: Inside | undefined;
  /** Numbers of what routers let pass, in kernel sets: given once, and the same in every instance. */
  readonly #portNumbers = new Numbers(1, 2 ** 31);
  /** Numbers of namespaces in kernel sets: given once, and the same in every instance. */
  readonly #namespaceNumbers = new Numbers(FIRST_NAMESPACE_NUMBER, 2 ** 31);

  /** Networks of Services, as the last event of each said. */
  readonly #serviceNetworks: Map<string, NetworkKey>;
  /** Of the connection tracking table; see plan/shares.ts. */
  shares: ConnectionShares | undefined;
  /** Prefixes of the node's own links. */
  onLink: readonly string[] = [];

  constructor(config: NodeConfig, nodeName: string) {
    this.#config = config;
    this.#nodeName = nodeName;
    this.#serviceNetworks = new Map([...config.service].map(([key, { network }]) => [key, network]));
  }

  /** What the node itself has addresses in and routes to. */
  setHost(host: HostAddresses): void {
    this.#host = host;
    this.#hostChanged();
  }

  /** Networks that are closed on this node, since they would take something from the node itself: each with the reason. */
  closedHere(): Map<string, string> {
    const closed = new Map<string, string>();
    for (const [key, network] of this.#config.network) {
      const why = this.#hostOverlap(network);
      if (why !== undefined) closed.set(key, why);
    }
    return closed;
  }

  /** Egress addresses that are on this node: another one that it is to have belongs to somebody else still. */
  setHeld(addresses: readonly string[]): void {
    this.#heldEgress = new Set(addresses);
  }

  /** A network as this node may carry it. */
  here(network: NetworkItem): NetworkItem {
    if (network.closed || this.#hostOverlap(network) !== undefined) return once(this.#closed, network, closedNetwork);
    const via = network.egressVia;
    // With an address that the node does not have, packets would leave in the name of the one that has it.
    const waits = via?.node === this.#nodeName && via.addresses.some((a) => !this.#heldEgress.has(a));
    return waits ? once(this.#waiting, network, withoutEgress) : network;
  }

  #hostOverlap({ subnets = [] }: NetworkItem): string | undefined {
    for (const subnet of subnets) {
      const what = this.#hostRanges.overlapping(subnet);
      if (what !== undefined)
        return `its subnet ${subnet} overlaps ${what}: the node keeps it, and on this node the network's pods reach each other and nothing else; give the network another subnet`;
    }
    return undefined;
  }

  #hostChanged(): void {
    this.#hostRanges = new HostRanges(this.#host, this.#apiServers().addresses);
    this.#nodesVersion++;
  }

  touched({ kind }: StreamEvent & { type: 'upsert' | 'delete' }): void {
    if (kind === 'cluster' || kind === 'node') this.#hostChanged();
    if (kind === 'peer' || kind === 'opening' || kind === 'block' || kind === 'service') this.#byNetwork = undefined;
  }

  /** The root's own things, other nodes, and its end of each instance. */
  root(
    self: NodeItem,
    mtu: number,
    instances: Iterable<{ readonly network: NetworkItem; readonly mtu: number }>,
    blocks: readonly BlockUse[],
  ): Map<string, Wish> {
    const { node, block, cluster } = this.#config;
    const wanted = new Map<string, Wish>();
    wanted.set('base', { deps: [self, mtu], plan: () => planRoot(self, mtu) });
    const { shares, onLink } = this;
    wanted.set('shares', {
      deps: [this.#nodesVersion, shares, onLink],
      plan: () => planRootShares(shares, node.values(), onLink),
    });
    wanted.set('sets', {
      deps: [this.#nodesVersion],
      plan: () => planRootSets(self, node.values(), this.#podRanges(), cluster.get('cluster') ?? {}),
    });
    for (const [key, item] of this.#config.closed)
      wanted.set(`closed ${key}`, { deps: [item], plan: () => planClosed(item) });
    for (const other of node.values())
      if (other.name !== self.name)
        wanted.set(`node ${other.name}`, { deps: [other], plan: () => planRemoteNode(other) });
    for (const given of block.values()) {
      const owner = node.get(given.node);
      if (given.given && owner && given.node !== self.name && this.#hostRanges.overlapping(given.cidr) === undefined)
        wanted.set(`given ${given.cidr}`, { deps: [given, owner], plan: () => planRemoteGiven(given, owner) });
    }
    const held = new Map<string, NetworkItem>();
    for (const { network: asked, mtu: own } of instances) {
      const network = this.here(asked);
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
    if (this.#apiServers().nodes.includes(self.name))
      wanted.set('own processes', { deps: [self], plan: () => planOwnProcesses(self) });
    for (const service of this.#allowed())
      for (const port of service.ports)
        wanted.set(`backends ${portName(service, port)}`, { deps: [port], plan: () => planHostBackends(port) });
    return wanted;
  }

  /** One network's instance. */
  instance(asked: NetworkItem, self: NodeItem, mtu: number, blocks: readonly BlockUse[]): Map<string, Wish> {
    const network = this.here(asked);
    const { key, closed } = network;
    const wanted = new Map<string, Wish>();
    const way = egressWay(network, self, this.#config.node);
    const plan = (): Fragment => planInstance(network, self, mtu, way);
    wanted.set('base', { deps: [network, self, mtu, way?.here, way?.addresses.join()], plan });
    if (way) {
      const own = this.#prefixesOf(network, blocks);
      const inside = this.#insideOf(network);
      wanted.set('way', {
        deps: [way.holder, way.here, way.addresses.join(), own.join(), inside.join()],
        plan: () => planWay(way, own, inside),
      });
    }
    const { shares } = this;
    wanted.set('shares', { deps: [shares], plan: () => planInstanceShares(shares) });
    wanted.set('gate', {
      deps: [self, this.#nodesVersion],
      plan: () => planGateSets(self, this.#config.node.values(), this.#insideCluster().ranges, this.#podRanges()),
    });
    const { nodes: dialled } = this.#insideCluster();
    wanted.set('nodes', { deps: [dialled], plan: () => planNodeAddresses(dialled) });
    wanted.set('api servers', {
      deps: [self.name, this.#nodesVersion],
      plan: () => planApiServers(self, this.#config.node.values(), this.#apiServers()),
    });
    for (const { cidr, network: owner } of blocks) {
      const plan = (): Fragment => planLocalBlock(cidr, network, self).instance;
      if (owner === key) wanted.set(`block ${cidr}`, { deps: [network.vni, network.egress, self], plan });
    }
    const { peers, openings, blocks: remote } = this.#index();
    for (const block of remote.get(key) ?? []) {
      const owner = this.#config.node.get(block.node);
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
      const source = this.#config.source.get(n);
      if (source) wanted.set(`source ${n}`, { deps: [source], plan: () => planSource(n, source, numberOf(n)) });
    }
    const place = { node: self.name, zone: self.zone ?? '' };
    for (const { service, reach, deps } of this.#servicesOf(network)) {
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

  /** All that decides in a network's instance whether a connection may be made. */
  flowRules(asked: NetworkItem, blocks: readonly BlockUse[], mapped: ReadonlySet<string>): FlowRules {
    const network = this.here(asked);
    const { closed } = network;
    const { peers, openings, blocks: remote } = this.#index();
    const nodes = [...this.#config.node.values()];
    const own = [...blocks.filter((b) => b.network === network.key), ...(remote.get(network.key) ?? [])];
    return {
      network,
      own: own.map((b) => b.cidr),
      pods: this.#podRanges(),
      cluster: this.#insideCluster().ranges,
      nodes: nodes.flatMap((n) => n.podCIDRs.flatMap((c) => [nodeAddress(c), probeSource(c)])),
      masqueraded: nodes.flatMap((n) => n.podCIDRs.map(nodeAddress)),
      probes: this.#config.node.get(this.#nodeName)?.podCIDRs.map(probeSource) ?? [],
      mapped,
      apiServers: apiServerSources({ name: this.#nodeName }, nodes, this.#apiServers()),
      peers: closed ? [] : (peers.get(network.key) ?? []),
      openings: closed ? [] : (openings.get(network.key) ?? []),
      sources: this.#config.source,
      services: this.#servicesOf(network),
      place: { node: this.#nodeName, zone: this.#config.node.get(this.#nodeName)?.zone ?? '' },
      nodeAddresses: this.#insideCluster().nodes,
    };
  }

  /** Networks of which a pod here opens itself to a namespace. */
  openTo(namespace: string): string[] {
    return [...(this.#index().openTo.get(namespace) ?? [])];
  }

  /** Whose connections in the root those of a source are; see {@link sourceOwners}. */
  owners(blocks: readonly BlockUse[]): SourceOwners {
    const { block, node } = this.#config;
    return sourceOwners([...block.values(), ...blocks], this.#podRanges(), node.values());
  }

  /** Egress addresses that this node has to have now. */
  egressAddresses(): string[] {
    return [...this.#config.network.values()].flatMap(({ egressVia }) =>
      egressVia?.node === this.#nodeName ? egressVia.addresses : [],
    );
  }

  /** Networks in whose map a Service is, or was before it changed; to be asked once for each change. */
  concernedBy(serviceKey: string, service: ServiceItem | undefined): Set<NetworkKey> {
    const concerned = new Set<NetworkKey>();
    const before = this.#serviceNetworks.get(serviceKey);
    if (before !== undefined) concerned.add(before);
    if (service) this.#serviceNetworks.set(serviceKey, service.network);
    else this.#serviceNetworks.delete(serviceKey);
    if (service) concerned.add(service.network);
    for (const { key, allow } of this.#config.network.values())
      if (allowedBy(allow).has(serviceKey)) concerned.add(key);
    for (const peer of this.#config.peer.values()) if (servicesOf(peer).has(serviceKey)) concerned.add(peer.network);
    return concerned;
  }

  /** Services in a network's own map, and by which right each is there. */
  #servicesOf({ key, allow, closed }: NetworkItem): Reached[] {
    const { peers, services } = this.#index();
    const reached = (services.get(key) ?? []).map((service): Reached => ({ service, reach: 'own', deps: [service] }));
    for (const name of allowedBy(allow)) {
      const service = this.#config.service.get(name);
      if (service?.network === FLAT_NETWORK && key !== FLAT_NETWORK)
        reached.push({ service, reach: 'allowed', deps: [service, 'allowed'] });
    }
    for (const peer of closed ? [] : (peers.get(key) ?? []))
      for (const name of peer.services) {
        const service = this.#config.service.get(name);
        if (service?.network !== peer.other || (service.network === FLAT_NETWORK && allowedBy(allow).has(name)))
          continue;
        reached.push({ service, reach: peerAdmits(peer, service), deps: [service, peer] });
      }
    return reached;
  }

  /** All prefixes of a network, disjoint. */
  #prefixesOf({ key, subnets = [] }: NetworkItem, blocks: readonly BlockUse[]): string[] {
    const all = [...blocks.filter((b) => b.network === key), ...(this.#index().blocks.get(key) ?? [])].map(
      (b) => b.cidr,
    );
    const outside = all.filter((b) => !subnets.some((s) => covers(mustPrefix(s), mustPrefix(b))));
    return [...new Set([...subnets, ...outside])].sort();
  }

  /** What of the cluster a network reaches by its uplink, wherever it leaves the cluster: also backends that are no node. */
  #insideOf({ allow }: NetworkItem): string[] {
    const nodes = [...this.#config.node.values()].flatMap((n) => n.addresses.map(hostCidr));
    const backends = allow.flatMap((key) =>
      (this.#config.service.get(key)?.ports ?? []).flatMap((p) => p.backends.map((b) => hostCidr(b.ip))),
    );
    const services = this.#config.cluster.get('cluster')?.serviceCIDRs ?? [];
    return [...new Set([...this.#podRanges(), ...services, ...nodes, ...backends])].sort();
  }

  #index(): ByNetwork {
    const { peer, opening, block, service } = this.#config;
    this.#byNetwork ??= {
      peers: Map.groupBy(peer.values(), (p) => p.network),
      openings: Map.groupBy(opening.values(), (o) => o.network),
      blocks: Map.groupBy(block.values(), (b) => b.network),
      services: Map.groupBy(service.values(), (x) => x.network),
      openTo: networksByNamespace(opening.values()),
    };
    return this.#byNetwork;
  }

  /** Ranges of pods, less what of networks' own subnets is the node's. */
  #podRanges(): readonly string[] {
    if (this.#pods?.version === this.#nodesVersion) return this.#pods.ranges;
    const told = this.#config.cluster.get('cluster')?.podCIDRs ?? [];
    const ofNodes = [...this.#config.node.values()].flatMap((n) => n.podCIDRs);
    const prefixes = ofNodes.map(mustPrefix);
    const ranges =
      told.length === 0
        ? ofNodes
        : told.flatMap((range) => {
            const prefix = mustPrefix(range);
            return prefixes.some((p) => overlaps(p, prefix)) ? [range] : this.#hostRanges.without(range);
          });
    this.#pods = { version: this.#nodesVersion, ranges };
    return ranges;
  }

  /** Everything inside the cluster but nodes. */
  #clusterRanges(): string[] {
    const services = this.#config.cluster.get('cluster')?.serviceCIDRs ?? [];
    return [...this.#podRanges(), ...services, ...LOCAL];
  }

  /** Everything inside the cluster, disjoint: a node's further address may lie in a range of others. */
  #insideCluster(): Inside {
    if (this.#inside?.version === this.#nodesVersion) return this.#inside;
    const ranges = this.#clusterRanges();
    const prefixes = ranges.map(mustPrefix);
    const addresses = new Set([...this.#config.node.values()].flatMap(addressesOf));
    // One that lies in a range of pods is not dialled as a node: a pod may have it.
    const apart = [...addresses].filter((a) => {
      const ip = mustIp(a);
      return !prefixes.some((p) => contains(p, ip));
    });
    this.#inside = { version: this.#nodesVersion, ranges: [...ranges, ...apart.map(hostCidr)], nodes: apart };
    return this.#inside;
  }

  #apiServers(): ApiServers {
    return this.#config.cluster.get('cluster')?.apiServers ?? { nodes: [], addresses: [] };
  }

  #allowed(): ServiceItem[] {
    const keys = new Set([...this.#config.network.values()].flatMap((n) => n.allow));
    return [...keys].flatMap((k) => this.#config.service.get(k) ?? []);
  }
}

/** Items are compared by identity, so each is made once. */
function once<K extends object, V>(known: WeakMap<K, V>, key: K, make: (key: K) => V): V {
  const value = known.get(key) ?? make(key);
  known.set(key, value);
  return value;
}

/** Keys of the Services that a network's item allows. Items never change: each list is read once. */
function allowedBy(allow: NetworkItem['allow']): ReadonlySet<string> {
  const known = allowSets.get(allow) ?? new Set(allow);
  allowSets.set(allow, known);
  return known;
}

const allowSets = new WeakMap<NetworkItem['allow'], ReadonlySet<string>>();

function networksByNamespace(openings: Iterable<OpeningItem>): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { network, namespaces } of openings)
    for (const namespace of namespaces) found.set(namespace, (found.get(namespace) ?? new Set()).add(network));
  return found;
}

const portName = ({ namespace, name }: ServiceItem, { protocol, port }: ServicePort): string =>
  `${namespace}/${name} ${protocol} ${port}`;
