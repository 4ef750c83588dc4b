import type { VirtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import type { PortSet } from '../../api/nodeconfig.ts';
import { covers, formatPrefix, lastOf, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { NO_PORTS, portSet, union } from '../routers/ports.ts';

type Part = { readonly prefix: string; readonly ports: PortSet };

/**
 * The allow list as disjoint prefixes, each with all ports that may be reached there: sets of the kernel take no overlapping
 * elements. Prefixes nest or are apart, so each is cut around those inside it.
 */
export function egressParts(allow: NonNullable<VirtualNetworkSpec['egress']['allow']>): Part[] {
  const entries = allow.map(({ cidr, ports }) => ({ prefix: mustPrefix(cidr), ports: portSet(ports) }));
  const distinct = [...new Map(entries.map(({ prefix }) => [formatPrefix(prefix), prefix])).values()];
  const parts: Part[] = [];
  for (const prefix of distinct) {
    const ports = entries
      .filter((e) => covers(e.prefix, prefix))
      .map((e) => e.ports)
      .reduce(union, NO_PORTS);
    const inner = distinct.filter((d) => d !== prefix && covers(prefix, d));
    for (const piece of without(prefix, inner)) parts.push({ prefix: formatPrefix(piece), ports });
  }
  return parts.sort((a, b) => (a.prefix < b.prefix ? -1 : 1));
}

/** What is left of a prefix when others are cut out of it, as prefixes. */
function without(outer: Prefix, holes: readonly Prefix[]): Prefix[] {
  const inside = holes.filter((h) => covers(outer, h));
  if (inside.length === 0) return [outer];
  if (inside.some((h) => h.length === outer.length)) return [];
  const length = outer.length + 1;
  const lower: Prefix = { ...outer, length };
  const upper: Prefix = { ...outer, length, first: lastOf(lower) + 1n };
  return [...without(lower, inside), ...without(upper, inside)];
}
