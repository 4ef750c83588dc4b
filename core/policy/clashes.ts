import { type Policy, policyKey } from './model.ts';

/** ClusterNetworkPolicies of one tier and priority: their order is nobody's intention. By policyKey, the keys of the others. */
export function clashes(policies: readonly Policy[]): Map<string, string[]> {
  const cluster = policies.filter((p) => p.kind === 'ClusterNetworkPolicy');
  const groups = Map.groupBy(cluster, (p) => `${p.tier} ${p.priority}`);
  const found = new Map<string, string[]>();
  for (const group of groups.values())
    for (const policy of group) {
      const others = group.filter((o) => o !== policy && sharesDirection(o, policy)).map(policyKey);
      if (others.length > 0) found.set(policyKey(policy), others.sort());
    }
  return found;
}

const sharesDirection = (a: Policy, b: Policy): boolean =>
  (a.ingress !== undefined && b.ingress !== undefined) || (a.egress !== undefined && b.egress !== undefined);
