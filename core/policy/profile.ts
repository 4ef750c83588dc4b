import type { GroupItem, PortSet, ProfileItem, ProfileRule, ProfileSide, Protocol } from '../../api/nodeconfig.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import type { Pod } from '../cluster/state.ts';
import { groupItem, groupKey, type NamedPort, numbersOf } from './groups.ts';
import type { PolicyIndex } from './index.ts';
import { type Direction, type Policy, policyKey, type PolicyRule, type Port } from '../cluster/policy.ts';

/** The rules that hold for a pod, with everything that selects resolved. Pods with one key share them. */
export type Profile = {
  readonly key: string;
  readonly item: ProfileItem;
  readonly groups: ReadonlyMap<string, GroupItem>;
};

/** Resolves policies for pods, and remembers what it has resolved: one is made per state of the cluster. */
export class Profiles {
  readonly #index: PolicyIndex;
  readonly #before: ReadonlyMap<string, GroupItem>;
  readonly #groups = new Map<string, GroupItem>();
  readonly #profiles = new Map<string, Profile>();
  readonly #numbers = new Map<string, readonly NamedPort[]>();

  /** @param before groups of an earlier state: one that is still the same stays the same object, and need not be told again */
  constructor(index: PolicyIndex, before: ReadonlyMap<string, GroupItem> = new Map()) {
    this.#index = index;
    this.#before = before;
  }

  get groups(): ReadonlyMap<string, GroupItem> {
    return this.#groups;
  }

  /** Undefined: no policy selects the pod. */
  of(pod: Pod): Profile | undefined {
    const policies = this.#index.selecting(pod).filter((p) => p.ingress !== undefined || p.egress !== undefined);
    if (policies.length === 0) return undefined;
    return this.resolve(policies, pod);
  }

  /** The profile that a pod would have if these policies selected it, in this order. */
  resolve(policies: readonly Policy[], pod: Pod): Profile {
    const key = profileKey(policies, pod);
    const known = this.#profiles.get(key);
    if (known) return known;
    const groups = new Map<string, GroupItem>();
    const side = (direction: Direction): ProfileSide => ({
      isolatedBy: policies.filter((p) => p.kind === 'NetworkPolicy' && p[direction] !== undefined).map(policyKey),
      rules: policies.flatMap((p) => (p[direction] ?? []).map((r) => this.#rule(p, r, direction, pod, groups))),
    });
    const profile = { key, item: { ingress: side('ingress'), egress: side('egress') }, groups };
    this.#profiles.set(key, profile);
    return profile;
  }

  /** Numbers of a named port among the pods of a rule's peers. */
  numbersOf(peers: PolicyRule['peers'], name: string, protocol?: Protocol): readonly NamedPort[] {
    // Prefixes hold for all pods.
    const anywhere = peers === 'any' || peers.some((p) => p.kind === 'networks');
    const key = `${groupKey(anywhere ? 'any' : peers)} ${name}/${protocol ?? ''}`;
    const known = this.#numbers.get(key) ?? numbersOf(this.#index, peers, name, protocol);
    this.#numbers.set(key, known);
    return known;
  }

  #same(key: string, item: GroupItem): GroupItem {
    const before = this.#before.get(key);
    const same = (a: readonly string[], b: readonly string[]): boolean =>
      a.length === b.length && a.every((x, i) => x === b[i]);
    return before && same(before.addresses, item.addresses) && same(before.prefixes, item.prefixes) ? before : item;
  }

  #rule(policy: Policy, rule: PolicyRule, direction: Direction, pod: Pod, groups: Map<string, GroupItem>): ProfileRule {
    const use = (named?: NamedPort): string => {
      const key = groupKey(rule.peers, named);
      const item = this.#groups.get(key) ?? this.#same(key, groupItem(this.#index, rule.peers, named));
      this.#groups.set(key, item);
      groups.set(key, item);
      return key;
    };
    // All peers of a rule mean the same ports, so they are one group: a rule adds its peers and its ports, and never multiplies them.
    const peers = rule.peers === 'any' ? 'any' : [use()];
    const matches: { peers: 'any' | string[]; ports: PortSet }[] = [];
    if (rule.ports === 'any') matches.push({ peers, ports: 'any' });
    else {
      const numbers = rule.ports.flatMap((p) => (p.kind === 'range' ? [rangeOf(p)] : []));
      const named = rule.ports.filter((p) => p.kind === 'named');
      // The receiver's own containers say which number a name has: for ingress those of this pod …
      if (direction === 'ingress') numbers.push(...named.flatMap((p) => ownNumbers(pod, p)));
      if (numbers.length > 0) matches.push({ peers, ports: numbers });
      // … and for egress those of each pod that it may reach.
      if (direction === 'egress')
        for (const { name, protocol } of named)
          for (const number of this.numbersOf(rule.peers, name, protocol))
            matches.push({
              peers: [use(number)],
              ports: [{ protocol: number.protocol, first: number.port, last: number.port }],
            });
    }
    return { tier: policy.tier, policy: policyKey(policy), rule: rule.name, action: rule.action, matches };
  }
}

type Range = { readonly protocol: Protocol; readonly first: number; readonly last: number };

const rangeOf = ({ protocol, first, last }: Range): Range => ({ protocol, first, last });

const ownNumbers = (pod: Pod, named: Port & { kind: 'named' }): Range[] =>
  pod.ports
    .filter((p) => p.name === named.name && (named.protocol === undefined || p.protocol === named.protocol))
    .map((p) => ({ protocol: p.protocol, first: p.port, last: p.port }));

/** The policies, and the numbers of those of the pod's ports that one of their ingress rules names. */
function profileKey(policies: readonly Policy[], pod: Pod): string {
  const names = new Set(
    policies.flatMap((p) =>
      (p.ingress ?? []).flatMap((r) =>
        r.ports === 'any' ? [] : r.ports.flatMap((x) => (x.kind === 'named' ? x.name : [])),
      ),
    ),
  );
  const numbers = pod.ports
    .filter((p) => names.has(p.name))
    .map((p) => `${p.name}=${p.port}/${p.protocol}`)
    .sort();
  return [...policies.map(policyKey), ...numbers].join('; ');
}

/** Which of some groups an address is in. */
export function groupsOf(groups: ReadonlyMap<string, GroupItem>, address: string): Set<string> {
  const ip = mustIp(address);
  const inside = ({ addresses, prefixes }: GroupItem): boolean =>
    addresses.includes(address) || prefixes.some((p) => contains(mustPrefix(p), ip));
  return new Set([...groups].flatMap(([key, item]) => (inside(item) ? key : [])));
}
