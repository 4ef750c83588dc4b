import { translateAdminNetworkPolicy } from '../read/admin-network-policy.ts';
import { isAdminNetworkPolicy, isForeignPolicy } from '../read/kinds.ts';
import type { Finding } from './finding.ts';

type Raw = Readonly<Record<string, unknown>>;

/** A finding for each kind of policy in the input that says something about connections, and that nothing here reads. */
export function notJudged(others: readonly Raw[], { complete }: { readonly complete: boolean }): Finding[] {
  // Of manifests the view has the translation; in a cluster it counts only once it is applied.
  const isTranslated = (raw: Raw): boolean => !complete && translateAdminNetworkPolicy(raw).problems.length === 0;
  const counts = new Map<string, number>();
  for (const raw of others) {
    if (!isForeignPolicy(raw) && !(isAdminNetworkPolicy(raw) && !isTranslated(raw))) continue;
    const name = `${String(raw['kind'])} (${String(raw['apiVersion'])})`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => ({
    code: 'NotJudged',
    severity: 'warning',
    policy: name,
    path: '',
    message: `${count} of this kind ${count === 1 ? 'is' : 'are'} in the input, and Bulkhead does not enforce it`,
  }));
}
