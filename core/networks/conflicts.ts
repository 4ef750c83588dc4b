import { bitsOf, familyOf, mustIp } from '../../lib/ip/address.ts';
import { hostPrefix, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
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

/** Ranges that are taken. They may nest (a cluster's range and a node's): the widest is named. */
class Ranges {
  readonly #taken = new PrefixMap<Owned>();
  /** Prefixes that hold a taken one, each with the first of those. */
  readonly #around = new PrefixMap<Owned>();

  constructor(ranges: readonly Owned[]) {
    for (const r of ranges) this.add(r);
  }

  overlapping({ family, first, length }: Prefix): Owned | undefined {
    const holding = [...this.#taken.all({ family, value: first })];
    return holding.at(-1) ?? this.#around.at({ family, first, length });
  }

  add(owned: Owned): void {
    const { family, first, length } = owned.prefix;
    if (!this.#taken.at(owned.prefix)) this.#taken.set(owned.prefix, owned);
    for (let shorter = length - 1; shorter >= 0; shorter--) {
      const host = BigInt(bitsOf(family) - shorter);
      const around = { family, length: shorter, first: (first >> host) << host };
      if (this.#around.at(around)) return; // and so is all that is wider
      this.#around.set(around, owned);
    }
  }
}
