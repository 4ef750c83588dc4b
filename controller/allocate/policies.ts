import { type Policy, policyKey } from '../../core/policy/model.ts';
import type { View } from '../../core/cluster/view.ts';
import { clashes } from '../../core/policy/clashes.ts';
import type { Duty, NetworkCondition } from './plan.ts';

/** What is written into the status of policies, and told of them as events. A NetworkPolicy has no status. */
export function planPolicies(view: View): Duty[] {
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

/** Policies of tenants that cannot be read: their pods are closed as far as nobody knows what was meant. */
export function planPolicyNews(view: View): Duty[] {
  return [...(view.state.policies?.values() ?? [])]
    .filter((p) => p.kind === 'NetworkPolicy' && p.problems.length > 0)
    .map((policy) => ({ do: 'policy-problem', policy, message: brokenMessage(policy) }));
}

function conditionOf(policy: Policy, others: readonly string[] | undefined): NetworkCondition {
  if (policy.problems.length > 0) return { status: 'False', reason: 'Invalid', message: brokenMessage(policy) };
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
