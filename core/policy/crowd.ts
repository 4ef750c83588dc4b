import { BUDGETS, overBudget } from '../../api/budgets.ts';
import { keyOf, type Pod } from '../cluster/state.ts';
import { addWeights, cellsOf, closePolicy, NO_WEIGHT, type Weight, weightOf } from '../read/policy-budget.ts';
import { type Peer, type Policy, policyKey } from '../cluster/policy.ts';
import { groupKey } from './groups.ts';

/**
 * Many policies, each within its own budget, together: the newest beyond what a namespace, a pod or a node may have is closed. One
 * is made for each set of policies.
 */
export class Crowd {
  /** Why a policy is closed, by policyKey. */
  readonly policies = new Map<string, string>();
  /** Why the policies of a pod are closed, by its key. */
  readonly pods = new Map<string, string>();
  readonly #numbers = new Map<Policy, number>();
  /** By the numbers of the policies that select a pod: what holds for it, and what that weighs. */
  readonly #lists = new Map<string, { readonly policies: readonly Policy[]; readonly cells: number }>();

  /**
   * The NetworkPolicies of one namespace; the order stays.
   *
   * @param pods how many there are, and how many of them a rule's peers select: asked only where it may come to too many
   */
  inNamespace(policies: readonly Policy[], pods?: Members): readonly Policy[] {
    const whole = policies.map(sizeOf).reduce(addSizes, NOTHING);
    const few = !pods || whole.peers * pods.count <= BUDGETS.namespacePolicyMembers;
    const membersIn = few ? () => 0 : counting(pods);
    if (overTogether({ ...whole, members: policies.reduce((n, p) => n + membersIn(p), 0) }) === undefined)
      return policies;
    const kept = new Set<Policy>();
    const membersByAge = few ? () => 0 : counting(pods);
    let sum = NOTHING;
    for (const policy of [...policies].sort(byAge)) {
      const more = addSizes(sum, { ...sizeOf(policy), members: membersByAge(policy) });
      const over = overTogether(more);
      if (over === undefined) {
        kept.add(policy);
        sum = more;
      } else this.policies.set(policyKey(policy), `namespace ${policy.namespace} ${over}`);
    }
    return policies.map((p) => (kept.has(p) ? p : close(p)));
  }

  /** The policies that select one pod; the order stays. Those of administrators are never closed by those of tenants. */
  onPod(selecting: readonly Policy[]): { readonly policies: readonly Policy[]; readonly cells: number } {
    const key = selecting.map((p) => this.#numberOf(p)).join();
    const known = this.#lists.get(key);
    if (known) return known;
    const made = this.#fit(selecting);
    this.#lists.set(key, made);
    return made;
  }

  #fit(selecting: readonly Policy[]): { readonly policies: readonly Policy[]; readonly cells: number } {
    const whole = selecting.map(weightOf).reduce(addWeights, NO_WEIGHT);
    if (cellsOf(whole) <= BUDGETS.profileCells) return { policies: selecting, cells: cellsOf(whole) };
    const kept = new Set(selecting.filter((p) => p.kind !== 'NetworkPolicy'));
    let weight: Weight = [...kept].map(weightOf).reduce(addWeights, NO_WEIGHT);
    for (const policy of selecting.filter((p) => p.kind === 'NetworkPolicy').sort(byAge)) {
      const more = addWeights(weight, weightOf(policy));
      const over = overBudget('profileCells', cellsOf(more), 'elements of kernel maps');
      if (over === undefined) {
        kept.add(policy);
        weight = more;
      } else this.policies.set(policyKey(policy), `together with the older policies of a pod it ${over}`);
    }
    return { policies: selecting.map((p) => (kept.has(p) ? p : close(p))), cells: cellsOf(weight) };
  }

  /**
   * The pods of one namespace on one node, each with what holds for it.
   *
   * @returns what holds for those that are too many: policies of administrators, and one that admits nothing
   */
  onNode(
    pods: readonly { readonly pod: Pod; readonly policies: readonly Policy[]; readonly cells: number }[],
  ): ReadonlyMap<string, readonly Policy[]> {
    const found = new Map<string, readonly Policy[]>();
    const counted = new Set<readonly Policy[]>();
    let cells = 0;
    for (const { pod, policies, cells: own } of [...pods].sort((a, b) => podsByAge(a.pod, b.pod))) {
      if (counted.has(policies) || !policies.some((p) => p.kind === 'NetworkPolicy')) continue;
      const over = overBudget('namespaceCells', cells + own, 'elements of kernel maps');
      if (over === undefined) {
        counted.add(policies);
        cells += own;
        continue;
      }
      found.set(keyOf(pod), closedList(pod, policies));
      this.pods.set(
        keyOf(pod),
        `policies of namespace ${pod.namespace} on node ${pod.node}, with this pod, ${over.replace('has', 'have')}`,
      );
    }
    return found;
  }

  #numberOf(policy: Policy): number {
    const number = this.#numbers.get(policy) ?? this.#numbers.size;
    this.#numbers.set(policy, number);
    return number;
  }
}

/** The same closed policy each time, so that what depends on it stays the same. */
function close(policy: Policy): Policy {
  const known = closed.get(policy) ?? closePolicy(policy, []);
  closed.set(policy, known);
  return known;
}

const closed = new WeakMap<Policy, Policy>();

/** All pods that are closed on a node have the same few rules, however their policies differ. */
function closedList({ namespace }: Pod, policies: readonly Policy[]): Policy[] {
  const own = policies.filter((p) => p.kind === 'NetworkPolicy');
  const [first] = own;
  if (!first) return [...policies];
  const closed: Policy = {
    ...first,
    namespace,
    name: '(over the budget namespaceCells)',
    uid: '',
    ingress: [],
    egress: [],
    problems: [],
    overBudget: true,
  };
  const [before, behind] = [policies.filter((p) => p.tier === 'Admin'), policies.filter((p) => p.tier === 'Baseline')];
  return [...before, closed, ...behind];
}

/** What NetworkPolicies of a namespace add up to. */
type Size = { readonly policies: number; readonly peers: number; readonly ranges: number; readonly members: number };

/** How many pods there are, and how many of them peers select. */
export type Members = { readonly count: number; readonly of: (peers: readonly Peer[]) => number };

const NOTHING: Size = { policies: 0, peers: 0, ranges: 0, members: 0 };

function sizeOf(policy: Policy): Size {
  let peers = 0;
  for (const rules of [policy.ingress ?? [], policy.egress ?? []])
    for (const rule of rules) peers += rule.peers === 'any' ? 1 : rule.peers.length;
  return { policies: 1, peers, ranges: weightOf(policy).ranges, members: 0 };
}

const addSizes = (a: Size, b: Size): Size => ({
  policies: a.policies + b.policies,
  peers: a.peers + b.peers,
  ranges: a.ranges + b.ranges,
  members: a.members + b.members,
});

/** Counts the pods that a policy's rules select, in groups that no policy before it has. */
function counting({ of }: Members): (policy: Policy) => number {
  const known = new Set<string>();
  return ({ ingress = [], egress = [] }) => {
    let members = 0;
    for (const { peers } of [...ingress, ...egress]) {
      if (peers === 'any' || known.has(groupKey(peers))) continue;
      known.add(groupKey(peers));
      members += of(peers);
    }
    return members;
  };
}

const overTogether = ({ policies, peers, ranges, members }: Size): string | undefined =>
  overBudget('namespacePolicies', policies, 'NetworkPolicies before it and itself') ??
  overBudget('namespacePolicyPeers', peers, 'peers in NetworkPolicies before it and itself') ??
  overBudget('namespacePolicyRanges', ranges, 'prefixes in NetworkPolicies before it and itself') ??
  overBudget('namespacePolicyMembers', members, 'pods that peers of NetworkPolicies before it and its own select');

const byAge = (a: Policy, b: Policy): number => a.created - b.created || (policyKey(a) < policyKey(b) ? -1 : 1);
const podsByAge = (a: Pod, b: Pod): number => a.created - b.created || (a.uid < b.uid ? -1 : 1);
