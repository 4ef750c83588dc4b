import { mustIp } from '../../lib/ip/address.ts';
import { hostPrefix, lastOf, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import type { Node } from '../cluster/state.ts';

/** What agents report of their nodes, where a prefix overlaps it. */
export type Reported = {
  /** An address or a route, as its agent reports it. */
  readonly text: string;
  /** The nodes that say so; of many the first two. */
  readonly nodes: readonly string[];
};

type Entry = { readonly prefix: Prefix; readonly text: string; readonly nodes: string[] };

/**
 * Addresses and routes that agents report, to be asked which of them a prefix overlaps. Thousands of nodes have mostly the same,
 * so each is kept once.
 */
export class ReportedRanges {
  readonly #entries = new Map<string, Entry>();
  readonly #sorted: Record<4 | 6, Entry[]> = { 4: [], 6: [] };
  readonly #lengths: Record<4 | 6, Set<number>> = { 4: new Set(), 6: new Set() };

  constructor(nodes: Iterable<Pick<Node, 'name' | 'further' | 'routes'>>) {
    for (const { name, further, routes } of nodes) {
      for (const address of further) this.#add(hostPrefix(mustIp(address)), address, name);
      for (const route of routes) this.#add(mustPrefix(route), route, name);
    }
    for (const entry of this.#entries.values()) {
      this.#sorted[entry.prefix.family].push(entry);
      this.#lengths[entry.prefix.family].add(entry.prefix.length);
    }
    for (const list of Object.values(this.#sorted)) list.sort((a, b) => (a.prefix.first < b.prefix.first ? -1 : 1));
  }

  /** What overlaps a prefix, of one node or more; undefined when nothing does. Names of nodes stop at two. */
  overlapping(prefix: Prefix): Reported | undefined {
    let text: string | undefined;
    const nodes = new Set<string>();
    for (const entry of this.#around(prefix)) {
      text ??= entry.text;
      for (const node of entry.nodes) if (nodes.size < 2) nodes.add(node);
      if (nodes.size === 2) break;
    }
    return text === undefined ? undefined : { text, nodes: [...nodes].sort() };
  }

  /** Prefixes nest or are apart: those that hold this one, and those inside it. */
  *#around(prefix: Prefix): Generator<Entry> {
    for (const length of this.#lengths[prefix.family]) {
      if (length > prefix.length) continue;
      const bits = BigInt((prefix.family === 4 ? 32 : 128) - length);
      const entry = this.#entries.get(keyOf({ ...prefix, first: (prefix.first >> bits) << bits, length }));
      if (entry) yield entry;
    }
    const list = this.#sorted[prefix.family];
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((list[middle]?.prefix.first ?? 0n) < prefix.first) low = middle + 1;
      else high = middle;
    }
    const last = lastOf(prefix);
    for (let entry = list[low]; entry && entry.prefix.first <= last; entry = list[++low])
      if (entry.prefix.length > prefix.length) yield entry;
  }

  #add(prefix: Prefix, text: string, node: string): void {
    const key = keyOf(prefix);
    const known = this.#entries.get(key);
    if (!known) this.#entries.set(key, { prefix, text, nodes: [node] });
    else if (known.nodes.length < 2) known.nodes.push(node);
  }
}

const keyOf = ({ family, first, length }: Prefix): string => `${family} ${first} ${length}`;
