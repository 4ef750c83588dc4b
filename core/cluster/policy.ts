import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import type { PolicyAction, PolicyTier, Protocol } from '../../api/nodeconfig.ts';

/** A policy as it was read: NetworkPolicy (networking.k8s.io/v1) or ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2). */
export type Policy = {
  readonly kind: 'NetworkPolicy' | 'ClusterNetworkPolicy';
  readonly tier: PolicyTier;
  /** Lower wins; 0 for a NetworkPolicy. */
  readonly priority: number;
  /** "" for a ClusterNetworkPolicy. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  /** When it was made, milliseconds; 0 when it is not known. */
  readonly created: number;
  /** Undefined: it selects nothing, since its subject could not be read. */
  readonly subject: PodsSelector | undefined;
  /** Absent: it says nothing about this direction. A NetworkPolicy isolates in the directions that it has. */
  readonly ingress?: readonly PolicyRule[];
  readonly egress?: readonly PolicyRule[];
  /** All that is wrong with it, each with the path of the field. What could not be read fails closed. */
  readonly problems: readonly string[];
  /** It asks for more than api/budgets.ts allows, and none of its rules was read. */
  readonly overBudget?: true;
  /** What only `bulkhead policy lint` asks; absent when there is nothing of the kind. */
  readonly remarks?: PolicyRemarks;
};

/** What a policy says and what makes no difference to any packet. */
export type PolicyRemarks = {
  /** Directions that it has rules for, and that its policyTypes leave out. */
  readonly leftOut: readonly Direction[];
  /** Paths of lists that are there and empty, where that means "everything": "spec.ingress[0].from". */
  readonly emptyLists: readonly string[];
  /** Codes of findings that its author does not want to hear of. */
  readonly silenced: readonly string[];
};

export type Direction = 'ingress' | 'egress';

export type PolicyRule = {
  /** Its own name, or its place: "ingress[0]". */
  readonly name: string;
  readonly action: PolicyAction;
  readonly peers: 'any' | readonly Peer[];
  readonly ports: 'any' | readonly Port[];
};

/** Pods of namespaces: `namespace` names one, `namespaces` selects them. */
export type PodsSelector = (
  | { readonly namespace: string; readonly namespaces?: undefined }
  | { readonly namespaces: LabelSelector; readonly namespace?: undefined }
) & { readonly pods: LabelSelector };

export type Peer =
  | ({ readonly kind: 'pods' } & PodsSelector)
  /** Canonical prefixes. */
  | { readonly kind: 'networks'; readonly cidrs: readonly string[]; readonly except: readonly string[] }
  | { readonly kind: 'nodes'; readonly nodes: LabelSelector };

export type Port =
  | { readonly kind: 'range'; readonly protocol: Protocol; readonly first: number; readonly last: number }
  /** Of containers: the number differs by pod. Without a protocol, of any. */
  | { readonly kind: 'named'; readonly name: string; readonly protocol?: Protocol };

/** "NetworkPolicy ns/name", "ClusterNetworkPolicy name" */
export const policyKey = ({ kind, namespace, name }: Pick<Policy, 'kind' | 'namespace' | 'name'>): string =>
  kind === 'NetworkPolicy' ? `${kind} ${namespace}/${name}` : `${kind} ${name}`;

/** Ports of a protocol, when a rule names none. */
export const ALL_PORTS = { first: 0, last: 65535 } as const;
