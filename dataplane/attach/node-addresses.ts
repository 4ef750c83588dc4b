import { CNI_ERRORS } from '../../api/cni.ts';
import type { NodeConfig, NodeItem } from '../../api/nodeconfig.ts';
import type { IpamEvent } from '../../core/ipam/ipam-event.ts';
import { type BlockUse, type Needed, NodeIpam } from '../../core/ipam/node-ipam.ts';
import { snapshotOf, undo } from '../../core/ipam/replay.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { AttachError } from './error.ts';
import type { Attachment, JournalEntry } from './attachment.ts';
import type { Journal } from './journal.ts';
import { rebuild } from './rebuild.ts';

/** What addresses need of the rest of the agent. */
export type AddressSeams = {
  readonly config: NodeConfig;
  readonly journal: Journal;
  readonly self: () => NodeItem | undefined;
  /** Networks that pods of this node are on, or will be on next. */
  readonly neededNetworks: () => ReadonlySet<string>;
  /** The node's blocks, as far as packets go, have changed. */
  readonly onBlocks: (blocks: readonly BlockUse[]) => void;
  /** Connections of these prefixes may be left from other owners. */
  readonly doubt: (cidrs: readonly string[]) => void;
  /** Something was passed over. */
  readonly onTrouble: (message: string) => void;
  /** Wall-clock milliseconds. */
  readonly now: () => number;
};

/** Blocks and addresses of this node, each change written down before it counts. */
export class NodeAddresses {
  readonly #seams: AddressSeams;
  readonly #ipam: NodeIpam;
  /** Assigned blocks that this node has done with and that the controller has not taken back yet. */
  readonly #returned = new Set<string>();

  constructor(
    seams: AddressSeams,
    { podCIDRs, restMs }: { readonly podCIDRs: readonly string[]; readonly restMs: number },
  ) {
    this.#seams = seams;
    this.#ipam = new NodeIpam({ podCIDRs, restMs });
  }

  get blocks(): BlockUse[] {
    return this.#ipam.blocks(this.#seams.now());
  }

  get returned(): string[] {
    return [...this.#returned];
  }

  /** Rebuilds what was, from the journal. Returns the attachments in it. */
  restore(): ReadonlyMap<string, Attachment> {
    const { journal, onTrouble, now } = this.#seams;
    const { entries, spoilt } = journal.load();
    const { byId, returned, owned, passedOver } = rebuild(entries, this.#ipam);
    for (const cidr of returned) this.#returned.add(cidr);
    if (spoilt + passedOver > 0) {
      journal.setAside();
      journal.rewrite(this.#snapshot(byId.values()));
      onTrouble(`${spoilt + passedOver} entries of the journal cannot be used; the file is kept beside it as .broken`);
    }
    // An address that was taken for an ADD which never came to its end belongs to no pod.
    const wanted = new Set([...byId.values()].flatMap((a) => a.ips));
    journal.append([...owned].filter((ip) => !wanted.has(ip)).flatMap((ip) => this.#ipam.release(ip, now())));
    return byId;
  }

  /** Addresses that belong to another node by now: the node has had other pod CIDRs when they were given. */
  outside(): { readonly ip: string; readonly owner: string }[] {
    return this.#ipam.outside();
  }

  /** Follows the node's pod CIDRs: a node that is removed and added again may get others while this runs. */
  #followPodCIDRs(): void {
    const self = this.#seams.self();
    if (!self || !this.#ipam.held.setPodCIDRs(self.podCIDRs)) return;
    // Their addresses were other nodes' a moment ago, and there are connections to those.
    this.#seams.doubt(self.podCIDRs);
    this.tellBlocks();
  }

  /** Makes sure of a block for each network that pods here need, so that other nodes know it before the first pod. */
  prepare(): void {
    const events: IpamEvent[] = [];
    for (const network of this.#seams.neededNetworks())
      events.push(...this.#ipam.prepare(network, this.#seams.now(), this.#given(network)));
    if (events.length === 0) return;
    this.#writeDown(events, events);
    this.tellBlocks();
  }

  /**
   * Takes in blocks that the controller gave to this node, and lets go of those that it gave no more. Only by its present word:
   * a configuration from before a reboot may name what has been given to others since. Before, the node's own pod CIDRs.
   */
  adopt(): void {
    this.#followPodCIDRs();
    const events: IpamEvent[] = [];
    const self = this.#seams.self();
    const mine = [...this.#seams.config.block.values()].filter((b) => b.given && b.node === self?.name);
    const told = new Set(mine.map((b) => b.cidr));
    const before = this.#returned.size;
    for (const cidr of this.#returned) if (!told.has(cidr)) this.#returned.delete(cidr);
    for (const { cidr, network, except = [] } of mine)
      if (!this.#returned.has(cidr)) events.push(...this.#takeIn(cidr, network, except));
    for (const { cidr, given } of this.blocks) if (given && !told.has(cidr)) events.push(...this.#ipam.takeBack(cidr));
    if (events.length > 0) this.#writeDown(events, events);
    if (events.length > 0 || before !== this.#returned.size) this.tellBlocks();
  }

  /**
   * Gives a pod its addresses, and writes them down together with its attachment. Throws an IpamError when there is none, and an
   * AttachError when nothing can be written.
   *
   * @param attachmentOf the attachment with these addresses
   */
  give(
    network: string,
    id: string,
    asked: readonly string[],
    attachmentOf: (ips: readonly string[]) => Attachment,
  ): Attachment {
    const { ips, events } = this.#ipam.allocate(network, id, this.#seams.now(), {
      given: this.#given(network),
      ips: asked,
    });
    const attachment = attachmentOf(ips);
    try {
      this.#writeDown([...events, { op: 'attach', attachment }], events);
    } catch (cause) {
      throw new AttachError(CNI_ERRORS.Io, `the journal cannot be written: ${(cause as Error).message}`, { cause });
    }
    if (events.some((e) => e.op === 'block' || e.op === 'unblock')) this.tellBlocks();
    return attachment;
  }

  /** The pod's addresses rest. */
  release(a: Attachment): void {
    const now = this.#seams.now();
    const wasOutside = this.#ipam.outside().some(({ owner }) => owner === a.id);
    const events = a.ips.flatMap((ip) => (this.#ipam.ownerOf(ip) === a.id ? this.#ipam.release(ip, now) : []));
    if (wasOutside) this.tellBlocks();
    try {
      this.#seams.journal.append([{ op: 'detach', id: a.id }, ...events]);
    } catch {
      // A full disk must not keep a pod from ending. After a restart the attachment is found without a link, and freed then.
    }
  }

  /** Gives back blocks that no pod needs, by the controller's present word; keeps the journal short. */
  cleanUp(attached: readonly Attachment[], { authoritative }: { readonly authoritative: boolean }): void {
    if (authoritative) this.#reclaim(attached);
    const { journal } = this.#seams;
    if (journal.isLong(snapshotOf(this.#ipam.held).length + this.#returned.size + attached.length))
      journal.rewrite(this.#snapshot(attached));
  }

  #reclaim(attached: readonly Attachment[]): void {
    const events = this.#ipam.reclaim(this.#seams.now(), this.#needed(attached));
    this.#writeDown(events, events);
    for (const e of events) if (e.op === 'unblock' && e.given) this.#returned.add(e.cidr);
    if (events.length > 0) this.tellBlocks();
  }

  /** Tells blocks as far as packets go: of those that belong to other nodes by now, only the addresses that are still in use here. */
  tellBlocks(): void {
    const outside = this.#ipam
      .outside()
      .map(({ ip, network }) => ({ cidr: hostCidr(ip), network, given: false, used: 1, resting: 0, free: 0 }));
    this.#seams.onBlocks([...this.blocks, ...outside]);
  }

  /** A block that overlaps another is not taken: it alone must not keep the rest of the configuration from being realised. */
  #takeIn(cidr: string, network: string, except: readonly string[]): IpamEvent[] {
    try {
      return this.#ipam.give(cidr, network, except);
    } catch (error) {
      this.#seams.onTrouble(`block ${cidr} of network ${network} cannot be used: ${(error as Error).message}`);
      return [];
    }
  }

  #snapshot(attached: Iterable<Attachment>): JournalEntry[] {
    return [
      ...snapshotOf(this.#ipam.held),
      ...[...this.#returned].map((cidr): IpamEvent => ({ op: 'unblock', cidr, network: '', given: true })),
      ...[...attached].map((attachment): JournalEntry => ({ op: 'attach', attachment })),
    ];
  }

  /** Families for which a network's addresses are the controller's to give. */
  #given(network: string): readonly (4 | 6)[] {
    return [...new Set((this.#seams.config.network.get(network)?.subnets ?? []).map(familyOf))];
  }

  #needed(attachments: Iterable<Attachment>): Needed {
    const attached = new Set([...attachments].map((a) => `${a.namespace}/${a.pod}`));
    const pods = [...this.#seams.config.pod.entries()];
    return {
      networks: this.#seams.neededNetworks(),
      asked: pods.flatMap(([, p]) =>
        [p, ...(p.interfaces ?? [])].flatMap(({ assignment, ips = [] }) =>
          'network' in assignment ? ips.map((ip) => ({ network: assignment.network, ip })) : [],
        ),
      ),
      waiting: new Set(
        pods
          .filter(([key]) => !attached.has(key))
          .flatMap(([, { assignment, interfaces = [] }]) => [assignment, ...interfaces.map((i) => i.assignment)])
          .flatMap((assignment) => ('network' in assignment ? [assignment.network] : [])),
      ),
    };
  }

  /** Appends to the journal; when that fails, what the addresses were changed by is taken back, and the error goes on. */
  #writeDown(entries: readonly JournalEntry[], changes: readonly IpamEvent[]): void {
    try {
      this.#seams.journal.append(entries);
    } catch (error) {
      undo(this.#ipam.held, changes);
      throw error;
    }
  }
}
