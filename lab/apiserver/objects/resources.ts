import type { Rules } from '../cel/rules.ts';

/** A column of `kubectl get`, worked out from an object. `wide`: only with -o wide. */
export type Column = {
  readonly name: string;
  readonly type?: string;
  readonly wide?: boolean;
  readonly value: (o: Obj) => unknown;
};

/** An object of any kind, loosely. Only for reading. */
// biome-ignore lint: the lab reads manifests of every kind
export type Obj = { readonly [field: string]: unknown };

/** A resource that the lab's API serves. */
export type ResourceType = {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly categories?: readonly string[];
  readonly scalable?: boolean;
  readonly status?: boolean;
  readonly columns?: readonly Column[];
  /** Schema of a custom resource; built-in kinds are taken as they come. */
  readonly schema?: object;
  /** The rules in that schema. */
  readonly rules?: Rules;
};

type Row = readonly [kind: string, plural: string, shortNames: string, flags: string];

/** group/version, then rows. Flags: c cluster-scoped, s status, x scale, a category "all". */
const BUILT_IN: Readonly<Record<string, readonly Row[]>> = {
  v1: [
    ['Namespace', 'namespaces', 'ns', 'cs'],
    ['Node', 'nodes', 'no', 'cs'],
    ['Pod', 'pods', 'po', 'sa'],
    ['Service', 'services', 'svc', 'sa'],
    ['ConfigMap', 'configmaps', 'cm', ''],
    ['Secret', 'secrets', '', ''],
    ['ServiceAccount', 'serviceaccounts', 'sa', ''],
    ['Event', 'events', 'ev', ''],
    ['Endpoints', 'endpoints', 'ep', ''],
    ['LimitRange', 'limitranges', 'limits', ''],
    ['ResourceQuota', 'resourcequotas', 'quota', 's'],
    ['PersistentVolume', 'persistentvolumes', 'pv', 'cs'],
    ['PersistentVolumeClaim', 'persistentvolumeclaims', 'pvc', 's'],
  ],
  'apps/v1': [
    ['Deployment', 'deployments', 'deploy', 'sxa'],
    ['ReplicaSet', 'replicasets', 'rs', 'sxa'],
    ['StatefulSet', 'statefulsets', 'sts', 'sxa'],
    ['DaemonSet', 'daemonsets', 'ds', 'sa'],
  ],
  'batch/v1': [['Job', 'jobs', '', 'sa']],
  'discovery.k8s.io/v1': [['EndpointSlice', 'endpointslices', '', '']],
  'coordination.k8s.io/v1': [['Lease', 'leases', '', '']],
  'networking.k8s.io/v1': [
    ['NetworkPolicy', 'networkpolicies', 'netpol', ''],
    ['Ingress', 'ingresses', 'ing', 's'],
    ['IngressClass', 'ingressclasses', '', 'c'],
  ],
  'policy/v1': [['PodDisruptionBudget', 'poddisruptionbudgets', 'pdb', 's']],
  'autoscaling/v2': [['HorizontalPodAutoscaler', 'horizontalpodautoscalers', 'hpa', 's']],
  'rbac.authorization.k8s.io/v1': [
    ['Role', 'roles', '', ''],
    ['RoleBinding', 'rolebindings', '', ''],
    ['ClusterRole', 'clusterroles', '', 'c'],
    ['ClusterRoleBinding', 'clusterrolebindings', '', 'c'],
  ],
  'scheduling.k8s.io/v1': [['PriorityClass', 'priorityclasses', 'pc', 'c']],
  'storage.k8s.io/v1': [['StorageClass', 'storageclasses', 'sc', 'c']],
  'admissionregistration.k8s.io/v1': [
    ['ValidatingWebhookConfiguration', 'validatingwebhookconfigurations', '', 'c'],
    ['MutatingWebhookConfiguration', 'mutatingwebhookconfigurations', '', 'c'],
    ['ValidatingAdmissionPolicy', 'validatingadmissionpolicies', '', 'cs'],
    ['ValidatingAdmissionPolicyBinding', 'validatingadmissionpolicybindings', '', 'c'],
  ],
  'apiextensions.k8s.io/v1': [['CustomResourceDefinition', 'customresourcedefinitions', 'crd,crds', 'cs']],
};

function builtIn(groupVersion: string, [kind, plural, shortNames, flags]: Row): ResourceType {
  const [group = '', version = ''] = groupVersion.includes('/') ? groupVersion.split('/') : ['', groupVersion];
  return {
    group,
    version,
    kind,
    plural,
    singular: kind.toLowerCase(),
    shortNames: shortNames === '' ? [] : shortNames.split(','),
    namespaced: !flags.includes('c'),
    status: flags.includes('s'),
    scalable: flags.includes('x'),
    categories: flags.includes('a') ? ['all'] : [],
  };
}

/** Every resource that is served, built in or by a CustomResourceDefinition. */
export class Resources {
  readonly #byPath = new Map<string, ResourceType>();

  constructor() {
    for (const [groupVersion, rows] of Object.entries(BUILT_IN))
      for (const row of rows) this.add(builtIn(groupVersion, row));
  }

  add(type: ResourceType): void {
    this.#byPath.set(`${type.group}/${type.version}/${type.plural}`, type);
  }

  remove(type: ResourceType): void {
    this.#byPath.delete(`${type.group}/${type.version}/${type.plural}`);
  }

  find(group: string, version: string, plural: string): ResourceType | undefined {
    return this.#byPath.get(`${group}/${version}/${plural}`);
  }

  /** By kind, in any version of a group. Throws for a kind that is not served: a fault of the caller. */
  kind(kind: string, group?: string): ResourceType {
    const found = this.byKind(kind, group);
    if (!found) throw new RangeError(`the lab serves no kind ${kind}`);
    return found;
  }

  byKind(kind: string, group?: string): ResourceType | undefined {
    return [...this.#byPath.values()].find((t) => t.kind === kind && (group === undefined || t.group === group));
  }

  [Symbol.iterator](): IterableIterator<ResourceType> {
    return this.#byPath.values();
  }
}
