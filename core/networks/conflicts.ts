import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, hostPrefix, lastOf, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { apiServerHosts } from '../api-server/hosts.ts';
import { type ClusterState, keyOf, type Network } from '../cluster/state.ts';
import { type Reported, ReportedRanges } from './reported-ranges.ts';

type Owned = {
  readonly prefix: Prefix;
  readonly text: string;
  readonly owner: string;
  /** Path of the field, of a network's own. */
  readonly field?: string;
};

/** What decides on who owns a prefix. */
export type Ownership = Pick<ClusterState, 'networks' | 'nodes' | 'slices' | 'podCIDRs' | 'serviceCIDRs'>;

/** What agents alone say of a network's prefixes. */
export type ReportedConflict = { readonly problems: readonly string[]; readonly nodes: readonly string[] };

/** Prefixes that are taken, and what others would take of them. */
export class Owners {
  readonly #taken: Ranges;
  readonly #families: ReadonlySet<number>;
  readonly #nodes: Ownership['nodes'];
  #reported: ReportedRanges | undefined;

  /** The cluster's own ranges, and nodes. */
  constructor(state: Ownership, networks: readonly Network[] = []) {
    this.#taken = new Ranges([
      ...clusterRanges(state),
      ...networks.flatMap((n) => [...subnetsOf(n), ...addressesOf(n)]),
    ]);
    this.#nodes = state.nodes;
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

  /** What of nodes its subnets would take, as agents report: addresses and routes. */
  reportedSubnets(network: Network): ReportedConflict | undefined {
    return this.#reportedOf(network, subnetsOf(network), (r) => r);
  }

  /** What of nodes its egress addresses would take. They lie in routes of nodes, being on the same link. */
  reportedAddresses(network: Network): ReportedConflict | undefined {
    return this.#reportedOf(network, addressesOf(network), (r) => (r.text.includes('/') ? undefined : r));
  }

  /** From now on these are the network's. Only for what takes nothing from others. */
  takeSubnets(network: Network): void {
    for (const owned of subnetsOf(network)) this.#taken.add(owned);
  }

  takeAddresses(network: Network): void {
    for (const owned of addressesOf(network)) this.#taken.add(owned);
  }

  #reportedOf(
    network: Network,
    wanted: readonly Owned[],
    counts: (r: Reported) => Reported | undefined,
  ): ReportedConflict | undefined {
    if (wanted.length === 0) return undefined;
    this.#reported ??= new ReportedRanges(this.#nodes.values());
    const problems: string[] = [];
    const nodes = new Set<string>();
    for (const { prefix, text, field } of wanted) {
      const other = this.#reported.overlapping(prefix);
      const found = other && counts(other);
      if (!found) continue;
      for (const node of found.nodes) nodes.add(node);
      problems.push(
        `${field}: ${text} of network ${keyOf(network)} overlaps ${found.text}, ${found.text.includes('/') ? 'a route' : 'an address'} of node ${found.nodes.join(' and node ')}`,
      );
    }
    return problems.length > 0 ? { problems, nodes: [...nodes].sort() } : undefined;
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

function clusterRanges(state: Ownership): Owned[] {
  const { nodes, podCIDRs, serviceCIDRs } = state;
  const named = (texts: readonly string[], owner: string): Owned[] =>
    texts.map((text) => ({ prefix: mustPrefix(text), text, owner }));
  return [
    ...named([...new Set(podCIDRs)], 'the pod range of the cluster'),
    ...named(serviceCIDRs, 'the Service range of the cluster'),
    ...apiServerHosts(state).addresses.map((a) => ({
      prefix: hostPrefix(mustIp(a)),
      text: a,
      owner: 'the Kubernetes API server',
    })),
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
