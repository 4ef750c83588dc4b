import { FLAT_NETWORK } from '../../api/names.ts';
import { ownAddresses, probeSource } from '../../core/nodes/addresses.ts';
import type {
  ClosedNodePort,
  ClosedItem,
  ClusterItem,
  ItemKind,
  NetworkItem,
  NodeConfig,
  NodeItem,
  StreamEvent,
} from '../../api/nodeconfig.ts';
import type { BlockUse } from '../../core/ipam/node-ipam.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { type Conntrack, openConntrack } from '../../lib/netlink/conntrack.ts';
import { readSysctl, writeSysctls } from '../../lib/netns/sysctl.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { applyAll, type Netlink, openNetlink } from '../../lib/netlink/netlink.ts';
import { isGone } from '../../lib/netlink/error.ts';
import { type Nft, NftError, openNft } from '../../lib/nft/nft.ts';
import type { Denial } from '../plan/denials.ts';
import { planInstance } from '../plan/instance.ts';
import { addressesOf, isOurLink, TABLE, uplinkName, VXLAN_OVERHEAD } from '../plan/names.ts';
import { hostPortTargets, planHostPorts } from '../plan/host-ports.ts';
import { planFlatPod, planPod, type PodChains, type PodLink } from '../plan/pod.ts';
import { type ClosedPort, closedKey, type HostPort, type PresentOwners } from '../plan/former-flows.ts';
import { onLinkPrefixes } from '../plan/on-link.ts';
import { connectionShares } from '../plan/shares.ts';
import type { SourceOwners } from '../plan/source-owners.ts';
import { exposedKey } from '../plan/gate-facts.ts';
import { staleFlows } from '../plan/stale-flows.ts';
import { dropArp, dropOurArp } from '../kernel/arp.ts';
import { ConnectionShares, type ShareStatus } from '../kernel/connection-shares.ts';
import { trackedTables } from '../kernel/tracked-tables.ts';
import { type Counters, readCounters } from '../kernel/counters.ts';
import { type HostAddresses, hostAddresses } from '../probe/host-addresses.ts';
import { FormerFlows } from '../kernel/cut-flows.ts';
import { NamespaceWriter } from '../kernel/namespace-writer.ts';
import { Namespaces } from '../kernel/namespaces.ts';
import { NO_POLICY } from '../desired/policy-table.ts';
import { Policing, type RevokedFlow } from './policing.ts';
import { Wanted } from '../desired/wanted.ts';
import { type Wish, Wishes } from '../desired/wishes.ts';

/** A pod that must be wired: which network, and its link. `id` is unique on the node. */
export type WiredPod = {
  readonly id: string;
  /** "namespace/name" */
  readonly pod: string;
  readonly uid: string;
  readonly network: string;
  readonly vni: number;
  readonly link: PodLink;
};

type Held = {
  readonly instance: NamespaceWriter;
  readonly netlink: Netlink;
  readonly nft: Nft;
  readonly conntrack: Conntrack;
  readonly network: NetworkItem;
  readonly wishes: Wishes;
  /** No earlier life of this agent has made it. */
  readonly fresh: boolean;
};

/** Resolves when a pass may go on. */
export type Breath = () => Promise<void>;

/** Everything of this node: the root and one instance per network. Turns config and pods into fragments. */
export class Dataplane implements Disposable {
  readonly #config: NodeConfig;
  readonly #nodeName: string;
  readonly #namespaces: Namespaces;
  readonly #rootNetlink = openNetlink();
  readonly #rootNft = openNft();
  readonly #root: NamespaceWriter;
  readonly #held = new Map<string, Held>();
  readonly #pods = new Map<string, WiredPod>();
  /** The pod that has an address, of those that are wired. */
  readonly #podAt = new Map<string, WiredPod>();
  /** Pods that are about to be wired: their policies stand already. */
  readonly #expected = new Map<string, WiredPod>();
  #blocks: readonly BlockUse[] = [];
  #mtu: { readonly underlay: string; readonly value: number } | undefined;
  readonly #dirty = new Set<string>();
  /** Network of each opening that the controller has told of. */
  readonly #openings = new Map<string, string>();
  /** Networks whose connections must be looked at again. */
  readonly #changedRules = new Set<string>();
  /** Addresses of nodes, and hosts of the API server, when connections were last looked at. */
  readonly #nodeAddresses = new Map<string, string>();
  #apiServers: string | undefined;
  #allDirty = true;
  /** Networks of which only what policies say of their pods may have changed. */
  readonly #dirtyPods = new Set<string>();
  /** What tenants want in networks, to be planned one by one. */
  readonly #tenants = new Map<string, ReadonlyMap<string, Wish>>();
  /** The end of what is done for a network in steps. */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** Networks whose policies are still to be made. */
  readonly #unpoliced = new Set<string>();
  #passes: Promise<unknown> = Promise.resolve();
  #host: HostAddresses = { addresses: [], routes: [] };
  /** Prefixes of networks came: before they are routed, the kernel is asked again what is the node's. */
  #surveyDue = true;
  #heldEgress = '';
  #turn = -1;
  readonly #rootWishes: Wishes;
  readonly #rootConntrack = openConntrack();
  readonly #policing: Policing;
  readonly #former: FormerFlows;
  #closedPorts: ReadonlySet<string> = new Set();
  readonly #closedBackends = new Map<string, ReadonlySet<string>>();
  /** Profiles, their groups, or which pods have which may have changed. */
  #policyDirty = false;
  readonly #wanted: Wanted;
  readonly #connectionsPerPod: number | undefined;
  readonly #shares = new ConnectionShares();

  constructor({
    config,
    nodeName,
    netnsDir = '/run/netns',
    onRevoked = () => undefined,
    onTrouble = () => undefined,
    logDenials = false,
    connectionsPerPod,
  }: {
    config: NodeConfig;
    nodeName: string;
    netnsDir?: string;
    onRevoked?: (flows: readonly RevokedFlow[]) => void;
    onTrouble?: (what: string, error: Error) => void;
    logDenials?: boolean;
    /** Connections that one pod may have in one tracking table; 0: as many as it likes. Default: an eighth of the table. */
    connectionsPerPod?: number;
  }) {
    this.#config = config;
    for (const [key, { network }] of config.opening) this.#openings.set(key, network);
    this.#nodeName = nodeName;
    this.#namespaces = new Namespaces(netnsDir);
    this.#root = new NamespaceWriter(
      'root',
      TABLE,
      { netlink: this.#rootNetlink, root: this.#rootNetlink, nft: this.#rootNft, netns: undefined },
      isOurLink,
    );
    this.#rootWishes = new Wishes(this.#root);
    this.#policing = new Policing(config, { onRevoked, log: logDenials });
    this.#policing.open(FLAT_NETWORK, this.#root, this.#rootConntrack);
    this.#wanted = new Wanted(config, nodeName);
    this.#former = new FormerFlows({
      placeOf: (key) => (key === FLAT_NETWORK ? {} : this.#placeOf(key)),
      owners: (key) => this.#ownersIn(key),
      onError: (error) => onTrouble('connections of former owners', error),
    });
    this.#connectionsPerPod = connectionsPerPod;
    this.#readNode();
  }

  /** This node as the controller describes it; undefined until it does. */
  get self(): NodeItem | undefined {
    return this.#config.node.get(this.#nodeName);
  }

  /** MTU of pods: what the underlay carries, less the encapsulation; less still when the network says so. */
  mtuFor(network: string): number {
    const wish = this.#config.network.get(network)?.mtu;
    const most = this.#underlayMtu();
    return wish === undefined ? most : Math.min(wish, most);
  }

  /** Remembers what a stream event touches. Writes nothing. */
  touched(event: StreamEvent): void {
    if (event.type !== 'upsert' && event.type !== 'delete') return;
    const kind: ItemKind = event.kind;
    this.#wanted.touched(event);
    this.#noteRuleChange(event);
    if (event.type === 'upsert' && event.kind === 'cluster') this.#closePorts(event.value);
    if (event.kind === 'closed') this.#closeBackends(event.key, event.type === 'upsert' ? event.value : undefined);
    switch (kind) {
      case 'cluster':
      case 'node':
        this.#allDirty = true;
        this.#policyDirty = true;
        break;
      case 'service': {
        const service = event.type === 'upsert' && event.kind === 'service' ? event.value : undefined;
        for (const network of this.#wanted.concernedBy(event.key, service)) {
          this.#dirty.add(network);
          this.#changedRules.add(network);
        }
        break;
      }
      case 'peer':
        this.#dirty.add(event.key.split('|')[0] ?? '');
        break;
      case 'opening':
        for (const key of this.#networksOfOpening(event)) this.#dirty.add(key);
        if (event.type === 'delete') this.#openings.delete(event.key);
        break;
      case 'source':
        for (const key of this.#wanted.openTo(event.key)) this.#dirty.add(key);
        break;
      case 'closed':
        this.#dirty.add(FLAT_NETWORK);
        break;
      case 'network':
        this.#surveyDue = true;
        this.#dirty.add(event.key);
        this.#dirty.add(FLAT_NETWORK);
        break;
      case 'block':
        this.#surveyDue = true;
        if (event.type === 'upsert' && event.kind === 'block') this.#dirty.add(event.value.network).add(FLAT_NETWORK);
        else this.#allDirty = true;
        break;
      case 'group':
      case 'profile':
      case 'pod':
        this.#policyDirty = true;
        break;
      case 'namespace':
        break;
    }
  }

  /** What pods of the flat network had open to these ports ends with the rules that close them. */
  #closePorts({ closedNodePorts = [], closedFrontends = [] }: ClusterItem): void {
    const ports = [...closedNodePorts, ...closedFrontends].map(closedPort);
    this.#former.close(ports.filter((p) => !this.#closedPorts.has(closedKey(p))));
    this.#closedPorts = new Set(ports.map(closedKey));
  }

  /** The same for the backends of a network. */
  #closeBackends(network: string, item: ClosedItem | undefined): void {
    const before = this.#closedBackends.get(network);
    const backends = (item?.backends ?? []).map((b) => ({ ...closedPort(b), ip: b.ip }));
    this.#former.closeBackends(backends.filter((b) => !before?.has(closedKey(b))));
    this.#closedBackends.set(network, new Set(backends.map(closedKey)));
    if (backends.length === 0) this.#closedBackends.delete(network);
  }

  /** Networks that an opening concerns: the one that it is of now, and the one that it was of before. */
  #networksOfOpening(event: StreamEvent & { type: 'upsert' | 'delete' }): Set<string> {
    const networks = new Set<string>();
    const before = this.#openings.get(event.key);
    if (before !== undefined) networks.add(before);
    if (event.type === 'upsert' && event.kind === 'opening') {
      networks.add(event.value.network);
      this.#openings.set(event.key, event.value.network);
    }
    return networks;
  }

  /** Connections that were made under the old rules are looked at once the new ones stand. */
  #noteRuleChange(event: StreamEvent & { type: 'upsert' | 'delete' }): void {
    switch (event.kind) {
      case 'peer':
        this.#changedRules.add(event.key.split('|')[0] ?? '');
        return;
      case 'network':
        this.#changedRules.add(event.key);
        return;
      case 'opening':
        for (const key of this.#networksOfOpening(event)) this.#changedRules.add(key);
        return;
      case 'source':
        for (const key of this.#wanted.openTo(event.key)) this.#changedRules.add(key);
        return;
      case 'node': {
        const addresses = event.type === 'upsert' && event.kind === 'node' ? addressesOf(event.value).join() : '';
        if (addresses !== this.#nodeAddresses.get(event.key))
          for (const key of this.#held.keys()) this.#changedRules.add(key);
        this.#nodeAddresses.set(event.key, addresses);
        return;
      }
      case 'cluster': {
        const hosts = JSON.stringify(event.type === 'upsert' && event.kind === 'cluster' ? event.value.apiServers : []);
        if (hosts !== this.#apiServers) for (const key of this.#held.keys()) this.#changedRules.add(key);
        this.#apiServers = hosts;
        return;
      }
      default:
    }
  }

  /** The blocks that this node gives addresses from. */
  setBlocks(blocks: readonly BlockUse[]): void {
    // What was given to another node before, and used from here: its instance may have connections to whom had it there.
    const known = new Set(this.#blocks.map((b) => b.cidr));
    for (const { cidr, network, given } of blocks)
      if (given && !known.has(cidr)) this.#former.prefixes(network, [cidr]);
    const text = (b: readonly BlockUse[]): string => JSON.stringify(b.map((x) => [x.cidr, x.network]));
    if (text(blocks) !== text(this.#blocks)) {
      for (const b of [...blocks, ...this.#blocks]) this.#dirty.add(b.network);
      this.#dirty.add(FLAT_NETWORK);
    }
    this.#blocks = blocks;
  }

  /** The instance of a network, made when it is missing: its table stands before its first link is up. */
  open(key: string): NamespaceWriter {
    if (key === FLAT_NETWORK) {
      this.#planNow(FLAT_NETWORK);
      return this.#root;
    }
    const network = this.#config.network.get(key);
    const held = this.#held.get(key);
    if (held && (!network || held.network.vni === network.vni)) return held.instance;
    const { self } = this;
    if (!network || !self) throw new Error(`network ${key} is not known on this node`);
    if (held) this.#letGo(key, held); // made again under its old name: it shares nothing with what it was
    const { path: netns, fresh } = this.#namespaces.ensure(network.vni);
    // Its switches, before any link is there.
    if (fresh) writeSysctls(planInstance(network, self, this.mtuFor(key)).sysctls ?? {}, netns);
    const nft = openNft(netns);
    dropArp(nft);
    const [netlink, conntrack] = [openNetlink(netns), openConntrack(netns)];
    const instance = new NamespaceWriter(key, TABLE, { netlink, root: this.#rootNetlink, nft, netns }, () => true);
    this.#held.set(key, { instance, netlink, nft, conntrack, network, fresh, wishes: new Wishes(instance) });
    this.#policing.open(key, instance, conntrack, netns);
    if (!fresh) {
      // What an earlier life of this agent let be made, and had no time to cut.
      this.#changedRules.add(key);
      this.#former.prefixes(
        key,
        this.#blocks.flatMap((b) => (b.network === key ? [b.cidr] : [])),
      );
    }
    this.#dirty.add(key);
    this.#dirty.add(FLAT_NETWORK);
    // Only what this network needs: ADD waits for it, and others may be dirty with much more.
    this.#planNow(key, FLAT_NETWORK);
    if (!fresh) instance.resync(); // behind the plan, which says what to look at
    instance.apply('additions');
    applyAll(netlink, [{ verb: 'set', kind: 'link', name: 'lo', change: { up: true } }]);
    this.#root.apply('additions');
    return instance;
  }

  /** Resolves when all that a pod which is about to be wired needs stands in the kernel. Opens its instance. */
  async prepare(pod: WiredPod, breath: Breath): Promise<void> {
    this.open(pod.network);
    this.#expected.set(pod.id, pod);
    // The root's are for others: of the flat network, kube-proxy makes the Services.
    if (pod.network !== FLAT_NETWORK) await this.#planTenants(pod.network, 'additions', breath);
    if (!this.#policing.stands(pod.network, pod)) await this.#advance(pod.network, breath);
  }

  /** What tenants want, one by one: written whenever there is some, and with others between. */
  #planTenants(key: string, what: 'additions' | 'all', breath: Breath): Promise<void> {
    const turn = (this.#turns.get(key) ?? Promise.resolve()).then(async () => {
      const wanted = this.#tenants.get(key);
      if (!wanted) return;
      this.#tenants.delete(key);
      const held = this.#held.get(key);
      const [instance, wishes] = key === FLAT_NETWORK ? [this.#root, this.#rootWishes] : [held?.instance, held?.wishes];
      if (!instance || !wishes) return;
      try {
        let left = instance.pending;
        for (const _ of wishes.replaceTenants(wanted)) {
          if (instance.pending >= left + MOST_AT_ONCE) {
            instance.apply(what);
            left = instance.pending;
          }
          await breath();
          if (key !== FLAT_NETWORK && this.#held.get(key)?.instance !== instance) return; // it was made anew
        }
        instance.apply(what);
      } catch (error) {
        if (!this.#tenants.has(key)) this.#tenants.set(key, wanted); // with the next pass
        throw error;
      }
    });
    const settled = turn.catch(() => undefined);
    this.#turns.set(key, settled);
    void settled.then(() => this.#turns.get(key) === settled && this.#turns.delete(key));
    return turn;
  }

  #advance(key: string, breath: Breath): Promise<void> {
    return this.#policing.advance(key, {
      pods: () => this.#podsOf(key, [...this.#pods.values(), ...this.#expected.values()]),
      wish: () => this.self && this.#planPods(key, this.self),
      breath,
    });
  }

  async #write(key: string, what: 'additions' | 'all', breath: Breath): Promise<void> {
    while ((key === FLAT_NETWORK ? this.#root : this.#held.get(key)?.instance)?.apply(what) === true) await breath();
  }

  /** Those of a network. Pods of one that was deleted and made again are on the former one until they end. */
  #podsOf(key: string, pods: Iterable<WiredPod>): WiredPod[] {
    const vni = this.#held.get(key)?.network.vni;
    return [...pods].filter((p) => p.network === key && (vni === undefined || p.vni === vni));
  }

  /** From now on this pod is wired here. Changes memory only; its instance must be open. */
  addPod(pod: WiredPod): void {
    this.#expected.delete(pod.id);
    this.#pods.set(pod.id, pod);
    for (const ip of pod.link.ips) this.#podAt.set(ip, pod);
    const { self } = this;
    if (self) this.#planPods(pod.network, self);
    this.#wishHostPorts(pod);
    this.#former.hostPorts(hostPortsOf(pod));
  }

  /** Writes the host ports of a pod that has been added, wherever the pod is. When this is done they lead to it, for all clients. */
  async openHostPorts(pod: WiredPod): Promise<void> {
    if (!pod.link.ports) return;
    this.#root.apply('additions');
    await this.#former.settle([], hostPortsOf(pod));
  }

  /** Resolves when these addresses may be given: no connection of their former owners is left on this node. */
  settle(ips: readonly string[]): Promise<void> {
    return this.#former.settle(ips);
  }

  /** Connections of these addresses may be left from owners that nobody remembers: but for those of present owners they are cut. */
  doubt(cidrs: readonly string[]): void {
    for (const key of [FLAT_NETWORK, ...this.#held.keys()]) this.#former.prefixes(key, cidrs);
  }

  /** The pod is no longer wired. The kernel forgets it with the next full `apply`. */
  removePod(id: string): void {
    const pod = this.#pods.get(id);
    this.#pods.delete(id);
    this.#expected.delete(id);
    for (const ip of pod?.link.ips ?? []) if (this.#podAt.get(ip) === pod) this.#podAt.delete(ip);
    if (pod) {
      const gone = pod.link.ips.map(hostCidr);
      for (const key of new Set([FLAT_NETWORK, pod.network])) this.#former.prefixes(key, gone);
    }
    this.#policing.forget(id);
    const wishes = pod?.network === FLAT_NETWORK ? this.#rootWishes : this.#held.get(pod?.network ?? '')?.wishes;
    wishes?.drop(`pod ${id}`);
    this.#rootWishes.drop(`pod ${id} ports`);
  }

  /** Drivers of a network's namespace, for the one who makes pod links. */
  netlinkOf(key: string): Netlink {
    const netlink = key === FLAT_NETWORK ? this.#rootNetlink : this.#held.get(key)?.netlink;
    if (!netlink) throw new Error(`network ${key} has no instance on this node`);
    return netlink;
  }

  /** Path of a network's namespace; undefined for the flat network. */
  netnsOf(key: string): string | undefined {
    const held = this.#held.get(key);
    return held && this.#namespaces.pathOf(held.network.vni);
  }

  /**
   * Writes all that differs, network by network; between two of them, `breath` lets others on this thread have their turn when this
   * has taken long. One pass at a time.
   *
   * @param authoritative the config is the controller's present one: what it does not name may be removed
   * @returns networks that could not be realised, with the error
   */
  apply({ authoritative }: { readonly authoritative: boolean }, breath: Breath): Promise<Map<string, Error>> {
    const pass = this.#passes.then(() => this.#apply(authoritative, breath));
    this.#passes = pass.catch(() => undefined);
    return pass;
  }

  async #apply(authoritative: boolean, breath: Breath): Promise<Map<string, Error>> {
    const faults = new Map<string, Error>();
    if (!this.self) return faults;
    const attempt = async (keys: Iterable<string>, work: (key: string) => unknown): Promise<void> => {
      for (const key of keys) {
        try {
          await work(key);
        } catch (error) {
          faults.set(key, error as Error);
        }
        await breath();
      }
    };
    // Rules that change from now on are for the next pass: this one may have written their network already.
    const changedRules = authoritative ? [...this.#changedRules] : [];
    for (const key of changedRules) this.#changedRules.delete(key);
    await attempt([...this.#config.network.keys()], (key) => this.#config.network.has(key) && this.open(key));
    const what = authoritative ? 'all' : 'additions';
    this.#noteDirty();
    for (const key of [...this.#held.keys(), FLAT_NETWORK]) {
      await attempt([key], () => this.#planNow(key));
      await attempt([key], () => this.#write(key, what, breath));
      await attempt([key], () => this.#planTenants(key, what, breath));
      if (!this.#unpoliced.delete(key)) continue;
      await attempt([key], () => this.#advance(key, breath));
      if (faults.has(key)) this.#unpoliced.add(key);
    }
    if (authoritative) {
      // Behind the rules, so that a connection that is cut cannot be made anew.
      await attempt(changedRules, (key) => this.#cutStaleFlows(key));
      await attempt([...this.#policing.changed], (key) => this.#policing.cut(key, this.#ownAddresses(key)));
      this.#removeUnused();
    }
    for (const key of this.#dirty) if (key !== FLAT_NETWORK && !this.#held.has(key)) this.#dirty.delete(key);
    void this.#former.cut(faults);
    return faults;
  }

  #placeOf(key: string): { readonly netns: string } | undefined {
    const netns = this.netnsOf(key);
    return netns === undefined ? undefined : { netns };
  }

  /** Who has which address and host port, as one of the namespaces sees it. */
  #ownersIn(key: string): PresentOwners {
    const node = new Set((this.self?.podCIDRs ?? []).flatMap(ownAddresses));
    const local = new Set(key === FLAT_NETWORK ? this.#ownAddresses(key) : []);
    const nodes = new Set([...this.#config.node.values()].flatMap(addressesOf));
    const mapped = hostPortTargets([...this.#pods.values()].map((p) => p.link));
    return {
      // Of the pods of that moment: some come while the walk goes on. In the root there are packets of all networks.
      owns: (ip) => {
        const pod = this.#podAt.get(ip);
        return node.has(ip) || (pod !== undefined && (key === FLAT_NETWORK || pod.network === key));
      },
      isLocal: (ip) => local.has(ip) || ip.startsWith('127.'),
      isNode: (ip) => nodes.has(ip),
      isClosedPort: (port) => {
        const { ip: _, ...onNodes } = port;
        return this.#closedPorts.has(closedKey(port)) || this.#closedPorts.has(closedKey(onNodes));
      },
      isFlat: (ip) => this.#podAt.get(ip)?.network === FLAT_NETWORK,
      mappedTo: (ip, protocol, port) => mapped(ip, protocol, port),
    };
  }

  /** Where host ports lead to in a network. */
  #mappedPorts(network: string): Set<string> {
    const pods = [...this.#pods.values()].filter((p) => p.network === network);
    return new Set(
      pods.flatMap(({ link: { ips, ports = [] } }) =>
        ips.flatMap((ip) => ports.map((p) => exposedKey(ip, p.protocol, p.containerPort))),
      ),
    );
  }

  #cutStaleFlows(key: string): void {
    const held = this.#held.get(key);
    if (!held) return;
    try {
      // To read them costs a walk over the connections of the whole node.
      if (held.conntrack.count() === 0) return;
      const flows = held.conntrack.flows();
      if (flows.length > 0)
        held.conntrack.remove(
          staleFlows(flows, this.#wanted.flowRules(held.network, this.#blocks, this.#mappedPorts(key))),
        );
    } catch (error) {
      this.#changedRules.add(key); // with the next pass
      throw error;
    }
  }

  /** What is this node itself, seen from a network: its own processes use other addresses towards an instance. */
  #ownAddresses(key: string): string[] {
    const { self } = this;
    if (key === FLAT_NETWORK) return this.#rootNetlink.addresses().map((a) => a.cidr.split('/')[0] ?? '');
    return [...(self?.podCIDRs.map(probeSource) ?? []), ...(self?.addresses ?? [])];
  }

  /** Reads the kernel again, everywhere, and puts right what others changed. */
  resync(): void {
    this.#readNode();
    this.#root.resync();
    for (const { instance } of this.#held.values()) instance.resync();
  }

  /**
   * Whether the root's table is there. Somebody else's `nft flush ruleset` takes it away, and with it what keeps strangers from
   * speaking VXLAN to this node: too much to wait for the root's turn in the audit.
   */
  guarded(): boolean {
    try {
      return this.#rootNft.list(`list chain ${TABLE} input_late`).includes('goto vxlan');
    } catch (error) {
      if (error instanceof NftError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  /** Reads the root's state again. */
  resyncRoot(): void {
    this.#root.resync();
  }

  /** As {@link resync}, for one namespace, each in its turn: how many there are, and whether this one has to be written to. */
  resyncNext(): { readonly count: number; readonly drifted: boolean } {
    const all = [this.#root, ...[...this.#held.values()].map((h) => h.instance)];
    this.#turn = (this.#turn + 1) % all.length;
    if (this.#turn === 0) this.#readNode();
    const turn = all[this.#turn];
    turn?.resync();
    // Once in a round all is looked at, whatever this one says.
    return { count: all.length, drifted: this.#turn === 0 || turn?.drifted === true };
  }

  /** What plans need of the node itself, and what others may change: read at the next plan, or now. */
  #readNode(): void {
    this.#mtu = undefined;
    dropOurArp(this.#rootNft);
    const most = Number(readSysctl('net/netfilter/nf_conntrack_max') ?? DEFAULT_CONNTRACK_MAX);
    const shares = connectionShares(most, this.#connectionsPerPod);
    const onLink = onLinkPrefixes(this.#rootNetlink.hostRoutes());
    if (JSON.stringify([shares, onLink]) === JSON.stringify([this.#wanted.shares, this.#wanted.onLink])) return;
    this.#wanted.shares = shares;
    this.#wanted.onLink = onLink;
    this.#allDirty = true;
  }

  /** Keeps out those that have more than their share of connection tracking; see {@link ConnectionShares}. */
  async balance(): Promise<void> {
    const { shares } = this.#wanted;
    if (!shares) return;
    const root = { instance: this.#root, conntrack: this.#rootConntrack };
    const owners = (): SourceOwners => this.#wanted.owners(this.#blocks);
    await this.#shares.look(trackedTables(shares, { root, held: this.#held, owners, nodes: this.#config.node }));
  }

  /** How full connection tracking is, by network. */
  shareStatus(): ShareStatus[] {
    return this.#shares.status();
  }

  /** Whether a pod's link is there; undefined while the network's instance is not open, and so nobody has looked. */
  hasLink(network: string, hostIf: string): boolean | undefined {
    return network === FLAT_NETWORK ? this.#root.hasLink(hostIf) : this.#held.get(network)?.instance.hasLink(hostIf);
  }

  /** Egress addresses that this node has to have now; they belong on the device of its own address. */
  egressAddresses(): string[] {
    return this.#wanted.egressAddresses();
  }

  /** Which of them it has. Returns whether that is new: networks leave by an address only while the node has it. */
  setHeldEgress(addresses: readonly string[]): boolean {
    const text = [...addresses].sort().join();
    if (text === this.#heldEgress) return false;
    this.#heldEgress = text;
    this.#wanted.setHeld(addresses);
    for (const [key, { egressVia }] of this.#config.network) {
      if (egressVia?.node !== this.#nodeName) continue;
      this.#dirty.add(key).add(FLAT_NETWORK);
      this.#changedRules.add(key);
    }
    return true;
  }

  /** Networks that leave the cluster by an address of this node, by address. */
  networksBy(address: string): string[] {
    return [...this.#config.network.values()].flatMap(({ key, egressVia }) =>
      egressVia?.node === this.#nodeName && egressVia.addresses.includes(address) ? key : [],
    );
  }

  /** The device that has this node's own address. Asks the kernel. */
  underlayDev(): string | undefined {
    return this.#rootNetlink.addresses().find((a) => a.cidr.split('/')[0] === this.self?.underlay)?.dev;
  }

  /** Addresses and routes of this node beside its pods, as the kernel has them now: no network takes any of them from the node. */
  survey(): HostAddresses {
    const egress = [...this.#config.network.values()].flatMap((n) => n.egressVia?.addresses ?? []);
    const now = hostAddresses(this.#rootNetlink, { podCIDRs: this.self?.podCIDRs ?? [], egress });
    this.#surveyDue = false;
    if (JSON.stringify(now) === JSON.stringify(this.#host)) return this.#host;
    this.#host = now;
    this.#wanted.setHost(now);
    this.#allDirty = true;
    for (const key of this.#held.keys()) this.#changedRules.add(key);
    return now;
  }

  /** Networks that this node does not carry beyond its own instance, each with the reason. */
  closedHere(): Map<string, string> {
    return this.#wanted.closedHere();
  }

  /** Networks that pods of this node are on, or will be on next. */
  neededNetworks(): Set<string> {
    const needed = new Set<string>(this.self ? [FLAT_NETWORK] : []);
    const pods = [...this.#config.pod.values()].flatMap((p) => [p, ...(p.interfaces ?? [])]);
    for (const { assignment } of [...pods, ...this.#config.namespace.values()]) {
      if ('network' in assignment && this.#config.network.has(assignment.network)) needed.add(assignment.network);
    }
    return needed;
  }

  /** Networks in which the policies of some pods are closed, as they are too much for this node; each with the reason. */
  policiesOverBudget(): (readonly [string, string])[] {
    return this.#policing.overBudget();
  }

  /** Packets that policies have dropped since the last call; see {@link Policing.denials}. */
  denials(): Denial[] {
    return this.#policing.denials();
  }

  /** Packets that {@link denials} has left out so far. */
  get denialsLeft(): number {
    return this.#policing.denialsLeft;
  }

  /** What the kernel has counted so far. */
  counters(): Promise<Counters> {
    const networks = [...this.#held].map(([key, { nft }]) => [key, nft] as const);
    return readCounters([[FLAT_NETWORK, this.#rootNft], ...networks], (n) => this.#policing.ruleOf(n));
  }

  [Symbol.dispose](): void {
    for (const held of this.#held.values()) close(held);
    this.#rootNft[Symbol.dispose]();
    this.#policing[Symbol.dispose]();
    this.#rootNetlink[Symbol.dispose]();
  }

  /** What concerns all networks is noted for each of them: they are planned one by one. */
  #noteDirty(): void {
    if (this.#surveyDue) this.survey();
    const all = this.#allDirty || this.#policyDirty ? [...this.#held.keys(), FLAT_NETWORK] : [];
    if (this.#allDirty) for (const key of all) this.#dirty.add(key);
    if (this.#policyDirty) for (const key of all) this.#dirtyPods.add(key);
    this.#allDirty = false;
    this.#policyDirty = false;
  }

  /** Plans these networks, and no other, if anything of them has changed. */
  #planNow(...keys: readonly string[]): void {
    const { self } = this;
    if (!self) return;
    this.#noteDirty();
    for (const key of keys) {
      if (this.#dirty.delete(key)) {
        this.#dirtyPods.delete(key);
        this.#unpoliced.add(key);
        if (key === FLAT_NETWORK) this.#planRoot(self);
        else this.#planNetwork(key, self);
      } else if (this.#dirtyPods.delete(key)) {
        this.#unpoliced.add(key);
        this.#planPods(key, self);
      }
    }
  }

  /** The pods of a network, each with the chains of its policies. */
  #planPods(key: string, self: NodeItem): void {
    const wishes = key === FLAT_NETWORK ? this.#rootWishes : this.#held.get(key)?.wishes;
    if (!wishes) return;
    const pods = this.#podsOf(key, this.#pods.values());
    const chains = this.#policing.plan(key, pods);
    for (const pod of pods) this.#wishPod(wishes, pod, self, chains.get(pod.id) ?? NO_POLICY);
  }

  #planRoot(self: NodeItem): void {
    const instances = [...this.#held].map(([key, { network }]) => ({ network, mtu: this.mtuFor(key) }));
    this.#replace(
      FLAT_NETWORK,
      this.#rootWishes,
      this.#root,
      this.#wanted.root(self, this.#underlayMtu(), instances, this.#blocks),
    );
    this.#planPods(FLAT_NETWORK, self);
  }

  /** What an earlier life of this agent has left is replaced by all that is wanted, in one moment. */
  #replace(key: string, wishes: Wishes, instance: NamespaceWriter, wanted: ReadonlyMap<string, Wish>): void {
    wishes.replace(wanted);
    this.#tenants.set(key, wanted);
    if (instance.tableWrites > 0 || this.#held.get(key)?.fresh === true) return;
    this.#tenants.delete(key);
    for (const _ of wishes.replaceTenants(wanted));
  }

  #planNetwork(key: string, self: NodeItem): void {
    const held = this.#held.get(key);
    const network = this.#config.network.get(key) ?? held?.network;
    if (!held || !network || held.network.vni !== network.vni) return; // `open` is still to make its instance
    this.#held.set(key, { ...held, network });
    this.#replace(
      key,
      held.wishes,
      held.instance,
      this.#wanted.instance(network, self, this.mtuFor(key), this.#blocks),
    );
    this.#planPods(key, self);
  }

  #wishPod(wishes: Wishes, pod: WiredPod, self: NodeItem, chains: PodChains): void {
    const flat = pod.network === FLAT_NETWORK;
    wishes.set(`pod ${pod.id}`, {
      deps: [pod, self, JSON.stringify(chains)],
      plan: () => (flat ? planFlatPod(pod.link, self, chains) : planPod(pod.link, chains)),
    });
  }

  /** Whatever a pod's network is, its host ports are the root's. */
  #wishHostPorts({ id, link }: WiredPod): void {
    const { ips, ports } = link;
    if (!ports) return;
    this.#rootWishes.set(`pod ${id} ports`, { deps: [link], plan: () => planHostPorts(ips, ports) });
  }

  /** Instances that the controller no longer names and that no pod is on; also those that an earlier life left behind. */
  #removeUnused(): void {
    const inUse = new Set([...this.#pods.values()].map((p) => p.vni));
    for (const network of this.#config.network.values()) inUse.add(network.vni);
    for (const [key, held] of this.#held) if (!inUse.has(held.network.vni)) this.#letGo(key, held);
    for (const vni of this.#namespaces.vnis()) {
      if (inUse.has(vni)) continue;
      // The uplink goes at once; the rest of the namespace when the kernel gets to it.
      const [error] = this.#rootNetlink.apply([{ verb: 'delete', kind: 'link', name: uplinkName(vni) }]);
      if (!error || isGone(error)) this.#root.linkGone(uplinkName(vni));
      this.#namespaces.remove(vni);
    }
    if (this.#dirty.has(FLAT_NETWORK)) {
      this.#planNow(FLAT_NETWORK);
      this.#root.apply('all');
    }
  }

  #letGo(key: string, held: Held): void {
    close(held);
    this.#held.delete(key);
    this.#policing.close(key);
    this.#dirty.add(FLAT_NETWORK);
  }

  /** Two dumps, so asked once per node address; a resync asks again. */
  #underlayMtu(): number {
    const { self } = this;
    if (this.#mtu && this.#mtu.underlay === self?.underlay) return this.#mtu.value;
    const dev = this.underlayDev();
    const mtu = this.#rootNetlink.links().find((l) => l.name === dev)?.mtu ?? 1500;
    const value = mtu - VXLAN_OVERHEAD[familyOf(self?.underlay ?? '')];
    if (dev !== undefined && self) this.#mtu = { underlay: self.underlay, value };
    return value;
  }
}

/** Objects of a table that are written at once, where they may come one by one. */
const MOST_AT_ONCE = 256;

const hostPortsOf = ({ link }: WiredPod): HostPort[] =>
  (link.ports ?? []).map(({ protocol, hostPort }) => ({ protocol, port: hostPort }));

const closedPort = ({
  ip,
  protocol,
  port,
}: Pick<ClosedNodePort, 'protocol' | 'port'> & { ip?: string }): ClosedPort => ({
  protocol: protocol.toLowerCase() as HostPort['protocol'],
  port,
  ...(ip === undefined ? {} : { ip }),
});

/** What the kernel gives itself with 1 GiB of memory or more. */
const DEFAULT_CONNTRACK_MAX = 262_144;

function close({ netlink, nft }: Pick<Held, 'netlink' | 'nft'>): void {
  for (const driver of [netlink, nft]) driver[Symbol.dispose]();
}
