import type { PolicyAction, PolicyTier, RuleName } from '../../api/nodeconfig.ts';

/** One rule that had something to say, in the order of evaluation. */
export type Step = {
  /** `Default`: no policy says anything. `Node`: NetworkPolicies (`policy`) do not stand between a pod and its own node. */
  readonly tier: PolicyTier | 'Default' | 'Node';
  readonly policy: string;
  readonly rule: string;
  readonly action: PolicyAction;
  /** Whether it was this one that settled it. */
  readonly decides: boolean;
};

/** What the policies of one pod say of one direction. */
export type SideVerdict = { readonly verdict: 'Accept' | 'Deny'; readonly steps: readonly Step[] };

/** What the walk must know of a rule. */
export type WalkedRule = RuleName & { readonly action: PolicyAction };

/**
 * Asks the tiers one after the other, each direction for itself: Admin, then the NetworkPolicies if any isolates the pod in this
 * direction, then Baseline. Pass ends its own tier only. The one place in which a verdict is made.
 *
 * @param hits whether a rule matches the connection
 * @param ownNode the other end is the pod's own node: NetworkPolicies do not stand between a pod and its node
 */
export function walk<R extends WalkedRule>(
  side: { readonly isolatedBy: readonly string[]; readonly rules: readonly R[] },
  hits: (rule: R) => boolean,
  { ownNode = false }: { readonly ownNode?: boolean } = {},
): SideVerdict {
  const steps: Step[] = [];
  const step = ({ tier, policy, rule, action }: Omit<Step, 'decides'>, decides: boolean): void => {
    steps.push({ tier, policy, rule, action, decides });
  };
  const ask = (tier: 'Admin' | 'Baseline'): 'Accept' | 'Deny' | undefined => {
    const found = side.rules.find((r) => r.tier === tier && hits(r));
    if (!found) return undefined;
    step(found, found.action !== 'Pass');
    return found.action === 'Pass' ? undefined : found.action;
  };
  const admin = ask('Admin');
  if (admin) return { verdict: admin, steps };
  if (side.isolatedBy.length > 0 && !ownNode) {
    const found = side.rules.find((r) => r.tier === 'NetworkPolicy' && hits(r));
    if (found) step(found, true);
    else step({ tier: 'NetworkPolicy', policy: side.isolatedBy.join(', '), rule: '', action: 'Deny' }, true);
    return { verdict: found ? 'Accept' : 'Deny', steps };
  }
  const baseline = ask('Baseline');
  if (baseline) return { verdict: baseline, steps };
  step({ tier: 'Default', policy: '', rule: '', action: 'Accept' }, true);
  return { verdict: 'Accept', steps };
}
