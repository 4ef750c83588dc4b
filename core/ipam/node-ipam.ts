import type { NetworkKey } from '../../api/nodeconfig.ts';
import { type Family, formatIp, mustIp } from '../../lib/ip/address.ts';
import {
  contains,
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
  readonly code: 'Exhausted' | 'NoPodCIDR';
  constructor(code: IpamError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** Something that happened to addresses. Replaying all of them rebuilds the state: the journal holds these. */
export type IpamEvent =
  | { readonly op: 'block'; readonly cidr: string; readonly network: NetworkKey }
  | { readonly op: 'unblock'; readonly cidr: string; readonly network: NetworkKey }
  | { readonly op: 'take'; readonly ip: string; readonly owner: string }
  /** `at`: milliseconds on the journal's clock (wall time, so that it has a meaning after a restart). */
  | { readonly op: 'release'; readonly ip: string; readonly at: number };

export type BlockUse = {
  readonly cidr: string;
  readonly network: NetworkKey;
  readonly used: number;
  readonly resting: number;
  readonly free: number;
};

type Block = {
  readonly cidr: string;
  readonly prefix: Prefix;
  readonly network: NetworkKey;
  readonly taken: Map<bigint, string>;
  readonly resting: Map<bigint, number>;
  /** Where the next search starts: addresses are used in turn, so that a freed one stays unused as long as possible. */
  next: bigint;
};

export type NodeIpamOptions = {
  /** The node's pod CIDRs, none or one of each family. */
  readonly podCIDRs: readonly string[];
  /** How long a released address rests before anybody gets it again. */
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
  readonly #cidrs: readonly Prefix[];
  readonly #restMs: number;
  readonly #blocks = new Map<string, Block>();

  constructor({ podCIDRs, restMs }: NodeIpamOptions) {
    this.#cidrs = podCIDRs.map(mustPrefix);
    this.#restMs = restMs;
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
  allocate(network: NetworkKey, owner: string, now: number): { readonly ips: string[]; readonly events: IpamEvent[] } {
    if (this.#cidrs.length === 0)
      throw new IpamError('NoPodCIDR', 'this node has no pod CIDR yet (node.spec.podCIDRs); somebody must assign one');
    const events: IpamEvent[] = [];
    const ips: string[] = [];
    for (const cidr of this.#cidrs) {
      const found = this.#findIn(network, cidr.family, now) ?? this.#carve(network, cidr, now, events);
      if (!found) {
        this.undo(events);
        throw new IpamError(
          'Exhausted',
          `no free address for network ${network} in ${formatPrefix(cidr)} of this node; delete pods, or wait until released addresses have rested`,
        );
      }
      found.block.taken.set(found.value, owner);
      found.block.resting.delete(found.value);
      found.block.next = found.value + 1n;
      const ip = formatIp({ family: cidr.family, value: found.value });
      ips.push(ip);
      events.push({ op: 'take', ip, owner });
    }
    return { ips, events };
  }

  /** Makes sure that a network has a block of each family with room, so that others know of it before the first pod. */
  prepare(network: NetworkKey, now: number): IpamEvent[] {
    const events: IpamEvent[] = [];
    for (const cidr of this.#cidrs) {
      if (!this.#findIn(network, cidr.family, now)) this.#carve(network, cidr, now, events);
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
    block.resting.set(value, now);
    return [{ op: 'release', ip, at: now }];
  }

  /** Gives back blocks whose last address has rested, except those of networks that are still wanted here. */
  reclaim(now: number, wanted: ReadonlySet<NetworkKey>): IpamEvent[] {
    const events: IpamEvent[] = [];
    for (const block of this.#blocks.values()) {
      this.#wake(block, now);
      if (block.taken.size > 0 || block.resting.size > 0) continue;
      const another = [...this.#blocks.values()].some(
        (b) => b !== block && b.network === block.network && b.prefix.family === block.prefix.family,
      );
      if (wanted.has(block.network) && !another) continue;
      this.#blocks.delete(block.cidr);
      events.push({ op: 'unblock', cidr: block.cidr, network: block.network });
    }
    return events;
  }

  /** Replays what happened before. Events that contradict the state are refused with a RangeError. */
  replay(event: IpamEvent): void {
    switch (event.op) {
      case 'block':
        this.#addBlock(event.cidr, event.network);
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
        block.next = value + 1n;
        return;
      }
      case 'release': {
        const block = this.#blockOf(event.ip);
        const { value } = mustIp(event.ip);
        block?.taken.delete(value);
        block?.resting.set(value, event.at);
      }
    }
  }

  /** The events that rebuild this state from empty: what a compacted journal holds. */
  snapshot(): IpamEvent[] {
    return [...this.#blocks.values()].flatMap((b): IpamEvent[] => {
      const text = (value: bigint): string => formatIp({ family: b.prefix.family, value });
      return [
        { op: 'block', cidr: b.cidr, network: b.network },
        ...[...b.resting].map(([value, at]): IpamEvent => ({ op: 'release', ip: text(value), at })),
        ...[...b.taken].map(([value, owner]): IpamEvent => ({ op: 'take', ip: text(value), owner })),
      ];
    });
  }

  blocks(now: number): BlockUse[] {
    return [...this.#blocks.values()].map((b) => {
      this.#wake(b, now);
      const usable = Number(sizeOf(b.prefix)) - this.#reservedIn(b.prefix);
      return {
        cidr: b.cidr,
        network: b.network,
        used: b.taken.size,
        resting: b.resting.size,
        free: usable - b.taken.size - b.resting.size,
      };
    });
  }

  /** Who has the address, or undefined. */
  ownerOf(ip: string): string | undefined {
    return this.#blockOf(ip)?.taken.get(mustIp(ip).value);
  }

  #findIn(network: NetworkKey, family: Family, now: number): { block: Block; value: bigint } | undefined {
    for (const block of this.#blocks.values()) {
      if (block.network !== network || block.prefix.family !== family) continue;
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
      if (!block.taken.has(value) && !block.resting.has(value) && !this.#isReserved(block.prefix.family, value))
        return value;
    }
    return undefined;
  }

  /** Cuts a new block: /30 to /28 (or /120), smaller when the node's CIDR runs short. */
  #carve(
    network: NetworkKey,
    cidr: Prefix,
    now: number,
    events: IpamEvent[],
  ): { block: Block; value: bigint } | undefined {
    for (const length of this.#lengthsFor(cidr, network)) {
      // A tiny block may hold nothing but the last address: then the next one.
      const skipped: Prefix[] = [];
      for (;;) {
        const prefix = firstFree(cidr, length, [...this.#taken(cidr.family), ...skipped]);
        if (!prefix) break;
        const block = this.#addBlock(formatPrefix(prefix), network);
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
    const idle = [...this.#blocks.values()].find((b) => {
      this.#wake(b, now);
      return b.prefix.family === cidr.family && b.network !== network && b.taken.size === 0 && b.resting.size === 0;
    });
    if (!idle) return undefined;
    this.#blocks.delete(idle.cidr);
    events.push({ op: 'unblock', cidr: idle.cidr, network: idle.network });
    const block = this.#addBlock(idle.cidr, network);
    events.push({ op: 'block', cidr: block.cidr, network });
    const value = this.#freeIn(block);
    return value === undefined ? undefined : { block, value };
  }

  /** A network begins small, since most have few pods on a node, and each further block is as big as what it has. */
  #lengthsFor(cidr: Prefix, network: NetworkKey): number[] {
    if (cidr.family === 6) return cidr.length <= 120 ? [120, 124, 128] : [128];
    const all = [...this.#blocks.values()].filter((b) => b.prefix.family === 4);
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

  #addBlock(cidr: string, network: NetworkKey): Block {
    const prefix = mustPrefix(cidr);
    const other = [...this.#blocks.values()].find((b) => overlaps(b.prefix, prefix));
    if (other && (other.cidr !== cidr || other.network !== network)) {
      throw new RangeError(`journal: block ${cidr} of ${network} overlaps ${other.cidr} of ${other.network}`);
    }
    const block = other ?? { cidr, prefix, network, taken: new Map(), resting: new Map(), next: prefix.first };
    this.#blocks.set(cidr, block);
    return block;
  }

  #undo(event: IpamEvent): void {
    if (event.op === 'block') this.#blocks.delete(event.cidr);
    else if (event.op === 'unblock') this.#addBlock(event.cidr, event.network);
    else if (event.op === 'take') this.#blockOf(event.ip)?.taken.delete(mustIp(event.ip).value);
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

  #isReserved(family: Family, value: bigint): boolean {
    const cidr = this.#cidrs.find((c) => c.family === family && contains(c, { family, value }));
    return cidr !== undefined && (value < cidr.first + OWN || value === lastOf(cidr));
  }

  #reservedIn(block: Prefix): number {
    const cidr = this.#cidrs.find((c) => c.family === block.family && contains(c, nth(block, 0)));
    if (!cidr) return 0;
    const own = [...Array(Number(OWN)).keys()].map((i) => cidr.first + BigInt(i));
    const reserved = new Set([...own, lastOf(cidr)]);
    return [...reserved].filter((value) => overlaps(block, hostPrefix({ family: block.family, value }))).length;
  }
}

/** Addresses at the start of a pod CIDR that belong to the node: .0 to .2 are in use, .3 completes the /30. */
const OWN = 4n;

/** The node's own addresses as a prefix; the whole CIDR when it is no bigger. */
const ownPrefix = (cidr: Prefix): Prefix => ({
  ...cidr,
  length: Math.max(cidr.length, (cidr.family === 4 ? 32 : 128) - 2),
});
