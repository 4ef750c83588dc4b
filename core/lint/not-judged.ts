import { parsePolicy } from '../read/policy.ts';
import type { Finding } from './finding.ts';

type Raw = Readonly<Record<string, unknown>>;

/** API groups whose policies decide about connections, in other networks than this one. */
const GROUPS: readonly string[] = [
  'cilium.io',
  'projectcalico.org',
  'crd.projectcalico.org',
  'crd.antrea.io',
  'k8s.cni.cncf.io',
  'k8s.ovn.org',
  'policy.networking.k8s.io',
];

/** A finding for each kind of policy in the input that says something about connections, and that nothing here reads. */
export function notJudged(others: readonly Raw[]): Finding[] {
  const counts = new Map<string, number>();
  for (const raw of others) {
    const { apiVersion, kind } = raw;
    const [group = ''] = String(apiVersion ?? '').split('/');
    if (!GROUPS.includes(group) || !/(NetworkPolicy|EgressFirewall)$/.test(String(kind))) continue;
    if (parsePolicy(raw)) continue;
    const name = `${String(kind)} (${group})`;
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
