import type { NetworkKey } from '../../api/nodeconfig.ts';
import { type Family, formatIp, mustIp } from '../../lib/ip/address.ts';
import { contains, covers, firstFree, formatPrefix, mustPrefix, type Prefix, sizeOf } from '../../lib/ip/prefix.ts';
import { type Block, freeIn, HeldBlocks, reservedIn } from './held-blocks.ts';
import type { IpamEvent } from './ipam-event.ts';
import { undo } from './replay.ts';

/** No address could be given. Nothing was changed. */
export class IpamError extends Error {
  override readonly name = 'IpamError';
  readonly code: 'Exhausted' | 'NoPodCIDR' | 'NotGiven' | 'Taken';
  constructor(code: IpamError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

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
  /** What a journal is replayed on, and a snapshot is taken of; see replay.ts. */
  readonly held: HeldBlocks;
  readonly #restMs: number;

  constructor({ podCIDRs, restMs }: NodeIpamOptions) {
    this.held = new HeldBlocks(podCIDRs, restMs);
    this.#restMs = restMs;
  }

  /** Addresses in use that are outside of the node's pod CIDRs, each with its network and owner. */
  outside(): { readonly ip: string; readonly network: NetworkKey; readonly owner: string }[] {
    return this.held.all
      .filter((b) => this.held.isOutside(b))
      .flatMap(({ prefix: { family }, network, taken }) =>
        [...taken].map(([value, owner]) => ({ ip: formatIp({ family, value }), network, owner })),
      );
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
    if (this.held.cidrs.length === 0)
      throw new IpamError(
        'NoPodCIDR',
        'this node has no pod CIDR yet (node.spec.podCIDRs); an administrator or the controller manager must assign one',
      );
    const events: IpamEvent[] = [];
    const ips: string[] = [];
    try {
      for (const cidr of this.held.cidrs) {
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
      undo(this.held, events);
      throw error;
    }
    return { ips, events };
  }

  /** Takes in a block that the controller gave, and which parts of it only some pods get. */
  give(cidr: string, network: NetworkKey, except: readonly string[]): IpamEvent[] {
    const known = this.held.get(cidr);
    const block = known ?? this.held.add(cidr, network, true);
    block.except = except.map(mustPrefix);
    return known ? [] : [{ op: 'block', cidr, network, given: true }];
  }

  /** Forgets an assigned block without addresses in use. Returns nothing when a pod has one. */
  takeBack(cidr: string): IpamEvent[] {
    const block = this.held.get(cidr);
    if (!block?.given || block.taken.size > 0) return [];
    this.held.delete(cidr);
    return [{ op: 'unblock', cidr, network: block.network, given: true }];
  }

  /** Makes sure that a network has a block of each family with room, so that others know of it before the first pod. */
  prepare(network: NetworkKey, now: number, given: readonly Family[] = []): IpamEvent[] {
    const events: IpamEvent[] = [];
    for (const cidr of this.held.cidrs) {
      if (given.includes(cidr.family)) continue; // the controller's to give
      if (!this.#findIn(network, cidr.family, now, false)) this.#carve(network, cidr, now, events);
    }
    return events;
  }

  /** The address rests from now on. Unknown addresses are passed over: releasing twice is no fault. */
  release(ip: string, now: number): IpamEvent[] {
    const block = this.held.at(ip);
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
    for (const block of this.held.all) {
      this.held.wake(block, now);
      const outside = this.held.isOutside(block);
      if (block.taken.size > 0 || (block.resting.size > 0 && !outside)) continue;
      const forAll = !block.given || !block.except.some((e) => covers(e, block.prefix));
      if (!outside && (forAll ? this.#keeps(block, networks, waiting) : isAsked(block))) continue;
      this.held.delete(block.cidr);
      events.push({ op: 'unblock', cidr: block.cidr, network: block.network, ...(block.given ? { given: true } : {}) });
    }
    return events;
  }

  /** One block of each family stays with a network that is used here, and all while pods wait for addresses of them. */
  #keeps(block: Block, networks: ReadonlySet<NetworkKey>, waiting: ReadonlySet<NetworkKey>): boolean {
    if (!networks.has(block.network)) return false;
    if (block.given && waiting.has(block.network)) return true;
    const another = this.held.all.some(
      (b) =>
        b !== block &&
        b.network === block.network &&
        b.given === block.given &&
        b.prefix.family === block.prefix.family &&
        !this.held.isOutside(b) &&
        !isSingle(b),
    );
    return !another && !isSingle(block);
  }

  /** Blocks that this node gives addresses from. */
  blocks(now: number): BlockUse[] {
    const mine = this.held.all.filter((b) => !this.held.isOutside(b));
    return mine.map((b) => {
      this.held.wake(b, now);
      const usable = Number(sizeOf(b.prefix)) - reservedIn(b, this.held.cidrs);
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
    return this.held.at(ip)?.taken.get(mustIp(ip).value);
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
    const block = this.held.at(ip);
    const { value } = mustIp(ip);
    if (!block?.given || block.network !== network)
      throw new IpamError('NotGiven', `address ${ip} of network ${network} has not been given to this node yet`);
    const other = block.taken.get(value);
    if (other !== undefined && other !== owner)
      throw new IpamError('Taken', `address ${ip} belongs to ${other} on this node`);
    return { block, value };
  }

  #findIn(network: NetworkKey, family: Family, now: number, given: boolean): Place | undefined {
    for (const block of this.held.all) {
      if (block.network !== network || block.prefix.family !== family || block.given !== given) continue;
      if (this.held.isOutside(block)) continue;
      this.held.wake(block, now);
      const value = freeIn(block, this.held.cidrs);
      if (value !== undefined) return { block, value };
    }
    return undefined;
  }

  /** Cuts a new block: /30 to /28 (or /120), smaller when the node's CIDR runs short. */
  #carve(network: NetworkKey, cidr: Prefix, now: number, events: IpamEvent[]): Place | undefined {
    for (const length of this.#lengthsFor(cidr, network)) {
      // A tiny block may hold nothing but the last address: then the next one.
      const skipped: Prefix[] = [];
      for (;;) {
        const prefix = firstFree(cidr, length, [...this.held.occupied(cidr.family), ...skipped]);
        if (!prefix) break;
        const block = this.held.add(formatPrefix(prefix), network, false);
        const value = freeIn(block, this.held.cidrs);
        if (value !== undefined) {
          events.push({ op: 'block', cidr: block.cidr, network });
          return { block, value };
        }
        this.held.delete(block.cidr);
        skipped.push(prefix);
      }
    }
    // Last: an empty block that another network holds without using it.
    const spare = this.held.all.find((b) => {
      this.held.wake(b, now);
      const idle = b.taken.size === 0 && b.resting.size === 0 && !this.held.isOutside(b);
      return idle && !b.given && b.prefix.family === cidr.family && b.network !== network;
    });
    if (!spare) return undefined;
    this.held.delete(spare.cidr);
    events.push({ op: 'unblock', cidr: spare.cidr, network: spare.network });
    const block = this.held.add(spare.cidr, network, false);
    events.push({ op: 'block', cidr: block.cidr, network });
    const value = freeIn(block, this.held.cidrs);
    return value === undefined ? undefined : { block, value };
  }

  /** A network begins small, since most have few pods on a node, and each further block is as big as what it has. */
  #lengthsFor(cidr: Prefix, network: NetworkKey): number[] {
    if (cidr.family === 6) return cidr.length <= 120 ? [120, 124, 128] : [128];
    const all = this.held.all.filter((b) => b.prefix.family === 4 && !b.given && !this.held.isOutside(b));
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
}

/** One address that the controller gave: for who asks for it, or the last of a subnet. */
const isSingle = (b: Block): boolean => b.given && sizeOf(b.prefix) === 1n;

type Place = { readonly block: Block; readonly value: bigint };
