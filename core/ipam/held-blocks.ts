import type { NetworkKey } from '../../api/nodeconfig.ts';
import { type Family, mustIp } from '../../lib/ip/address.ts';
import {
  contains,
  covers,
  formatPrefix,
  hostPrefix,
  lastOf,
  mustPrefix,
  nth,
  overlaps,
  type Prefix,
  sizeOf,
} from '../../lib/ip/prefix.ts';

/** Addresses of one network on this node. */
export type Block = {
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

/** The blocks that a node has, and its pod CIDRs. Blocks never overlap. */
export class HeldBlocks {
  #cidrs: readonly Prefix[];
  readonly #restMs: number;
  readonly #blocks = new Map<string, Block>();

  constructor(podCIDRs: readonly string[], restMs: number) {
    this.#cidrs = podCIDRs.map(mustPrefix);
    this.#restMs = restMs;
  }

  get cidrs(): readonly Prefix[] {
    return this.#cidrs;
  }

  get all(): readonly Block[] {
    return [...this.#blocks.values()];
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

  get(cidr: string): Block | undefined {
    return this.#blocks.get(cidr);
  }

  delete(cidr: string): void {
    this.#blocks.delete(cidr);
  }

  /** Throws a RangeError when it overlaps another. */
  add(cidr: string, network: NetworkKey, given: boolean): Block {
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

  /** Not in a pod CIDR, or over the addresses in it that are the node's own: cut when the node had other CIDRs. */
  isOutside({ given, prefix }: Block): boolean {
    return !given && !this.#cidrs.some((c) => covers(c, prefix) && !overlaps(ownPrefix(c), prefix));
  }

  /** The block that an address is in. */
  at(ip: string): Block | undefined {
    const address = mustIp(ip);
    for (const block of this.#blocks.values()) if (contains(block.prefix, address)) return block;
    return undefined;
  }

  /** Addresses that have rested are free. */
  wake(block: Block, now: number): void {
    for (const [value, at] of block.resting) {
      // A clock that went backwards must not make an address rest for ever.
      if (now - at >= this.#restMs || at > now + this.#restMs) block.resting.delete(value);
    }
  }

  /** What no new block may overlap: other blocks, and the node's own addresses. */
  occupied(family: Family): Prefix[] {
    const blocks = [...this.#blocks.values()].filter((b) => b.prefix.family === family).map((b) => b.prefix);
    return [...blocks, ...this.#cidrs.filter((c) => c.family === family).map(ownPrefix)];
  }
}

/** An address that is free, after the last one that was given. */
export function freeIn(block: Block, cidrs: readonly Prefix[]): bigint | undefined {
  const size = sizeOf(block.prefix);
  if (BigInt(block.taken.size + block.resting.size) >= size) return undefined;
  const start = block.next > lastOf(block.prefix) ? block.prefix.first : block.next;
  for (let i = 0n; i < size; i++) {
    const value = block.prefix.first + ((start - block.prefix.first + i) % size);
    if (!block.taken.has(value) && !block.resting.has(value) && !isReserved(block, value, cidrs)) return value;
  }
  return undefined;
}

function isReserved({ prefix: { family }, given, except }: Block, value: bigint, cidrs: readonly Prefix[]): boolean {
  if (given) return except.some((e) => contains(e, { family, value }));
  const cidr = cidrs.find((c) => c.family === family && contains(c, { family, value }));
  return cidr !== undefined && (value < cidr.first + OWN || value === lastOf(cidr));
}

/** How many addresses of a block are not for every pod, beside those that are taken. */
export function reservedIn({ prefix, given, except, taken }: Block, cidrs: readonly Prefix[]): number {
  if (given) {
    // Taken ones that were asked for by name are counted as taken.
    const kept = except.filter((e) => !except.some((o) => o !== e && o.length < e.length && covers(o, e)));
    const inKept = [...taken.keys()].filter((value) => kept.some((e) => contains(e, { family: prefix.family, value })));
    return Number(kept.reduce((n, e) => n + sizeOf(e), 0n)) - inKept.length;
  }
  const cidr = cidrs.find((c) => c.family === prefix.family && contains(c, nth(prefix, 0)));
  if (!cidr) return 0;
  const own = [...Array(Number(OWN)).keys()].map((i) => cidr.first + BigInt(i));
  const reserved = new Set([...own, lastOf(cidr)]);
  return [...reserved].filter((value) => overlaps(prefix, hostPrefix({ family: prefix.family, value }))).length;
}

/** Addresses at the start of a pod CIDR that belong to the node: .0 to .2 are in use, .3 completes the /30. */
const OWN = 4n;

/** The node's own addresses as a prefix; the whole CIDR when it is no bigger. */
const ownPrefix = (cidr: Prefix): Prefix => ({
  ...cidr,
  length: Math.max(cidr.length, (cidr.family === 4 ? 32 : 128) - 2),
});
