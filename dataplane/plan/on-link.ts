import type { HostRoute } from '../../lib/netlink/inet.ts';
import { type Prefix, covers, formatPrefix, mustPrefix, sizeOf } from '../../lib/ip/prefix.ts';
import { isOurLink } from './names.ts';

/** Prefixes whose hosts the node looks for on its links by ARP or neighbour discovery: disjoint, without those of one host. */
export function onLinkPrefixes(routes: readonly HostRoute[]): string[] {
  const prefixes = routes
    .filter(({ dev, direct }) => direct && dev !== 'lo' && !isOurLink(dev))
    .map(({ dst }) => mustPrefix(dst))
    .filter((p) => sizeOf(p) > 1n && !covers(LINK_LOCAL, p));
  return [...new Set(outermost(prefixes).map(formatPrefix))].sort();
}

/** Nothing is forwarded there. */
const LINK_LOCAL = mustPrefix('fe80::/10');

/** Those that no other covers. */
function outermost(prefixes: readonly Prefix[]): Prefix[] {
  const kept: Prefix[] = [];
  for (const p of [...prefixes].sort((a, b) => a.length - b.length)) if (!kept.some((k) => covers(k, p))) kept.push(p);
  return kept;
}
