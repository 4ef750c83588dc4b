import type { NetworkKey } from '../../api/nodeconfig.ts';
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
type Seen = Pick<ClusterState, 'networks' | 'nodes' | 'podCIDRs' | 'serviceCIDRs'>;

/**
 * Networks that may not be used, since a subnet of theirs belongs to somebody else already. Of two networks the older keeps it,
 * whichever order they are read in.
 */
export function subnetConflicts(state: Seen): Map<NetworkKey, string> {
  const conflicts = new Map<NetworkKey, string>();
  const taken = new Ranges(clusterRanges(state));
  const families = new Set([...state.nodes.values()].flatMap((n) => n.podCIDRs.map(familyOf)));
  const byAge = [...state.networks.values()]
    .filter((n) => (n.spec?.subnets?.length ?? 0) > 0 || (n.spec?.egress.addresses?.length ?? 0) > 0)
    .sort((a, b) => a.created - b.created || (keyOf(a) < keyOf(b) ? -1 : 1));
  for (const network of byAge) {
    const problems = problemsOf(network, taken, families);
    if (problems.length > 0) conflicts.set(keyOf(network), problems.join('; '));
    else for (const owned of ownedBy(network)) taken.add(owned);
  }
  return conflicts;
}

/** What a network that is about to be stored would take from others. */
export function conflictsOfNew(state: Seen, network: Network): string[] {
  const key = keyOf(network);
  const others = [...state.networks.values()].filter((n) => keyOf(n) !== key && n.spec);
  const families = new Set([...state.nodes.values()].flatMap((n) => n.podCIDRs.map(familyOf)));
  return problemsOf(network, new Ranges([...clusterRanges(state), ...others.flatMap(ownedBy)]), families);
}

function problemsOf(network: Network, taken: Ranges, families: ReadonlySet<number>): string[] {
  return ownedBy(network).flatMap(({ prefix, text, field }) => {
    const other = taken.overlapping(prefix);
    if (other)
      return [`${field}: ${text} of network ${keyOf(network)} overlaps ${other.text}, which belongs to ${other.owner}`];
    if (families.size > 0 && !families.has(prefix.family))
      return [`${field}: ${text}: no node of this cluster has IPv${prefix.family} pods`];
    return [];
  });
}

function ownedBy(network: Network): Owned[] {
  const owner = `network ${keyOf(network)}`;
  const { subnets = [], egress } = network.spec ?? {};
  return [
    ...subnets.map((text, i) => ({ prefix: mustPrefix(text), text, owner, field: `spec.subnets[${i}]` })),
    ...(egress?.addresses ?? []).map((text, i) => ({
      prefix: hostPrefix(mustIp(text)),
      text,
      owner,
      field: `spec.egress.addresses[${i}]`,
    })),
  ];
}

function clusterRanges({ nodes, podCIDRs, serviceCIDRs }: Seen): Owned[] {
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
