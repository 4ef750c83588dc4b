import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import type { PodsSelector } from '../cluster/policy.ts';
import { matches } from '../cluster/selector.ts';
import type { ClusterState, Pod, Strings } from '../cluster/state.ts';
import { groupKey } from '../policy/groups.ts';
import { labelsOfNamespace, type PolicyIndex } from '../policy/index.ts';
import { LabelIndex } from '../policy/label-index.ts';

/** The pods and namespaces of a view, as selectors find them; equal selectors are asked once. */
export class Pods {
  /** Labels of some namespaces. */
  readonly namespaceLabels: readonly Strings[];
  readonly #state: ClusterState;
  readonly #index: PolicyIndex;
  readonly #byNamespace: ReadonlyMap<string, readonly Pod[]>;
  readonly #namespaces: LabelIndex<string>;
  readonly #selected = new Map<string, readonly Pod[]>();
  readonly #matching = new Map<string, readonly string[]>();

  constructor(index: PolicyIndex) {
    const { state } = index;
    this.#state = state;
    this.#index = index;
    this.#byNamespace = Map.groupBy(state.pods.values(), (p) => p.namespace);
    const names = new Set([...state.namespaces.keys(), ...this.#byNamespace.keys()]);
    this.namespaceLabels = [...names].slice(0, MOST_NEAR).map((name) => labelsOfNamespace(state, name));
    this.#namespaces = new LabelIndex([...names], (name) => labelsOfNamespace(state, name));
  }

  /** The pods that a selector means. */
  of(selector: PodsSelector): readonly Pod[] {
    const key = groupKey([{ kind: 'pods', ...selector }]);
    const known = this.#selected.get(key) ?? this.#index.podsOf(selector);
    this.#selected.set(key, known);
    return known;
  }

  /** The namespaces that a selector means, and some pods in them. */
  near({ namespace, namespaces }: PodsSelector): {
    readonly namespaces: readonly string[];
    readonly pods: readonly Pod[];
  } {
    const names = namespace === undefined ? this.#namespacesLike(namespaces) : [namespace];
    const pods: Pod[] = [];
    for (const name of names) {
      pods.push(...(this.#byNamespace.get(name) ?? []).slice(0, MOST_NEAR));
      if (pods.length >= MOST_NEAR) break;
    }
    return { namespaces: names, pods };
  }

  #namespacesLike(selector: LabelSelector): readonly string[] {
    const key = JSON.stringify(selector);
    const made = (): readonly string[] =>
      this.#namespaces.like(selector).filter((n) => matches(selector, labelsOfNamespace(this.#state, n)));
    const known = this.#matching.get(key) ?? made();
    this.#matching.set(key, known);
    return known;
  }
}

/** Pods that are looked at for what an author may have meant. */
const MOST_NEAR = 50;
