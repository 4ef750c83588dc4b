import { type Policy, policyKey, type PolicyRule } from '../cluster/policy.ts';
import { keyOf, type Pod } from '../cluster/state.ts';
import { groupKey } from '../policy/groups.ts';
import type { Finding, Say } from './finding.ts';
import type { World } from './world.ts';

/** Where DNS is asked: 53, and 5353 where the cluster's DNS pods listen there (OpenShift). */
export const UDP_DNS: readonly number[] = [53, 5_353];

/** Whether a rule means DNS by the name of its port: which number that has is known only where there are such pods. */
export const namesDns = ({ action, ports }: PolicyRule): boolean =>
  action === 'Accept' && ports !== 'any' && ports.some((p) => p.kind === 'named' && p.name.startsWith('dns'));

/** Who may send questions to a DNS server: pods, and policies of which the input has no pods. */
export class Resolving {
  readonly #world: World;
  readonly #pods = new Set<string>();
  readonly #policies = new Set<string>();
  readonly #bySubject = new Map<string, boolean>();

  constructor(world: World) {
    this.#world = world;
  }

  addPod(pod: Pod): void {
    this.#pods.add(keyOf(pod));
  }

  addPolicy(policy: Policy): void {
    this.#policies.add(policyKey(policy));
  }

  /** Whether any of the pods that a policy selects may. */
  some(policy: Policy): boolean {
    if (!policy.subject) return true;
    const key = groupKey([{ kind: 'pods', ...policy.subject }]);
    const pods = this.#world.pods.of(policy.subject);
    if (pods.length === 0) return this.#policies.has(policyKey(policy));
    const known = this.#bySubject.get(key) ?? pods.some((p) => this.#pods.has(keyOf(p)));
    this.#bySubject.set(key, known);
    return known;
  }
}

/** Every name begins with a question to DNS: pods that may not ask it cannot use what else they may reach. */
export function lintDns(resolving: Resolving, policy: Policy, say: Say): Finding[] {
  if (policy.kind !== 'NetworkPolicy' || !policy.egress || policy.problems.length > 0 || resolving.some(policy))
    return [];
  if (policy.egress.length > 0)
    return [say('NoDNS', 'spec.egress', 'lets no question to DNS out (UDP 53): names cannot be resolved')];
  const message = 'nothing leaves the pods that it selects, not even a question to DNS (UDP 53): it has no egress rule';
  return [say('NoDNS', 'spec.policyTypes', message)];
}
