import { formatIp, type Ip, mustIp } from '../../lib/ip/address.ts';
import { contains, covers, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import { keyOf } from '../cluster/state.ts';
import type { View } from '../view/view.ts';

/** Which addresses are those of Services, and which of pods. */
export class ServiceAddresses {
  readonly #view: View;
  readonly #services: ReadonlyMap<string, string>;
  readonly #podRanges: PrefixMap<Prefix>;
  #sorted: { readonly services: readonly Ip[]; readonly others: readonly Ip[] } | undefined;

  constructor(view: View) {
    const { state } = view;
    this.#view = view;
    // A load balancer may have the address of a node, which is a peer as such.
    const nodes = new Set([...state.nodes.values()].flatMap((n) => [...n.addresses, ...n.further]));
    this.#services = new Map(
      [...state.services.values()].flatMap((s) =>
        [...s.clusterIPs, ...s.frontends.map((f) => f.ip)]
          .filter((ip) => !nodes.has(ip))
          .map((ip) => [ip, `Service ${keyOf(s)}`] as const),
      ),
    );
    const nodeRanges = [...state.nodes.values()].flatMap((n) => n.podCIDRs);
    this.#podRanges = new PrefixMap(nodeRanges.map(mustPrefix).map((r): [Prefix, Prefix] => [r, r]));
  }

  /** "Service ns/name" */
  at(ip: string): string | undefined {
    return this.#services.get(ip);
  }

  /** Whether a prefix lies in the range of one node's pods, or is a part of that of all pods. */
  isOfPods(prefix: Prefix): boolean {
    const first = { family: prefix.family, value: prefix.first };
    if ([...this.#podRanges.all(first)].some((r) => covers(r, prefix))) return true;
    return this.#view.state.podCIDRs.map(mustPrefix).some((r) => covers(r, prefix) && r.length < prefix.length);
  }

  /** Whether a prefix lies in a range of which Services get their addresses. */
  isInRange(prefix: Prefix): boolean {
    return this.#view.state.serviceCIDRs.some((c) => covers(mustPrefix(c), prefix));
  }

  /** Whether it lies in a range that Services usually get, where the input does not tell which that is. */
  isInUsualRange(prefix: Prefix): boolean {
    return this.#view.state.serviceCIDRs.length === 0 && USUAL.some((c) => covers(mustPrefix(c), prefix));
  }

  /**
   * A Service with a cluster IP in a prefix of nothing but Services; undefined when a pod or node is in it, or none of all. Around
   * an outer address (a load balancer, an external IP) are hosts outside, which are peers.
   */
  within(prefix: Prefix): string | undefined {
    if (prefix.length < LEAST_RANGE[prefix.family]) return undefined;
    this.#sorted ??= {
      services: sorted([...this.#view.state.services.values()].flatMap((s) => s.clusterIPs)),
      others: sorted([
        ...this.#view.podByIp.keys(),
        ...[...this.#view.state.nodes.values()].flatMap((n) => n.addresses),
      ]),
    };
    const found = firstIn(this.#sorted.services, prefix);
    if (found === undefined || firstIn(this.#sorted.others, prefix) !== undefined) return undefined;
    return this.#services.get(formatIp(found));
  }
}

/** Of kubeadm and of k3s. */
const USUAL = ['10.96.0.0/12', '10.43.0.0/16'] as const;

/** Shorter prefixes than these mean more than a range of Services. */
const LEAST_RANGE = { 4: 12, 6: 64 } as const;

const sorted = (ips: Iterable<string>): Ip[] => [...ips].map(mustIp).sort(inOrder);
const inOrder = (a: Ip, b: Ip): number => a.family - b.family || (a.value < b.value ? -1 : a.value > b.value ? 1 : 0);

/** The first of sorted addresses that lies in a prefix. */
function firstIn(all: readonly Ip[], prefix: Prefix): Ip | undefined {
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (inOrder(all[middle] as Ip, { family: prefix.family, value: prefix.first }) < 0) low = middle + 1;
    else high = middle;
  }
  const found = all[low];
  return found && contains(prefix, found) ? found : undefined;
}
