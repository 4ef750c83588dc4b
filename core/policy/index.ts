import { SERVICE_ACCOUNT } from '../../api/names.ts';
import { type ClusterState, keyOf, type Pod } from '../cluster/state.ts';
import { matches } from '../cluster/selector.ts';
import { Crowd } from './crowd.ts';
import { LabelIndex, SelectorIndex } from './label-index.ts';
import type { Peer, Policy, PodsSelector } from '../cluster/policy.ts';

/** Policies in the order in which they are asked, and which of them select a pod. */
export type PolicyIndex = {
  readonly state: ClusterState;
  /** Those that select the pod: Admin by priority, then NetworkPolicies, then Baseline by priority. */
  readonly selecting: (pod: Pod) => readonly Policy[];
  /** The pods that a selector means: only those of the namespaces that it means are looked at. */
  readonly podsOf: (selector: PodsSelector) => readonly Pod[];
  /** The same with those that policies never mean: pods of the host's network, and pods that have ended. */
  readonly labelled: (selector: PodsSelector) => readonly Pod[];
  /** What is closed since others came before it, each with the reason: policies by policyKey, pods by their key. */
  readonly crowdedOut: () => {
    readonly policies: ReadonlyMap<string, string>;
    readonly pods: ReadonlyMap<string, string>;
  };
  /** Candidates by namespace, for the next index. */
  readonly candidates: ReadonlyMap<string, readonly Policy[]>;
};

type Selected = { readonly policies: readonly Policy[]; readonly cells: number };

/**
 * Worked out once per set of policies.
 *
 * @param before the index of an earlier state: where neither a pod nor the policies of its namespace have changed, what selects it
 *   is not worked out again
 */
export function indexPolicies(state: ClusterState, before?: Pick<PolicyIndex, 'candidates'>): PolicyIndex {
  const crowd = new Crowd();
  const all = [...(state.policies?.values() ?? [])];
  const cluster = all.filter((p) => p.kind === 'ClusterNetworkPolicy').sort(inOrder);
  const tiers = (['Admin', 'Baseline'] as const).map(
    (tier) =>
      new SelectorIndex(
        cluster.filter((p) => p.tier === tier),
        (p) => p.subject?.namespaces,
      ),
  );
  const byNamespace = Map.groupBy(all.filter((p) => p.kind === 'NetworkPolicy').sort(inOrder), (p) => p.namespace);
  let table: PodTable | undefined;
  const members = {
    count: state.pods.size,
    of: (peers: readonly Peer[]) => peers.reduce((n, p) => n + (p.kind === 'pods' ? podsOf(p).length : 0), 0),
  };
  const candidates = new Map<string, readonly Policy[]>();
  const candidatesIn = (namespace: string): readonly Policy[] => {
    const known = candidates.get(namespace);
    if (known) return known;
    const labels = labelsOfNamespace(state, namespace);
    const [admin = [], baseline = []] = tiers.map((t) => t.like(labels));
    const made = [...admin, ...crowd.inNamespace(byNamespace.get(namespace) ?? [], members), ...baseline];
    const same = sameOr(before?.candidates.get(namespace), made);
    candidates.set(namespace, same);
    return same;
  };
  const known = new Map<string, Selected>();
  const own = (pod: Pod): Selected => {
    const key = keyOf(pod);
    const found = known.get(key) ?? crowd.onPod(selectedBy(state, candidatesIn(pod.namespace), pod));
    known.set(key, found);
    return found;
  };
  const places = new Map<string, ReadonlyMap<string, readonly Policy[]>>();
  let podsByPlace: ReadonlyMap<string, readonly Pod[]> | undefined;
  const closedOn = (pod: Pod): ReadonlyMap<string, readonly Policy[]> => {
    const place = placeOf(pod);
    podsByPlace ??= Map.groupBy(state.pods.values(), placeOf);
    const found = places.get(place) ?? crowd.onNode((podsByPlace.get(place) ?? []).map((p) => ({ pod: p, ...own(p) })));
    places.set(place, found);
    return found;
  };
  const selecting = (pod: Pod): readonly Policy[] => {
    const { policies } = own(pod);
    const policed = pod.node !== '' && policies.some((p) => p.kind === 'NetworkPolicy');
    return (policed ? closedOn(pod).get(keyOf(pod)) : undefined) ?? policies;
  };
  const like = (selector: PodsSelector): readonly Pod[] => {
    table ??= new PodTable(state);
    return table.like(selector);
  };
  const podsOf = (selector: PodsSelector): readonly Pod[] => like(selector).filter((p) => selects(state, selector, p));
  return {
    state,
    candidates,
    selecting,
    podsOf,
    labelled: (selector) => like(selector).filter((p) => isLabelled(state, selector, p)),
    crowdedOut() {
      for (const namespace of byNamespace.keys()) candidatesIn(namespace);
      for (const pod of state.pods.values()) selecting(pod);
      return crowd;
    },
  };
}

/** Pods by namespace and by label: a selector is compared only with those that have what it asks for first. */
class PodTable {
  readonly #everywhere: LabelIndex<Pod>;
  readonly #byNamespace: ReadonlyMap<string, LabelIndex<Pod>>;
  readonly #namespaces: LabelIndex<string>;

  constructor(state: ClusterState) {
    const pods = [...state.pods.values()];
    const byNamespace = Map.groupBy(pods, (p) => p.namespace);
    this.#everywhere = new LabelIndex(pods, labelsOfPod);
    this.#byNamespace = new Map([...byNamespace].map(([name, some]) => [name, new LabelIndex(some, labelsOfPod)]));
    this.#namespaces = new LabelIndex([...byNamespace.keys()], (name) => labelsOfNamespace(state, name));
  }

  /** At least those that the selector means. */
  like({ namespace, namespaces, pods }: PodsSelector): readonly Pod[] {
    if (namespace !== undefined) return this.#byNamespace.get(namespace)?.like(pods) ?? [];
    const names = this.#namespaces.like(namespaces);
    const anywhere = this.#everywhere.like(pods);
    if (anywhere.length <= names.length) return anywhere;
    return names.flatMap((name) => this.#byNamespace.get(name)?.like(pods) ?? []);
  }
}

const placeOf = ({ node, namespace }: Pod): string => `${node} ${namespace}`;

/** The earlier list, when it has the same policies: what was worked out with it still holds. */
function sameOr(before: readonly Policy[] | undefined, now: readonly Policy[]): readonly Policy[] {
  return before?.length === now.length && before.every((p, i) => p === now[i]) ? before : now;
}

/** What was found for a pod, as long as it, its namespace and the policies are the same. */
const lastFound = new WeakMap<
  Pod,
  { readonly candidates: readonly Policy[]; readonly namespace: object | undefined; readonly found: readonly Policy[] }
>();

function selectedBy(state: ClusterState, candidates: readonly Policy[], pod: Pod): readonly Policy[] {
  if (pod.hostNetwork || pod.finished) return [];
  const namespace = state.namespaces.get(pod.namespace);
  const last = lastFound.get(pod);
  if (last && last.candidates === candidates && last.namespace === namespace) return last.found;
  const found = candidatesLike(candidates, pod).filter((p) => selects(state, p.subject, pod));
  lastFound.set(pod, { candidates, namespace, found });
  return found;
}

/** Those of the policies that may select the pod by its labels; the order stays. */
function candidatesLike(candidates: readonly Policy[], pod: Pod): readonly Policy[] {
  if (candidates.length <= FEW) return candidates;
  const known = byLabel.get(candidates) ?? new SelectorIndex(candidates, (p) => p.subject?.pods);
  byLabel.set(candidates, known);
  return known.like(labelsOfPod(pod));
}

const FEW = 4;
const byLabel = new WeakMap<readonly Policy[], SelectorIndex<Policy>>();

/** Whether a selector of pods means this one. Never those of the host's network: they are the node. */
export function selects(state: ClusterState, selector: PodsSelector | undefined, pod: Pod): boolean {
  return selector !== undefined && !pod.hostNetwork && !pod.finished && isLabelled(state, selector, pod);
}

function isLabelled(state: ClusterState, selector: PodsSelector, pod: Pod): boolean {
  const inNamespace =
    selector.namespace === undefined
      ? matches(selector.namespaces, labelsOfNamespace(state, pod.namespace))
      : selector.namespace === pod.namespace;
  return inNamespace && matches(selector.pods, labelsOfPod(pod));
}

/**
 * With the pod's ServiceAccount as a label, which selectors may name (NPEP-173): who may edit a pod's labels cannot choose that. A
 * label of that name on the pod itself means nothing.
 */
export function labelsOfPod(pod: Pod): Readonly<Record<string, string>> {
  const known = labels.get(pod) ?? { ...pod.labels, [SERVICE_ACCOUNT]: pod.serviceAccount };
  labels.set(pod, known);
  return known;
}

/** Pods never change: each one's labels are put together once, however many selectors are asked about it. */
const labels = new WeakMap<Pod, Readonly<Record<string, string>>>();

/** With the name, which every namespace of the API has as a label; manifests alone need not say it. */
export function labelsOfNamespace(state: ClusterState, name: string): Readonly<Record<string, string>> {
  const namespace = state.namespaces.get(name);
  if (!namespace) return { 'kubernetes.io/metadata.name': name };
  const known = namespaceLabels.get(namespace) ?? { 'kubernetes.io/metadata.name': name, ...namespace.labels };
  namespaceLabels.set(namespace, known);
  return known;
}

const namespaceLabels = new WeakMap<object, Readonly<Record<string, string>>>();

/** Where a pod that is not known yet may be one that a policy selects. `others`: namespaces that are not known yet, too. */
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
