import type { NetworkKey } from '../../api/nodeconfig.ts';
import { type Family, formatIp, mustIp } from '../../lib/ip/address.ts';
import {
  contains,
  covers,
  firstFree,
  formatPrefix,
  hostPrefix,
  lastOf,
  mustPrefix,
  nth,
  overlaps,
  type Prefix,
  sizeOf,
} from '../../lib/ip/prefix.ts';

/** No address could be given. Nothing was changed. */
export class IpamError extends Error {
  override readonly name = 'IpamError';
  readonly code: 'Exhausted' | 'NoPodCIDR' | 'NotGiven' | 'Taken';
  constructor(code: IpamError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** Something that happened to addresses. Replaying all of them rebuilds the state: the journal holds these. */
export type IpamEvent =
  /** `given`: out of the network's own subnet, by the controller; otherwise cut from the node's pod CIDR. */
  | { readonly op: 'block'; readonly cidr: string; readonly network: NetworkKey; readonly given?: true }
  | { readonly op: 'unblock'; readonly cidr: string; readonly network: NetworkKey; readonly given?: true }
  /** `fixed`: its owner asked for this very address, and does not let it rest. */
  | { readonly op: 'take'; readonly ip: string; readonly owner: string; readonly fixed?: true }
  /** `at`: milliseconds on the journal's clock (wall time, so that it has a meaning after a restart). */
  | { readonly op: 'release'; readonly ip: string; readonly at: number };

export type BlockUse = {
  readonly cidr: string;
  readonly network: NetworkKey;
  readonly given: boolean;
  readonly used: number;
  readonly resting: number;
  readonly free: number;
};

/** What a node still needs blocks for. */
export type Needed = {
  readonly networks: ReadonlySet<NetworkKey>;
  /** Addresses that pods of this node ask for, each of its network. */
  readonly asked?: readonly { readonly network: NetworkKey; readonly ip: string }[];
  /** Networks whose pods are scheduled here and have no address yet. */
  readonly waiting?: ReadonlySet<NetworkKey>;
};

/** What a pod's address must be. */
export type Wanted = {
  /** Families that the network has subnets of its own for: only blocks that the controller gave count. */
  readonly given?: readonly Family[];
  /** Addresses that the pod asks for; other families are chosen. */
  readonly ips?: readonly string[];
};

type Block = {
  readonly cidr: string;
  readonly prefix: Prefix;
  readonly network: NetworkKey;
  readonly given: boolean;
  /** Parts that only pods get which ask for them. */
  except: readonly Prefix[];
  readonly fixed: Set<bigint>;
  readonly taken: Map<bigint, string>;
  readonly resting: Map<bigint, number>;
  /** Where the next search starts: addresses are used in turn, so that a freed one stays unused as long as possible. */
  next: bigint;
};

export type NodeIpamOptions = {
  /** The node's pod CIDRs, none or one of each family. */
  readonly podCIDRs: readonly string[];
  /** How long a released address rests before a pod gets it again. */
  readonly restMs: number;
};

/**
 * Addresses of one node: blocks of its pod CIDRs for each network, addresses out of the blocks.
 *
 * Invariants: blocks never overlap; an address has at most one owner; a resting address has none; the first four addresses
 * and the last one of a pod CIDR belong to the node and are never given away. No block holds the first four: an instance
 * answers for its blocks, and would then never send a reply to the node's probe source, .1. Every change is returned as events, and
 * replaying these on an empty instance gives the same state.
 */
export class NodeIpam {
  #cidrs: readonly Prefix[];
  readonly #restMs: number;
  readonly #blocks = new Map<string, Block>();

  constructor({ podCIDRs, restMs }: NodeIpamOptions) {
    this.#cidrs = podCIDRs.map(mustPrefix);
    this.#restMs = restMs;
  }

  /**
   * The node has other pod CIDRs from now on. Blocks outside of them belong to other nodes: they assign no address any more, no node
   * hears of them, and they go with their last pod.
   *
   * @returns whether that is a change
   */
  setPodCIDRs(podCIDRs: readonly string[]): boolean {
    const next = podCIDRs.map(mustPrefix);
    if (next.map(formatPrefix).join() === this.#cidrs.map(formatPrefix).join()) return false;
    this.#cidrs = next;
    return true;
  }

  /** Addresses in use that are outside of the node's pod CIDRs, each with its network and owner. */
  outside(): { readonly ip: string; readonly network: NetworkKey; readonly owner: string }[] {
    return [...this.#blocks.values()]
      .filter((b) => this.#isOutside(b))
      .flatMap(({ prefix: { family }, network, taken }) =>
        [...taken].map(([value, owner]) => ({ ip: formatIp({ family, value }), network, owner })),
      );
  }

  /** Families that pods of this node get. */
  get families(): Family[] {
    return this.#cidrs.map((c) => c.family);
  }

  /**
   * One address of each family for `owner`, from blocks of `network`, carving a block where none has room.
   *
   * All or nothing. Throws {@link IpamError}.
   */
  allocate(
    network: NetworkKey,
    owner: string,
    now: number,
    { given = [], ips: fixed = [] }: Wanted = {},
  ): { readonly ips: string[]; readonly events: IpamEvent[] } {
    if (this.#cidrs.length === 0)
      throw new IpamError(
        'NoPodCIDR',
        'this node has no pod CIDR yet (node.spec.podCIDRs); an administrator or the controller manager must assign one',
      );
    const events: IpamEvent[] = [];
    const ips: string[] = [];
    try {
      for (const cidr of this.#cidrs) {
        const asked = fixed.find((ip) => mustIp(ip).family === cidr.family);
        const { block, value } =
          asked === undefined
            ? this.#choose(network, cidr, now, given.includes(cidr.family), events)
            : this.#asked(network, asked, owner);
        block.taken.set(value, owner);
        block.resting.delete(value);
        if (asked === undefined) block.next = value + 1n;
        else block.fixed.add(value);
        const ip = formatIp({ family: cidr.family, value });
        ips.push(ip);
        events.push({ op: 'take', ip, owner, ...(asked === undefined ? {} : { fixed: true }) });
      }
    } catch (error) {
      this.undo(events);
      throw error;
    }
    return { ips, events };
  }

  /** Takes in a block that the controller gave, and which parts of it only some pods get. */
  give(cidr: string, network: NetworkKey, except: readonly string[]): IpamEvent[] {
    const known = this.#blocks.get(cidr);
    const block = known ?? this.#addBlock(cidr, network, true);
    block.except = except.map(mustPrefix);
    return known ? [] : [{ op: 'block', cidr, network, given: true }];
  }

  /** Forgets an assigned block without addresses in use. Returns nothing when a pod has one. */
  takeBack(cidr: string): IpamEvent[] {
    const block = this.#blocks.get(cidr);
    if (!block?.given || block.taken.size > 0) return [];
    this.#blocks.delete(cidr);
    return [{ op: 'unblock', cidr, network: block.network, given: true }];
  }

  /** Makes sure that a network has a block of each family with room, so that others know of it before the first pod. */
  prepare(network: NetworkKey, now: number, given: readonly Family[] = []): IpamEvent[] {
    const events: IpamEvent[] = [];
    for (const cidr of this.#cidrs) {
      if (given.includes(cidr.family)) continue; // the controller's to give
      if (!this.#findIn(network, cidr.family, now, false)) this.#carve(network, cidr, now, events);
    }
    return events;
  }

  /** Takes back events that were just returned, and could not be written down: as if they had never been. */
  undo(events: readonly IpamEvent[]): void {
    for (const e of [...events].reverse()) this.#undo(e);
  }

  /** The address rests from now on. Unknown addresses are passed over: releasing twice is no fault. */
  release(ip: string, now: number): IpamEvent[] {
    const block = this.#blockOf(ip);
    const value = mustIp(ip).value;
    if (!block?.taken.has(value)) return [];
    block.taken.delete(value);
    const at = block.fixed.delete(value) ? now - this.#restMs : now;
    block.resting.set(value, at);
    return [{ op: 'release', ip, at }];
  }

  /** Gives back blocks whose last address has rested, except what is still needed here. */
  reclaim(now: number, { networks, asked = [], waiting = new Set() }: Needed): IpamEvent[] {
    const events: IpamEvent[] = [];
    const isAsked = (block: Block): boolean =>
      asked.some(({ network, ip }) => network === block.network && contains(block.prefix, mustIp(ip)));
    for (const block of this.#blocks.values()) {
      this.#wake(block, now);
      const outside = this.#isOutside(block);
      if (block.taken.size > 0 || (block.resting.size > 0 && !outside)) continue;
      const forAll = !block.given || !block.except.some((e) => covers(e, block.prefix));
      if (!outside && (forAll ? this.#keeps(block, networks, waiting) : isAsked(block))) continue;
      this.#blocks.delete(block.cidr);
      events.push({ op: 'unblock', cidr: block.cidr, network: block.network, ...(block.given ? { given: true } : {}) });
    }
    return events;
  }

  /** One block of each family stays with a network that is used here, and all while pods wait for addresses of them. */
  #keeps(block: Block, networks: ReadonlySet<NetworkKey>, waiting: ReadonlySet<NetworkKey>): boolean {
    if (!networks.has(block.network)) return false;
    if (block.given && waiting.has(block.network)) return true;
    const another = [...this.#blocks.values()].some(
      (b) =>
        b !== block &&
        b.network === block.network &&
        b.given === block.given &&
        b.prefix.family === block.prefix.family &&
        !this.#isOutside(b) &&
        !isSingle(b),
    );
    return !another && !isSingle(block);
  }

  /** Replays what happened before. Events that contradict the state are refused with a RangeError. */
  replay(event: IpamEvent): void {
    switch (event.op) {
      case 'block':
        this.#addBlock(event.cidr, event.network, event.given ?? false);
        return;
      case 'unblock':
        this.#blocks.delete(event.cidr);
        return;
      case 'take': {
        const block = this.#blockOf(event.ip);
        const { value } = mustIp(event.ip);
        const owner = block?.taken.get(value);
        if (!block) throw new RangeError(`journal: address ${event.ip} is in no block`);
        if (owner !== undefined && owner !== event.owner)
          throw new RangeError(`journal: address ${event.ip} has two owners, ${owner} and ${event.owner}`);
        block.taken.set(value, event.owner);
        block.resting.delete(value);
        if (event.fixed) block.fixed.add(value);
        else block.next = value + 1n;
        return;
      }
      case 'release': {
        const block = this.#blockOf(event.ip);
        const { value } = mustIp(event.ip);
        block?.taken.delete(value);
        block?.fixed.delete(value);
        block?.resting.set(value, event.at);
      }
    }
  }

  /** The events that rebuild this state from empty: what a compacted journal holds. */
  snapshot(): IpamEvent[] {
    return [...this.#blocks.values()].flatMap((b): IpamEvent[] => {
      const text = (value: bigint): string => formatIp({ family: b.prefix.family, value });
      return [
        { op: 'block', cidr: b.cidr, network: b.network, ...(b.given ? { given: true as const } : {}) },
        ...[...b.resting].map(([value, at]): IpamEvent => ({ op: 'release', ip: text(value), at })),
        ...[...b.taken].map(
          ([value, owner]): IpamEvent => ({
            op: 'take',
            ip: text(value),
            owner,
            ...(b.fixed.has(value) ? { fixed: true } : {}),
          }),
        ),
      ];
    });
  }

  /** Blocks that this node gives addresses from. */
  blocks(now: number): BlockUse[] {
    const mine = [...this.#blocks.values()].filter((b) => !this.#isOutside(b));
    return mine.map((b) => {
      this.#wake(b, now);
      const usable = Number(sizeOf(b.prefix)) - this.#reservedIn(b);
      return {
        cidr: b.cidr,
        network: b.network,
        given: b.given,
        used: b.taken.size,
        resting: b.resting.size,
        free: Math.max(0, usable - b.taken.size - b.resting.size),
      };
    });
  }

  /** Who has the address, or undefined. */
  ownerOf(ip: string): string | undefined {
    return this.#blockOf(ip)?.taken.get(mustIp(ip).value);
  }

  /** An address that no pod asked for by name. */
  #choose(network: NetworkKey, cidr: Prefix, now: number, given: boolean, events: IpamEvent[]): Place {
    const found =
      this.#findIn(network, cidr.family, now, given) ?? (given ? undefined : this.#carve(network, cidr, now, events));
    if (found) return found;
    if (given)
      throw new IpamError(
        'NotGiven',
        `this node has no free address of network ${network}; the controller gives more, unless its subnets are used up`,
      );
    throw new IpamError(
      'Exhausted',
      `no free address for network ${network} in ${formatPrefix(cidr)} of this node; delete pods, or wait until released addresses have rested`,
    );
  }

  /** The very address that a pod asks for. Resting does not matter: who asks for it wants it back. */
  #asked(network: NetworkKey, ip: string, owner: string): Place {
    const block = this.#blockOf(ip);
    const { value } = mustIp(ip);
    if (!block?.given || block.network !== network)
      throw new IpamError('NotGiven', `address ${ip} of network ${network} has not been given to this node yet`);
    const other = block.taken.get(value);
    if (other !== undefined && other !== owner)
      throw new IpamError('Taken', `address ${ip} belongs to ${other} on this node`);
    return { block, value };
  }

  #findIn(network: NetworkKey, family: Family, now: number, given: boolean): Place | undefined {
    for (const block of this.#blocks.values()) {
      if (block.network !== network || block.prefix.family !== family || block.given !== given) continue;
      if (this.#isOutside(block)) continue;
      this.#wake(block, now);
      const value = this.#freeIn(block);
      if (value !== undefined) return { block, value };
    }
    return undefined;
  }

  #freeIn(block: Block): bigint | undefined {
    const size = sizeOf(block.prefix);
    if (BigInt(block.taken.size + block.resting.size) >= size) return undefined;
    const start = block.next > lastOf(block.prefix) ? block.prefix.first : block.next;
    for (let i = 0n; i < size; i++) {
      const value = block.prefix.first + ((start - block.prefix.first + i) % size);
      if (!block.taken.has(value) && !block.resting.has(value) && !this.#isReserved(block, value)) return value;
    }
    return undefined;
  }

  /** Cuts a new block: /30 to /28 (or /120), smaller when the node's CIDR runs short. */
  #carve(network: NetworkKey, cidr: Prefix, now: number, events: IpamEvent[]): Place | undefined {
    for (const length of this.#lengthsFor(cidr, network)) {
      // A tiny block may hold nothing but the last address: then the next one.
      const skipped: Prefix[] = [];
      for (;;) {
        const prefix = firstFree(cidr, length, [...this.#taken(cidr.family), ...skipped]);
        if (!prefix) break;
        const block = this.#addBlock(formatPrefix(prefix), network, false);
        const value = this.#freeIn(block);
        if (value !== undefined) {
          events.push({ op: 'block', cidr: block.cidr, network });
          return { block, value };
        }
        this.#blocks.delete(block.cidr);
        skipped.push(prefix);
      }
    }
    // Last: an empty block that another network holds without using it.
    const spare = [...this.#blocks.values()].find((b) => {
      this.#wake(b, now);
      const idle = b.taken.size === 0 && b.resting.size === 0 && !this.#isOutside(b);
      return idle && !b.given && b.prefix.family === cidr.family && b.network !== network;
    });
    if (!spare) return undefined;
    this.#blocks.delete(spare.cidr);
    events.push({ op: 'unblock', cidr: spare.cidr, network: spare.network });
    const block = this.#addBlock(spare.cidr, network, false);
    events.push({ op: 'block', cidr: block.cidr, network });
    const value = this.#freeIn(block);
    return value === undefined ? undefined : { block, value };
  }

  /** A network begins small, since most have few pods on a node, and each further block is as big as what it has. */
  #lengthsFor(cidr: Prefix, network: NetworkKey): number[] {
    if (cidr.family === 6) return cidr.length <= 120 ? [120, 124, 128] : [128];
    const all = [...this.#blocks.values()].filter((b) => b.prefix.family === 4 && !b.given && !this.#isOutside(b));
    const free = sizeOf(cidr) - all.reduce((sum, b) => sum + sizeOf(b.prefix), 0n);
    const own = all.filter((b) => b.network === network).reduce((sum, b) => sum + sizeOf(b.prefix), 0n);
    const most = own > 4n ? own : 4n;
    // Never more than a 32nd of what is free for a first block, an eighth for more: others come after.
    const share = own === 0n ? free / 32n : free / 8n;
    return [28, 29, 30, 31, 32].filter((l) => {
      const size = 1n << BigInt(32 - l);
      return l >= cidr.length && (l === 32 || (size <= most && size <= share));
    });
  }

  /** What no new block may overlap: other blocks, and the node's own addresses. */
  #taken(family: Family): Prefix[] {
    const blocks = [...this.#blocks.values()].filter((b) => b.prefix.family === family).map((b) => b.prefix);
    return [...blocks, ...this.#cidrs.filter((c) => c.family === family).map(ownPrefix)];
  }

  #addBlock(cidr: string, network: NetworkKey, given: boolean): Block {
    const prefix = mustPrefix(cidr);
    const other = [...this.#blocks.values()].find((b) => overlaps(b.prefix, prefix));
    if (other && (other.cidr !== cidr || other.network !== network)) {
      throw new RangeError(`journal: block ${cidr} of ${network} overlaps ${other.cidr} of ${other.network}`);
    }
    const block = other ?? {
      cidr,
      prefix,
      network,
      given,
      except: [],
      fixed: new Set(),
      taken: new Map(),
      resting: new Map(),
      next: prefix.first,
    };
    this.#blocks.set(cidr, block);
    return block;
  }

  #undo(event: IpamEvent): void {
    if (event.op === 'block') this.#blocks.delete(event.cidr);
    else if (event.op === 'unblock') this.#addBlock(event.cidr, event.network, event.given ?? false);
    else if (event.op === 'take') {
      const block = this.#blockOf(event.ip);
      block?.taken.delete(mustIp(event.ip).value);
      block?.fixed.delete(mustIp(event.ip).value);
    }
  }

  /** Not in a pod CIDR, or over the addresses in it that are the node's own: cut when the node had other CIDRs. */
  #isOutside({ given, prefix }: Block): boolean {
    return !given && !this.#cidrs.some((c) => covers(c, prefix) && !overlaps(ownPrefix(c), prefix));
  }

  #blockOf(ip: string): Block | undefined {
    const address = mustIp(ip);
    for (const block of this.#blocks.values()) if (contains(block.prefix, address)) return block;
    return undefined;
  }

  #wake(block: Block, now: number): void {
    for (const [value, at] of block.resting) {
      // A clock that went backwards must not make an address rest for ever.
      if (now - at >= this.#restMs || at > now + this.#restMs) block.resting.delete(value);
    }
  }

  #isReserved({ prefix: { family }, given, except }: Block, value: bigint): boolean {
    if (given) return except.some((e) => contains(e, { family, value }));
    const cidr = this.#cidrs.find((c) => c.family === family && contains(c, { family, value }));
    return cidr !== undefined && (value < cidr.first + OWN || value === lastOf(cidr));
  }

  #reservedIn({ prefix, given, except, taken }: Block): number {
    if (given) {
      // Taken ones that were asked for by name are counted as taken.
      const kept = except.filter((e) => !except.some((o) => o !== e && o.length < e.length && covers(o, e)));
      const inKept = [...taken.keys()].filter((value) =>
        kept.some((e) => contains(e, { family: prefix.family, value })),
      );
      return Number(kept.reduce((n, e) => n + sizeOf(e), 0n)) - inKept.length;
    }
    const cidr = this.#cidrs.find((c) => c.family === prefix.family && contains(c, nth(prefix, 0)));
    if (!cidr) return 0;
    const own = [...Array(Number(OWN)).keys()].map((i) => cidr.first + BigInt(i));
    const reserved = new Set([...own, lastOf(cidr)]);
    return [...reserved].filter((value) => overlaps(prefix, hostPrefix({ family: prefix.family, value }))).length;
  }
}

/** One address that the controller gave: for who asks for it, or the last of a subnet. */
const isSingle = (b: Block): boolean => b.given && sizeOf(b.prefix) === 1n;

type Place = { readonly block: Block; readonly value: bigint };

/** Addresses at the start of a pod CIDR that belong to the node: .0 to .2 are in use, .3 completes the /30. */
const OWN = 4n;

/** The node's own addresses as a prefix; the whole CIDR when it is no bigger. */
const ownPrefix = (cidr: Prefix): Prefix => ({
  ...cidr,
  length: Math.max(cidr.length, (cidr.family === 4 ? 32 : 128) - 2),
});
