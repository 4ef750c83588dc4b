import { type Policy, policyKey } from '../cluster/policy.ts';

/** ClusterNetworkPolicies of one tier and priority: their order is not intended. By policyKey, the keys of some others. */
export function clashes(policies: readonly Policy[]): Map<string, string[]> {
  const cluster = policies.filter((p) => p.kind === 'ClusterNetworkPolicy');
  const groups = Map.groupBy(cluster, (p) => `${p.tier} ${p.priority}`);
  const found = new Map<string, string[]>();
  for (const group of groups.values()) {
    const sorted = [...group].sort((a, b) => (policyKey(a) < policyKey(b) ? -1 : 1));
    const [into, outOf] = [sorted.filter((p) => p.ingress !== undefined), sorted.filter((p) => p.egress !== undefined)];
    for (const policy of group) {
      const near = new Set([...(policy.ingress ? few(into) : []), ...(policy.egress ? few(outOf) : [])]);
      near.delete(policy);
      if (near.size > 0) found.set(policyKey(policy), [...near].map(policyKey).sort().slice(0, MOST_NAMED));
    }
  }
  return found;
}

/** Others that are named for one policy: a hundred with one priority need not all name each other. */
const MOST_NAMED = 10;
const few = (policies: readonly Policy[]): readonly Policy[] => policies.slice(0, MOST_NAMED + 1);
