import type { VirtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import type { PortSet } from '../../api/nodeconfig.ts';
import { cut } from '../../lib/ip/cut.ts';
import { covers, formatPrefix, mustPrefix } from '../../lib/ip/prefix.ts';
import { portElements, portSet, unionOf } from '../cluster/ports.ts';

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
    const ports = unionOf(entries.filter((e) => covers(e.prefix, prefix)).map((e) => e.ports));
    const inner = distinct.filter((d) => d !== prefix && covers(prefix, d));
    for (const piece of cut(prefix, inner)) parts.push({ prefix: formatPrefix(piece), ports });
  }
  return parts.sort((a, b) => (a.prefix < b.prefix ? -1 : 1));
}

/** Elements of kernel sets that an allow list makes. */
export const egressElements = (allow: NonNullable<VirtualNetworkSpec['egress']['allow']>): number =>
  egressParts(allow).reduce((n, { ports }) => n + (ports === 'any' ? 1 : portElements(ports)), 0);
