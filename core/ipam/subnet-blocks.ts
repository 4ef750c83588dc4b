import type { VirtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import type { Family } from '../../lib/ip/address.ts';
import {
  contains,
  covers,
  firstFree,
  formatPrefix,
  hostPrefix,
  lastOf,
  mustPrefix,
  nth,
  type Prefix,
  sizeOf,
} from '../../lib/ip/prefix.ts';
import { mustIp } from '../../lib/ip/address.ts';

type Subnets = Pick<VirtualNetworkSpec, 'subnets' | 'staticPrefixes' | 'reservedPrefixes'>;

/**
 * Addresses of a subnet that no pod gets, whatever the spec says: the first (the network's name in IPv4, the routers' anycast
 * address in IPv6), the second (where people expect a gateway), and in IPv4 the last (broadcast).
 */
export function specialAddresses(subnet: Prefix): Prefix[] {
  const first = [nth(subnet, 0), nth(subnet, 1)];
  if (subnet.family === 4) first.push({ family: 4, value: lastOf(subnet) });
  return first.map(hostPrefix);
}

/** Why a pod cannot ask for this address; undefined when it can. */
export function addressProblem(spec: Subnets, ip: string): string | undefined {
  const address = mustIp(ip);
  const subnet = (spec.subnets ?? []).map(mustPrefix).find((s) => contains(s, address));
  if (!subnet) return `is in none of its subnets${spec.subnets?.length ? ` (${spec.subnets.join(', ')})` : ''}`;
  if (specialAddresses(subnet).some((s) => contains(s, address)))
    return `is the first, second or last address of ${formatPrefix(subnet)}, which no pod gets`;
  const reserved = spec.reservedPrefixes?.find((r) => contains(mustPrefix(r), address));
  return reserved === undefined ? undefined : `is in ${reserved}, which spec.reservedPrefixes keeps from all pods`;
}

/** Parts of a block that are not given to pods which ask for nothing; the whole of it when it lies in no subnet any more. */
export function exceptIn(spec: Subnets, cidr: string): string[] {
  const block = mustPrefix(cidr);
  const subnet = (spec.subnets ?? []).map(mustPrefix).find((s) => covers(s, block));
  if (!subnet) return [cidr];
  const kept = [...(spec.staticPrefixes ?? []), ...(spec.reservedPrefixes ?? [])].map(mustPrefix);
  return [...specialAddresses(subnet), ...kept].flatMap((p) =>
    covers(p, block) ? [cidr] : covers(block, p) ? [formatPrefix(p)] : [],
  );
}

/** How many addresses of a block pods can get. */
export function usableIn(spec: Subnets, cidr: string): number {
  const block = mustPrefix(cidr);
  const except = exceptIn(spec, cidr).map(mustPrefix);
  if (except.some((e) => covers(e, block))) return 0;
  const distinct = except.filter((e) => !except.some((o) => o !== e && covers(o, e) && o.length < e.length));
  return Number(
    sizeOf(block) - [...new Set(distinct.map(formatPrefix))].reduce((n, e) => n + sizeOf(mustPrefix(e)), 0n),
  );
}

/**
 * The next block of a family to give to a node, or undefined when the subnets are used up.
 *
 * Its size follows from the number of nodes: each could get two of them before half of the subnets is given away, so that a /20
 * serves 3 nodes in blocks of 64 and 300 nodes in blocks of 4. When none of that size is left, smaller ones are given.
 */
export function nextBlock(
  spec: Subnets,
  { family, taken, nodes }: { readonly family: Family; readonly taken: readonly Prefix[]; readonly nodes: number },
): string | undefined {
  const subnets = (spec.subnets ?? []).map(mustPrefix).filter((s) => s.family === family);
  const bits = family === 4 ? 32 : 128;
  const total = subnets.reduce((sum, s) => sum + sizeOf(s), 0n);
  const share = total / BigInt(2 * Math.max(nodes, 4));
  const most = family === 4 ? 6 : 8;
  let exponent = most;
  while (exponent > 0 && 1n << BigInt(exponent) > share) exponent--;
  const kept = [...(spec.staticPrefixes ?? []), ...(spec.reservedPrefixes ?? [])].map(mustPrefix);
  for (; exponent >= 0; exponent--) {
    for (const subnet of subnets) {
      const skipped: Prefix[] = [];
      for (;;) {
        const found = firstFree(subnet, Math.max(bits - exponent, subnet.length), [...taken, ...kept, ...skipped]);
        if (!found) break;
        if (usableIn(spec, formatPrefix(found)) > 0) return formatPrefix(found);
        skipped.push(found);
      }
    }
  }
  return undefined;
}
