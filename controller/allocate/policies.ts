import { type Policy, policyKey } from '../../core/cluster/policy.ts';
import type { View } from '../../core/view/view.ts';
import { policiesOf } from '../../core/view/policies.ts';
import { clashes } from '../../core/decide/clashes.ts';
import type { ApiWrite, NetworkCondition } from './plan.ts';

/** What the controller writes into the status of policies, and into events. A NetworkPolicy has no status. */
export function planPolicies(view: View): ApiWrite[] {
  const policies = [...(view.state.policies?.values() ?? [])];
  const overlapping = clashes(policies);
  return policies
    .filter((p) => p.kind === 'ClusterNetworkPolicy')
    .map((policy) => ({
      do: 'policy-status',
      policy,
      condition: conditionOf(policy, overlapping.get(policyKey(policy))),
    }));
}

/** Policies of tenants that cannot be read, or that are too many: what they select is closed. */
export function planPolicyEvents(view: View): ApiWrite[] {
  const { policies, pods } = policiesOf(view).index.crowdedOut();
  const writes: ApiWrite[] = [];
  for (const policy of view.state.policies?.values() ?? []) {
    if (policy.kind !== 'NetworkPolicy') continue;
    const reason = policy.overBudget ? 'OverBudget' : 'InvalidPolicy';
    if (policy.problems.length > 0)
      writes.push({ do: 'policy-problem', policy, reason, message: brokenMessage(policy) });
    const crowded = policies.get(policyKey(policy));
    if (crowded === undefined) continue;
    const message = `${crowded}. It admits nothing: the newest beyond a budget is closed`;
    writes.push({ do: 'policy-problem', policy, reason: 'OverBudget', message });
  }
  for (const [key, why] of pods) {
    const pod = view.state.pods.get(key);
    const message = `pod ${key} is closed: ${why}`;
    if (pod) writes.push({ do: 'pod-problem', pod, problem: { code: 'OverBudget', message } });
  }
  return writes;
}

function conditionOf(policy: Policy, others: readonly string[] | undefined): NetworkCondition {
  if (policy.problems.length > 0)
    return { status: 'False', reason: policy.overBudget ? 'OverBudget' : 'Invalid', message: brokenMessage(policy) };
  if (others)
    return {
      status: 'True',
      reason: 'EqualPriority',
      message: `has the priority of ${others.join(', ')}, and may select the same pods: the first by name comes first`,
    };
  return { status: 'True', reason: 'Accepted', message: 'is enforced on every node with pods that it selects' };
}

const brokenMessage = ({ problems, kind }: Policy): string =>
  `${problems.slice(0, 10).join('; ')}${problems.length > 10 ? `; and ${problems.length - 10} more` : ''}. What cannot be read fails closed: ${
    kind === 'NetworkPolicy' ? 'it admits nothing' : 'Accept matches nothing, Deny and Pass deny everything'
  }`;
