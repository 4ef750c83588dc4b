import { keyOf, type Pod } from '../cluster/state.ts';
import { evaluate, type PolicyFlow, type PolicyVerdict } from '../policy/evaluate.ts';
import type { SideVerdict } from '../policy/walk.ts';
import { policiesOf } from '../view/policies.ts';
import type { View } from '../view/view.ts';
import type { Decision, PolicyAnswer } from './decision.ts';

/** What the policies of both ends say of each flow. */
export function answersTo(view: View, flows: readonly PolicyFlow[]): PolicyAnswer[] {
  const { index } = policiesOf(view);
  return flows.map((flow) => ({ flow, ...evaluate(index, flow) }));
}

/**
 * A decision of the networks, less what policies deny.
 *
 * In the order in which a packet meets them: the sender's policies, gates, the receiver's policies. A connection that may end up in
 * several places is denied when each of them is.
 */
export function judge(base: Decision, policies: readonly PolicyAnswer[]): Decision {
  const out = policies.find((p) => p.egress?.verdict === 'Deny');
  if (out && policies.every((p) => p.egress?.verdict === 'Deny'))
    return closed(base, policies, 'egress policy', out.flow.from.pod, out.egress);
  if (base.verdict !== 'open') return { ...base, policies };
  if (policies.length > 0 && policies.every((p) => p.verdict === 'Deny')) {
    const into = policies.find((p) => p.ingress?.verdict === 'Deny');
    return closed(base, policies, 'ingress policy', into?.flow.to.pod, into?.ingress);
  }
  return { ...base, policies };
}

function closed(
  base: Decision,
  policies: readonly PolicyAnswer[],
  decidedBy: 'egress policy' | 'ingress policy',
  pod: Pod | undefined,
  side: SideVerdict | undefined,
): Decision {
  const what = decidedBy === 'egress policy' ? 'what it sends' : 'what it is sent';
  return {
    ...base,
    verdict: 'closed',
    decidedBy,
    policies,
    networks: { verdict: base.verdict, why: base.why },
    why: `${describeSide(side)} denies pod ${pod ? keyOf(pod) : ''} ${what}`,
  };
}

/** "ClusterNetworkPolicy deny, rule no-db (Admin)", "NetworkPolicy x/deny: no rule accepts it" */
export function describeSide(side: PolicyVerdict['egress']): string {
  const step = side?.steps.at(-1);
  if (!step) return '';
  if (step.tier === 'NetworkPolicy' && step.rule === '') return `${step.policy}, of which no rule accepts it,`;
  return `${step.policy}, rule ${step.rule} (${step.tier})`;
}
