import { BUDGETS } from '../../api/budgets.ts';
import type { ProfileItem } from '../../api/nodeconfig.ts';

/** What the controller estimates is at most doubled by chains for the pod's own node. */
const ESTIMATE = 2;
const MOST = { profile: ESTIMATE * BUDGETS.profileCells, namespace: ESTIMATE * BUDGETS.namespaceCells } as const;

/** What one profile has made. */
export type Account = {
  /** Of the pods that it is for; "": only policies of administrators select them, and those have no budget here. */
  readonly namespace: string;
  size: number;
  /** False once something of it was left out: then it must not be used. */
  whole: boolean;
};

/** Counts what the policies of each namespace really make in one table: classes that overlap may be more than was estimated. */
export class CellBudget {
  readonly #byNamespace = new Map<string, number>();

  open(item: ProfileItem): Account {
    return { namespace: namespaceOf(item), size: 0, whole: true };
  }

  /** Whether there is room for something more. Asked with each cell, so that nothing gets far beyond. */
  hasRoom(account: Account): boolean {
    const { namespace, size } = account;
    const all = this.#byNamespace.get(namespace) ?? 0;
    if (namespace !== '' && (size > MOST.profile || all > MOST.namespace)) account.whole = false;
    return account.whole;
  }

  add(account: Account, size: number): void {
    account.size += size;
    const all = (this.#byNamespace.get(account.namespace) ?? 0) + size;
    if (all === 0) this.#byNamespace.delete(account.namespace);
    else this.#byNamespace.set(account.namespace, all);
  }
}

/** In words, for the network's condition. */
export const whyClosed = (namespace: string): string =>
  `policies of namespace ${namespace} make more elements of kernel maps on this node than the budgets profileCells and namespaceCells were estimated for (${MOST.profile} and ${MOST.namespace}): the pods that they select are closed; write fewer ports, or peers that overlap less`;

/** The namespace whose NetworkPolicies a profile has; "" when it has none. */
function namespaceOf({ ingress, egress }: ProfileItem): string {
  for (const { isolatedBy } of [ingress, egress])
    for (const policy of isolatedBy) {
      const found = /^NetworkPolicy ([^/]+)\//.exec(policy);
      if (found) return found[1] ?? '';
    }
  return '';
}
