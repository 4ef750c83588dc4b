import { familyOf } from '../../lib/ip/address.ts';
import type { Direction, Policy, PolicyRule } from '../cluster/policy.ts';
import type { Pod } from '../cluster/state.ts';
import { type Cell, compileCell, lookUp, type Outcome } from '../policy/cell.ts';
import { Membership } from '../policy/membership.ts';
import type { Profile } from '../policy/profile.ts';
import type { SideVerdict } from '../policy/walk.ts';
import { policiesOf } from '../view/policies.ts';
import { networkOf, type View } from '../view/view.ts';
import { decideByNetworks, ipsOf } from './by-networks.ts';
import type { Decision, Target } from './decision.ts';
import { judge } from './judge.ts';

/** One of the addresses of a pod that is asked about. */
export type Column = { readonly pod: Pod; readonly address: string };

/**
 * What `decide` says of pods that open connections to the own addresses of other pods, for millions of pairs. Everything that an
 * answer depends on is looked up, and equal answers are one object: what networks say is the same for pods of one network and
 * namespace, and what policies say is the same for addresses that are in the same of their groups.
 */
export class PodPairs {
  readonly #view: View;
  readonly #membership: Membership;
  readonly #plain = new Map<Pod, PlainPod | 'other'>();
  readonly #sides = new Map<string, Sides>();
  readonly #networks = new Map<string, Decision>();
  readonly #refusedFrom = new Map<Pod, Map<Outcome, Decision>>();
  readonly #refusedTo = new Map<Pod, Map<Outcome, Decision>>();

  constructor(view: View) {
    this.#view = view;
    this.#membership = new Membership(view.podByIp.keys());
  }

  /** Whether one family answers for both: pods of one network, and no policy of either speaks of addresses. */
  sameInEveryFamily(from: Pod, to: Pod): boolean {
    const [sender, receiver] = [this.#plainPod(from), this.#plainPod(to)];
    if (!sender || !receiver || sender.network !== receiver.network) return false;
    return !sender.sides?.ofAddresses && !receiver.sides?.ofAddresses;
  }

  /**
   * The verdict of `decide`.
   *
   * @returns what refuses, as `decide` would say it apart from the flows; 'open'; undefined: it takes `decide` to say it
   */
  ask(from: Pod, column: Column, port: Port): Decision | 'open' | undefined {
    const pair = this.#pairOf(from, column, port);
    if (!pair) return undefined;
    const { base, egress, ingress } = pair;
    const { pod: to } = column;
    if (base.decidedBy === 'no route') return base;
    if (egress?.verdict === 'Deny')
      return remembered(this.#refusedFrom, from, egress, () => judged(base, from, to, egress));
    if (base.verdict !== 'open') return base;
    if (ingress?.verdict !== 'Deny') return 'open';
    return remembered(this.#refusedTo, to, ingress, () => judged(base, from, to, egress, ingress));
  }

  /** What `decide` says of a pair that is open: with the rules that accept it. */
  opened(from: Pod, column: Column, port: Port): Decision | undefined {
    const pair = this.#pairOf(from, column, port);
    return pair && judged(pair.base, from, column.pod, pair.egress, pair.ingress);
  }

  #pairOf(from: Pod, { pod: to, address }: Column, port: Port): Pair | undefined {
    if (from === to) return undefined;
    const [sender, receiver] = [this.#plainPod(from), this.#plainPod(to)];
    if (!sender || !receiver) return undefined;
    const family = familyOf(address);
    const source = sender.addresses.get(family);
    if (source === undefined || receiver.addresses.get(family) !== address) return undefined;
    return {
      base:
        (sender.network === receiver.network ? this.#networks.get(sender.network) : undefined) ??
        this.#byNetworks(from, sender, to, receiver, { address, ...port }),
      egress: outcomeOf(sender.sides?.egress, address, port),
      ingress: outcomeOf(receiver.sides?.ingress, source, port),
    };
  }

  #byNetworks(from: Pod, sender: PlainPod, to: Pod, receiver: PlainPod, target: Target): Decision {
    if (sender.network === receiver.network) {
      const known = this.#networks.get(sender.network) ?? decideByNetworks(this.#view, from, target);
      this.#networks.set(sender.network, known);
      return known;
    }
    const key = `${sender.network} ${from.namespace} ${to.namespace}/${to.name} ${target.address} ${target.port}/${target.protocol}`;
    const known = this.#networks.get(key) ?? decideByNetworks(this.#view, from, target);
    this.#networks.set(key, known);
    return known;
  }

  /** Undefined for pods that are not only what their first network makes of them. */
  #plainPod(pod: Pod): PlainPod | undefined {
    let known = this.#plain.get(pod);
    if (known === undefined) this.#plain.set(pod, (known = this.#readPlain(pod) ?? 'other'));
    return known === 'other' ? undefined : known;
  }

  #readPlain(pod: Pod): PlainPod | undefined {
    const { state, podByIp, extraByIp } = this.#view;
    const network = networkOf(this.#view, pod);
    if (network === undefined || pod.hostNetwork || pod.finished || state.addresses?.has(pod.uid)) return undefined;
    if ((state.interfaces?.get(pod.uid) ?? []).length > 0 || state.pods.get(`${pod.namespace}/${pod.name}`) !== pod)
      return undefined;
    const ips = ipsOf(this.#view, pod);
    if (ips.some((ip) => podByIp.get(ip) !== pod || extraByIp.has(ip) || this.#isShared(ip))) return undefined;
    const { profiles, index } = policiesOf(this.#view);
    const profile = profiles.of(pod);
    return {
      network,
      addresses: new Map(ips.toReversed().map((ip) => [familyOf(ip), ip])),
      sides: profile && this.#sidesOf(profile, index.selecting(pod)),
    };
  }

  #sidesOf(profile: Profile, policies: readonly Policy[]): Sides {
    const groups = [...profile.groups].map(([key, item]) => ({ key, members: this.#membership.of(item) }));
    const side = (direction: Direction): Side => ({
      profile,
      direction,
      groups: groupsOf(profile, direction, groups),
      cells: new Map(),
    });
    const known = this.#sides.get(profile.key) ?? {
      ingress: side('ingress'),
      egress: side('egress'),
      ofAddresses: policies.some((p) => [...(p.ingress ?? []), ...(p.egress ?? [])].some(namesAddresses)),
    };
    this.#sides.set(profile.key, known);
    return known;
  }

  /** Addresses that several pods claim: in hostile or broken input. */
  #isShared(ip: string): boolean {
    this.#shared ??= sharedAddresses(this.#view);
    return this.#shared.has(ip);
  }
  #shared: ReadonlySet<string> | undefined;
}

type Port = Pick<Target, 'port' | 'protocol'>;
type Pair = {
  readonly base: Decision;
  /** Undefined: no policy selects the pod. */
  readonly egress: Outcome | undefined;
  readonly ingress: Outcome | undefined;
};

type PlainPod = {
  readonly network: string;
  readonly addresses: ReadonlyMap<4 | 6, string>;
  /** Undefined: no policy selects it. */
  readonly sides: Sides | undefined;
};

type Group = { readonly key: string; readonly members: ReadonlySet<string> };
type Sides = {
  readonly ingress: Side;
  readonly egress: Side;
  /** Some rule names addresses. */
  readonly ofAddresses: boolean;
};
type Side = {
  readonly profile: Profile;
  readonly direction: Direction;
  readonly groups: readonly Group[];
  readonly cells: Map<string | number, Cell>;
};

const namesAddresses = ({ peers }: PolicyRule): boolean => peers !== 'any' && peers.some((p) => p.kind === 'networks');

/** The groups that rules of one direction name. */
function groupsOf({ item }: Profile, direction: Direction, all: readonly Group[]): Group[] {
  const named = new Set(
    item[direction].rules.flatMap((r) => r.matches.flatMap((m) => (m.peers === 'any' ? [] : m.peers))),
  );
  return all.filter((g) => named.has(g.key));
}

/** What one side says of an address; undefined when no policy selects the pod. */
function outcomeOf(side: Side | undefined, address: string, { port, protocol }: Port): Outcome | undefined {
  if (!side) return undefined;
  const key = side.groups.length > MOST_BITS ? textOf(side.groups, address) : bitsOf(side.groups, address);
  let cell = side.cells.get(key);
  if (!cell) {
    const inside = new Set(side.groups.filter((g) => g.members.has(address)).map((g) => g.key));
    cell = compileCell(side.profile.item[side.direction], inside);
    side.cells.set(key, cell);
  }
  return lookUp(cell, protocol, port);
}

/** In which groups an address is, as bits of a number; and in text where there are more. */
function bitsOf(groups: readonly Group[], address: string): number {
  let bits = 0;
  for (let at = 0; at < groups.length; at++) if ((groups[at] as Group).members.has(address)) bits |= 1 << at;
  return bits;
}
const MOST_BITS = 30;
const textOf = (groups: readonly Group[], address: string): string =>
  groups.flatMap((g, at) => (g.members.has(address) ? at : [])).join();

function judged(base: Decision, from: Pod, to: Pod, egress?: Outcome, ingress?: Outcome): Decision {
  const side = (outcome: Outcome | undefined): SideVerdict | undefined =>
    outcome && {
      verdict: outcome.verdict,
      steps: [
        { tier: outcome.tier, policy: outcome.policy, rule: outcome.rule, action: outcome.verdict, decides: true },
      ],
    };
  const verdict = egress?.verdict === 'Deny' || ingress?.verdict === 'Deny' ? 'Deny' : 'Accept';
  const flow = { from: { ip: '', pod: from }, to: { ip: '', pod: to }, protocol: 'ICMP', port: 0 } as const;
  return judge(base, [{ flow, verdict, egress: side(egress), ingress: side(ingress) }]);
}

function remembered<A, B>(all: Map<A, Map<B, Decision>>, first: A, second: B, make: () => Decision): Decision {
  let inner = all.get(first);
  if (!inner) all.set(first, (inner = new Map()));
  let found = inner.get(second);
  if (!found) inner.set(second, (found = make()));
  return found;
}

function sharedAddresses({ state }: View): ReadonlySet<string> {
  const seen = new Set<string>();
  const shared = new Set<string>();
  for (const pod of state.pods.values())
    for (const ip of pod.hostNetwork || pod.finished ? [] : pod.ips)
      if (seen.has(ip)) shared.add(ip);
      else seen.add(ip);
  return shared;
}
