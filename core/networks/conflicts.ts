import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, hostPrefix, lastOf, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { type ClusterState, keyOf, type Network } from '../cluster/state.ts';

type Owned = {
  readonly prefix: Prefix;
  readonly text: string;
  readonly owner: string;
  /** Path of the field, of a network's own. */
  readonly field?: string;
};

/** What decides on who owns a prefix. */
export type Ownership = Pick<ClusterState, 'networks' | 'nodes' | 'podCIDRs' | 'serviceCIDRs'>;

/** Prefixes that are taken, and what others would take of them. */
export class Owners {
  readonly #taken: Ranges;
  readonly #families: ReadonlySet<number>;

  /** The cluster's own ranges, and nodes. */
  constructor(state: Ownership, networks: readonly Network[] = []) {
    this.#taken = new Ranges([
      ...clusterRanges(state),
      ...networks.flatMap((n) => [...subnetsOf(n), ...addressesOf(n)]),
    ]);
    this.#families = new Set([...state.nodes.values()].flatMap((n) => n.podCIDRs.map(familyOf)));
  }

  /** What a network's subnets would take from others. */
  subnetProblems(network: Network): string[] {
    return this.#problems(network, subnetsOf(network));
  }

  /** What its egress addresses would take from others. */
  addressProblems(network: Network): string[] {
    return this.#problems(network, addressesOf(network));
  }

  /** From now on these are the network's. Only for what takes nothing from others. */
  takeSubnets(network: Network): void {
    for (const owned of subnetsOf(network)) this.#taken.add(owned);
  }

  takeAddresses(network: Network): void {
    for (const owned of addressesOf(network)) this.#taken.add(owned);
  }

  #problems(network: Network, wanted: readonly Owned[]): string[] {
    return wanted.flatMap(({ prefix, text, field }) => {
      const other = this.#taken.overlapping(prefix);
      if (other)
        return [
          `${field}: ${text} of network ${keyOf(network)} overlaps ${other.text}, which belongs to ${other.owner}`,
        ];
      if (this.#families.size > 0 && !this.#families.has(prefix.family))
        return [`${field}: ${text}: no node of this cluster has IPv${prefix.family} pods`];
      return [];
    });
  }
}

const ownerOf = (network: Network): string => `network ${keyOf(network)}`;

const subnetsOf = (network: Network): Owned[] =>
  (network.spec?.subnets ?? []).map((text, i) => ({
    prefix: mustPrefix(text),
    text,
    owner: ownerOf(network),
    field: `spec.subnets[${i}]`,
  }));

const addressesOf = (network: Network): Owned[] =>
  (network.spec?.egress.addresses ?? []).map((text, i) => ({
    prefix: hostPrefix(mustIp(text)),
    text,
    owner: ownerOf(network),
    field: `spec.egress.addresses[${i}]`,
  }));

function clusterRanges({ nodes, podCIDRs, serviceCIDRs }: Ownership): Owned[] {
  const named = (texts: readonly string[], owner: string): Owned[] =>
    texts.map((text) => ({ prefix: mustPrefix(text), text, owner }));
  return [
    ...named([...new Set(podCIDRs)], 'the pod range of the cluster'),
    ...named(serviceCIDRs, 'the Service range of the cluster'),
    ...[...nodes.values()].flatMap((n) => [
      ...named(n.podCIDRs, `the pod range of node ${n.name}`),
      ...n.addresses.map((a) => ({ prefix: hostPrefix(mustIp(a)), text: a, owner: `node ${n.name}` })),
    ]),
  ];
}

/** Ranges by their first address. They may nest (a cluster's range and a node's), so the search looks at the widest before. */
class Ranges {
  readonly #byFamily = { 4: [] as Owned[], 6: [] as Owned[] };

  constructor(ranges: readonly Owned[]) {
    for (const r of ranges) this.#byFamily[r.prefix.family].push(r);
    for (const list of Object.values(this.#byFamily)) {
      list.sort((a, b) =>
        a.prefix.first < b.prefix.first ? -1 : a.prefix.first > b.prefix.first ? 1 : a.prefix.length - b.prefix.length,
      );
      // What lies in the one before tells nothing more.
      let last: Owned | undefined;
      const outer = list.filter((r) => {
        const inside = last !== undefined && contains(last.prefix, { family: r.prefix.family, value: r.prefix.first });
        if (!inside) last = r;
        return !inside;
      });
      list.splice(0, list.length, ...outer);
    }
  }

  overlapping(prefix: Prefix): Owned | undefined {
    const list = this.#byFamily[prefix.family];
    const at = this.#firstBehind(list, prefix.first);
    const before = list[at - 1];
    if (before && lastOf(before.prefix) >= prefix.first) return before;
    const next = list[at];
    return next && next.prefix.first <= lastOf(prefix) ? next : undefined;
  }

  /** Only for what overlaps nothing in here. */
  add(owned: Owned): void {
    const list = this.#byFamily[owned.prefix.family];
    list.splice(this.#firstBehind(list, owned.prefix.first), 0, owned);
  }

  #firstBehind(list: readonly Owned[], value: bigint): number {
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((list[middle]?.prefix.first ?? 0n) <= value) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
