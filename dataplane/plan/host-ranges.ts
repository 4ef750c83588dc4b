import type { NetworkItem } from '../../api/nodeconfig.ts';
import { WIDEST_ROUTE } from '../../core/nodes/reported.ts';
import { cut } from '../../lib/ip/cut.ts';
import { hostCidr, formatPrefix, mustPrefix, overlaps, type Prefix } from '../../lib/ip/prefix.ts';

/**
 * What this node itself has addresses in and routes to, beside its pods. Networks never take any of it from the node's own
 * processes, whatever the controller says: this is asked when routes are planned, by what the kernel has then.
 */
export class HostRanges {
  readonly #ranges: readonly { readonly prefix: Prefix; readonly what: string }[];
  readonly #answers = new Map<string, string | undefined>();

  /** @param apiServers hosts of the API servers, by which the node would hear that something is wrong */
  constructor(
    { addresses, routes }: { readonly addresses: readonly string[]; readonly routes: readonly string[] },
    apiServers: readonly string[] = [],
  ) {
    this.#ranges = [
      ...addresses.map((a) => ({ prefix: mustPrefix(hostCidr(a)), what: `${a}, an address of this node` })),
      ...apiServers.map((a) => ({ prefix: mustPrefix(hostCidr(a)), what: `${a}, a host of the API server` })),
      ...routes.map((r) => ({
        prefix: mustPrefix(r),
        what: `${r}, to which this node has a route of its own, or a resolver there`,
      })),
    ].filter(({ prefix }) => prefix.length >= WIDEST_ROUTE[prefix.family]);
  }

  /** What of the node a prefix overlaps, in words; undefined when nothing. */
  overlapping(cidr: string): string | undefined {
    if (!this.#answers.has(cidr)) {
      const prefix = mustPrefix(cidr);
      this.#answers.set(cidr, this.#ranges.find((r) => overlaps(r.prefix, prefix))?.what);
    }
    return this.#answers.get(cidr);
  }

  /** A range less what of it is the node's. */
  without(cidr: string): string[] {
    if (this.overlapping(cidr) === undefined) return [cidr];
    return cut(
      mustPrefix(cidr),
      this.#ranges.map((r) => r.prefix),
    ).map(formatPrefix);
  }
}

/** A network as it is on a node that must not carry it: its pods reach each other, and nothing else. */
export function closedNetwork(network: NetworkItem): NetworkItem {
  return { ...withoutEgress(network), closed: true, allow: [], apiServerAccess: 'None' };
}

/** A network without a way out. */
export function withoutEgress(network: NetworkItem): NetworkItem {
  const { egressAllow: _, egressVia: __, ...rest } = network;
  return { ...rest, egress: 'None' };
}
