import { type Policy, policyKey } from '../cluster/policy.ts';

/** Policies that select every pod that another selects, whatever pods there are. */
export class Companions {
  readonly #bySubject: ReadonlyMap<string, readonly Policy[]>;

  constructor(policies: readonly Policy[]) {
    this.#bySubject = Map.groupBy(
      policies.filter((p) => p.kind === 'NetworkPolicy'),
      subjectKey,
    );
  }

  /** The policy among them, in the order in which they are asked. */
  of(policy: Policy): readonly Policy[] {
    if (policy.kind === 'ClusterNetworkPolicy' || !policy.subject) return [policy];
    const own = this.#bySubject.get(subjectKey(policy)) ?? [];
    const wide = this.#bySubject.get(`${policy.namespace} {}`) ?? [];
    return own === wide ? own : [...own, ...wide].sort((a, b) => (policyKey(a) < policyKey(b) ? -1 : 1));
  }
}

const subjectKey = ({ namespace, subject }: Policy): string => `${namespace} ${JSON.stringify(subject?.pods ?? null)}`;
