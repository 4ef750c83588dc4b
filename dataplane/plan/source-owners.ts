import type { NodeItem } from '../../api/nodeconfig.ts';
import { FLAT_NETWORK } from '../../api/names.ts';
import { nodeAddress, probeSource } from '../../core/nodes/addresses.ts';
import { parseIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';

export type OwnedBlock = { readonly cidr: string; readonly network: string };

/** Gives the owner of a source. */
export type SourceOwners = (source: string) => string | undefined;

/**
 * Whose connections in the root those of a source are: a network's, or a flat pod's own. Undefined for nodes and for what is outside.
 * Logarithmic in the blocks.
 */
export function sourceOwners(
  blocks: Iterable<OwnedBlock>,
  podRanges: readonly string[],
  nodes: Iterable<NodeItem>,
): SourceOwners {
  const own = nodeSources(nodes);
  const ranges = podRanges.map(mustPrefix);
  const sorted = [...blocks]
    .filter((b) => b.network !== FLAT_NETWORK)
    .map((b) => ({ prefix: mustPrefix(b.cidr), network: b.network }))
    .sort((a, b) => a.prefix.family - b.prefix.family || (a.prefix.first < b.prefix.first ? -1 : 1));
  return (source) => {
    const ip = parseIp(source);
    if (!ip || own.has(source)) return undefined;
    const before = (p: Prefix): boolean => p.family < ip.family || (p.family === ip.family && p.first <= ip.value);
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (before((sorted[middle] as (typeof sorted)[number]).prefix)) low = middle + 1;
      else high = middle;
    }
    const block = sorted[low - 1];
    if (block && contains(block.prefix, ip)) return block.network;
    return ranges.some((r) => contains(r, ip)) ? source : undefined;
  };
}

/** Addresses by which nodes themselves speak to pods. */
export const nodeSources = (nodes: Iterable<NodeItem>): ReadonlySet<string> =>
  new Set([...nodes].flatMap((n) => [...n.addresses, ...n.podCIDRs.flatMap((c) => [nodeAddress(c), probeSource(c)])]));
