import { SERVICE_ACCOUNT } from '../../api/names.ts';
import { type ClusterState, keyOf, type Pod } from '../cluster/state.ts';
import { matches } from '../cluster/selector.ts';
import type { Policy, PodsSelector } from './model.ts';

/** Policies in the order in which they are asked, and which of them select a pod. */
export type PolicyIndex = {
  readonly state: ClusterState;
  /** Those that select the pod: Admin by priority, then NetworkPolicies, then Baseline by priority. */
  readonly selecting: (pod: Pod) => readonly Policy[];
  /** The pods that a selector means: only those of the namespaces that it means are looked at. */
  readonly podsOf: (selector: PodsSelector) => readonly Pod[];
};

/** Worked out once per set of policies. */
export function indexPolicies(state: ClusterState): PolicyIndex {
  const all = [...(state.policies?.values() ?? [])];
  const cluster = all.filter((p) => p.kind === 'ClusterNetworkPolicy').sort(inOrder);
  const admin = cluster.filter((p) => p.tier === 'Admin');
  const baseline = cluster.filter((p) => p.tier === 'Baseline');
  const byNamespace = Map.groupBy(all.filter((p) => p.kind === 'NetworkPolicy').sort(inOrder), (p) => p.namespace);
  const known = new Map<string, readonly Policy[]>();
  let byNamespaceOfPods: ReadonlyMap<string, readonly Pod[]> | undefined;
  return {
    state,
    podsOf(selector) {
      byNamespaceOfPods ??= Map.groupBy(state.pods.values(), (p) => p.namespace);
      const names =
        selector.namespace === undefined
          ? [...byNamespaceOfPods.keys()].filter((n) => matches(selector.namespaces, labelsOfNamespace(state, n)))
          : [selector.namespace];
      return names.flatMap((n) => (byNamespaceOfPods?.get(n) ?? []).filter((p) => selects(state, selector, p)));
    },
    selecting(pod) {
      const key = keyOf(pod);
      const before = known.get(key);
      if (before) return before;
      const candidates = [...admin, ...(byNamespace.get(pod.namespace) ?? []), ...baseline];
      const found = pod.hostNetwork || pod.finished ? [] : candidates.filter((p) => selects(state, p.subject, pod));
      known.set(key, found);
      return found;
    },
  };
}

/** Whether a selector of pods means this one. Never those of the host's network: they are the node. */
export function selects(state: ClusterState, selector: PodsSelector | undefined, pod: Pod): boolean {
  if (!selector || pod.hostNetwork || pod.finished) return false;
  const inNamespace =
    selector.namespace === undefined
      ? matches(selector.namespaces, labelsOfNamespace(state, pod.namespace))
      : selector.namespace === pod.namespace;
  return inNamespace && matches(selector.pods, labelsOfPod(pod));
}

/**
 * With the pod's ServiceAccount as a label, which selectors may name (NPEP-173): who may edit a pod's labels cannot choose that. A
 * label of that name which somebody wrote himself means nothing.
 */
export const labelsOfPod = (pod: Pod): Readonly<Record<string, string>> => ({
  ...pod.labels,
  [SERVICE_ACCOUNT]: pod.serviceAccount,
});

/** With the name, which every namespace of the API has as a label; manifests alone need not say it. */
export const labelsOfNamespace = (state: ClusterState, name: string): Readonly<Record<string, string>> => ({
  'kubernetes.io/metadata.name': name,
  ...state.namespaces.get(name)?.labels,
});

/** Where a pod that nobody has told of yet may be one that a policy selects. `others`: namespaces that nobody knows yet, too. */
export function policedNamespaces(state: ClusterState): { readonly namespaces: string[]; readonly others: boolean } {
  const policies = [...(state.policies?.values() ?? [])];
  const cluster = policies.flatMap((p) => (p.namespace === '' && p.subject?.namespaces ? [p.subject.namespaces] : []));
  const own = new Set(policies.flatMap((p) => (p.namespace === '' ? [] : [p.namespace])));
  const covered = [...state.namespaces.keys()].filter((name) =>
    cluster.some((s) => matches(s, labelsOfNamespace(state, name))),
  );
  return { namespaces: [...new Set([...own, ...covered])].sort(), others: cluster.length > 0 };
}

/** By priority, then by name: equal priorities have no order of their own, and must not change theirs. */
const inOrder = (a: Policy, b: Policy): number =>
  a.priority - b.priority || compare(a.namespace, b.namespace) || compare(a.name, b.name);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
