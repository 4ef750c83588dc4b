import { FLAT_NETWORK } from '../../api/names.ts';
import type { NetworkItem, NodeItem } from '../../api/nodeconfig.ts';
import type { BlockUse } from '../../core/ipam/node-ipam.ts';
import { applyAll } from '../../lib/netlink/netlink.ts';
import type { Breath } from '../../lib/reconcile/breathing.ts';
import { type Desired, selfOf } from '../desired/desired.ts';
import { flowRules } from '../desired/flow-rules.ts';
import type { Pending } from '../desired/pending.ts';
import { NO_POLICY } from '../desired/policy-table.ts';
import { planHostPorts } from '../plan/host-ports.ts';
import { planInstance } from '../plan/instance.ts';
import { planFlatPod, planPod } from '../plan/pod.ts';
import { staleFlows } from '../plan/stale-flows.ts';
import type { ChangedHands } from './changed-hands.ts';
import type { NodeWatch } from './node-watch.ts';
import { ownAddressesIn } from './own-addresses.ts';
import type { Place, Places } from './places.ts';
import { TenantWishes } from './tenant-wishes.ts';
import type { Policing } from './policing.ts';
import type { WiredPod, WiredPods } from './wired-pods.ts';

/** What {@link Networks} works on. */
export type NetworkParts = {
  readonly desired: Desired;
  readonly pending: Pending;
  readonly places: Places;
  readonly pods: WiredPods;
  readonly hands: ChangedHands;
  readonly policing: Policing;
  readonly node: NodeWatch;
};

/**
 * The networks of this node: `open` makes the place of one, `set` makes all as the configuration and the pods want them, `close` lets
 * go of one.
 */
export class Networks {
  readonly #parts: NetworkParts;
  readonly #tenants: TenantWishes;
  /** Networks whose policies are still to be made. */
  readonly #unpoliced = new Set<string>();
  #blocks: readonly BlockUse[] = [];
  #passes: Promise<unknown> = Promise.resolve();

  constructor(parts: NetworkParts) {
    this.#parts = parts;
    this.#tenants = new TenantWishes(parts.places);
    parts.policing.open(parts.places.root);
  }

  /** The place of a network, made when it is missing: its table stands before its first link is up. */
  open(key: string): Place {
    const { desired, places, pending, node } = this.#parts;
    if (key === FLAT_NETWORK) {
      this.#plan(FLAT_NETWORK);
      return places.root;
    }
    const network = desired.store.config.network.get(key);
    const known = places.instances.get(key);
    if (known && (!network || known.network.vni === network.vni)) return known;
    const self = selfOf(desired);
    if (!network || !self) throw new Error(`network ${key} is not known on this node`);
    if (known) this.close(key); // made again under its old name: it shares nothing with what it was
    const instance = places.make(network, planInstance(network, self, node.mtuFor(key)).sysctls ?? {});
    this.#parts.policing.open(instance);
    // What an earlier life of this agent let be made, and had no time to cut.
    if (!instance.fresh) this.#doubt(key);
    pending.plan(key, FLAT_NETWORK);
    // Only what this network needs: ADD waits for it, and others may wait to be planned with much more.
    this.#plan(key, FLAT_NETWORK);
    if (!instance.fresh) instance.writer.resync(); // after the plan, which says what to look at
    instance.writer.apply('additions');
    applyAll(instance.netlink, [{ verb: 'set', kind: 'link', name: 'lo', change: { up: true } }]);
    places.root.writer.apply('additions');
    return instance;
  }

  /** Lets go of a network's instance: it is no more planned, and its namespace goes when no pod is on it. */
  close(key: string): void {
    this.#parts.places.letGo(key);
    this.#parts.policing.close(key);
    this.#parts.pending.plan(FLAT_NETWORK);
  }

  /**
   * Writes all that differs, network by network; between two of them, `breath` lets others on this thread have their turn when this
   * has taken long. One pass at a time.
   *
   * @param authoritative the config is the controller's present one: what it does not name may be removed
   * @returns networks that could not be realised, with the error
   */
  set({ authoritative }: { readonly authoritative: boolean }, breath: Breath): Promise<Map<string, Error>> {
    const pass = this.#passes.then(() => this.#set(authoritative, breath));
    this.#passes = pass.catch(() => undefined);
    return pass;
  }

  get blocks(): readonly BlockUse[] {
    return this.#blocks;
  }

  /** The blocks that this node gives addresses from. */
  setBlocks(blocks: readonly BlockUse[]): void {
    const { hands, pending } = this.#parts;
    hands.blocks(blocks);
    const text = (of: readonly BlockUse[]): string => JSON.stringify(of.map((b) => [b.cidr, b.network]));
    if (text(blocks) !== text(this.#blocks))
      pending.plan(...[...blocks, ...this.#blocks].map((b) => b.network), FLAT_NETWORK);
    this.#blocks = blocks;
  }

  /** Resolves when all that a pod which is about to be wired needs stands in the kernel. Opens its network. */
  async prepare(pod: WiredPod, breath: Breath): Promise<void> {
    const { pods, policing } = this.#parts;
    this.open(pod.network);
    pods.expect(pod);
    // The root's are for others: of the flat network, kube-proxy makes the Services.
    if (pod.network !== FLAT_NETWORK) await this.#tenants.write(pod.network, 'additions', breath);
    if (!policing.stands(pod.network, pod)) await this.#police(pod.network, breath);
  }

  /** From now on this pod is wired here. Changes memory only; its network must be open. */
  addPod(pod: WiredPod): void {
    const { desired, places, pods, hands } = this.#parts;
    pods.add(pod);
    const self = selfOf(desired);
    if (self) this.#planPods(pod.network, self);
    // Whatever a pod's network is, its host ports are the root's.
    const { ips, ports } = pod.link;
    if (ports)
      places.root.wishes.set(`pod ${pod.id} ports`, { deps: [pod.link], plan: () => planHostPorts(ips, ports) });
    hands.came(pod);
  }

  /** Writes the host ports of a pod that has been added. When this is done they lead to it, for all clients. */
  async openHostPorts(pod: WiredPod): Promise<void> {
    if (!pod.link.ports) return;
    this.#parts.places.root.writer.apply('additions');
    await this.#parts.hands.settle([], pod);
  }

  /** The pod is no longer wired. The kernel forgets it with the next full `set`. */
  removePod(id: string): void {
    const { places, pods, hands, policing } = this.#parts;
    const pod = pods.remove(id);
    if (pod) hands.went(pod);
    policing.forget(id);
    places.get(pod?.network ?? '')?.wishes.drop(`pod ${id}`);
    places.root.wishes.drop(`pod ${id} ports`);
  }

  async #set(authoritative: boolean, breath: Breath): Promise<Map<string, Error>> {
    const { desired, places, pending, policing, hands } = this.#parts;
    const faults = new Map<string, Error>();
    if (!selfOf(desired)) return faults;
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
    this.#absorb();
    // Rules that change from now on are for the next pass: this one may have written their network already.
    const changedRules = authoritative ? pending.takeConnections() : [];
    const what = authoritative ? 'all' : 'additions';
    const { network } = desired.store.config;
    await attempt([...network.keys()], (key) => network.has(key) && this.open(key));
    for (const key of places.keys) {
      await attempt([key], () => this.#plan(key));
      await attempt([key], () => this.#write(key, what, breath));
      await attempt([key], () => this.#tenants.write(key, what, breath));
      if (!this.#unpoliced.delete(key)) continue;
      await attempt([key], () => this.#police(key, breath));
      if (faults.has(key)) this.#unpoliced.add(key);
    }
    if (authoritative) {
      // After the rules, so that a connection that is cut cannot be made anew.
      await attempt(changedRules, (key) => this.#cutStaleFlows(key));
      await attempt([...policing.changed], (key) => policing.cut(key, ownAddressesIn(key, desired, places)));
      this.#removeUnused();
    }
    pending.keepOnly(new Set(places.keys));
    hands.cut(faults);
    return faults;
  }

  async #write(key: string, what: 'additions' | 'all', breath: Breath): Promise<void> {
    while (this.#parts.places.get(key)?.writer.apply(what) === true) await breath();
  }

  /** Makes the policies of a network's pods, in steps. */
  #police(key: string, breath: Breath): Promise<void> {
    const { desired, places, pods, policing } = this.#parts;
    return policing.advance(key, {
      pods: () => pods.ofAll(key, places.instances.get(key)?.network.vni),
      wish: () => {
        const self = selfOf(desired);
        if (self) this.#planPods(key, self);
      },
      breath,
    });
  }

  /** Takes in what the configuration has changed. */
  #absorb(): void {
    const { desired, places, pending, hands, node } = this.#parts;
    const changes = desired.store.takeChanges();
    // Before prefixes are routed, the kernel is asked again what is the node's.
    if (changes.prefixes) node.survey();
    hands.close(changes);
    pending.absorb(changes, places.keys);
  }

  /** Plans these networks, and no other, if anything of them has changed. */
  #plan(...keys: readonly string[]): void {
    const { desired, pending } = this.#parts;
    const self = selfOf(desired);
    if (!self) return;
    this.#absorb();
    for (const key of keys) {
      const what = pending.takePlan(key);
      if (what) this.#unpoliced.add(key);
      if (what === 'network' && key === FLAT_NETWORK) this.#planRoot(self);
      else if (what === 'network') this.#planInstance(key, self);
      else if (what === 'pods') this.#planPods(key, self);
    }
  }

  #planRoot(self: NodeItem): void {
    const { desired, places, node } = this.#parts;
    const instances = [...places.instances].map(([key, { network }]) => ({ network, mtu: node.mtuFor(key) }));
    this.#tenants.replace(places.root, desired.wanted.root(self, node.mtu(), instances, this.#blocks));
    this.#planPods(FLAT_NETWORK, self);
  }

  #planInstance(key: string, self: NodeItem): void {
    const { desired, places, node } = this.#parts;
    const held = places.instances.get(key);
    const network = desired.store.config.network.get(key) ?? held?.network;
    if (!held || !network || held.network.vni !== network.vni) return; // `open` is still to make its instance
    places.renew(network);
    this.#tenants.replace(held, desired.wanted.instance(network, self, node.mtuFor(key), this.#blocks));
    this.#planPods(key, self);
  }

  /** The pods of a network, each with the chains of its policies. */
  #planPods(key: string, self: NodeItem): void {
    const { places, pods: wired, policing } = this.#parts;
    const wishes = places.get(key)?.wishes;
    if (!wishes) return;
    const pods = wired.of(key, places.instances.get(key)?.network.vni);
    const chainsOf = policing.plan(key, pods);
    for (const pod of pods) {
      const chains = chainsOf.get(pod.id) ?? NO_POLICY;
      wishes.set(`pod ${pod.id}`, {
        deps: [pod, self, JSON.stringify(chains)],
        plan: () => (key === FLAT_NETWORK ? planFlatPod(pod.link, self, chains) : planPod(pod.link, chains)),
      });
    }
  }

  #doubt(key: string): void {
    const { pending, hands } = this.#parts;
    pending.lookAt(key);
    hands.doubtIn(
      key,
      this.#blocks.flatMap((b) => (b.network === key ? [b.cidr] : [])),
    );
  }

  #cutStaleFlows(key: string): void {
    const { desired, places, pods, pending } = this.#parts;
    const instance = places.instances.get(key);
    if (!instance) return;
    const { conntrack, network } = instance;
    try {
      // To read them costs a walk over the connections of the whole node.
      if (conntrack.count() === 0) return;
      const flows = conntrack.flows();
      if (flows.length > 0)
        conntrack.remove(staleFlows(flows, flowRules(desired, network, this.#blocks, pods.mappedPorts(key))));
    } catch (error) {
      pending.lookAt(key); // with the next pass
      throw error;
    }
  }

  /** Instances that the controller no longer names and that no pod is on; also those that an earlier life left behind. */
  #removeUnused(): void {
    const { desired, places, pods, pending } = this.#parts;
    const inUse = new Set([...pods.vnis, ...vnisOf(desired.store.config.network.values())]);
    for (const [key, { network }] of places.instances) if (!inUse.has(network.vni)) this.close(key);
    places.removeAllBut(inUse);
    if (!pending.isPlanned(FLAT_NETWORK)) return;
    this.#plan(FLAT_NETWORK);
    places.root.writer.apply('all');
  }
}

const vnisOf = (networks: Iterable<NetworkItem>): number[] => [...networks].map((n) => n.vni);
