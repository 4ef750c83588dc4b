import { GROUP, VERSION } from '../../api/names.ts';

type Raw = Readonly<Record<string, unknown>>;

/** Kinds that mean something to a network. */
export type ReadKind = (typeof KINDS)[number][1];

const POLICY_GROUP = 'policy.networking.k8s.io';

/** The apiVersion and the kind decide together: other groups have kinds of the same name. */
const KINDS = [
  ['v1', 'Namespace'],
  ['v1', 'Node'],
  ['v1', 'Pod'],
  ['v1', 'Service'],
  ['discovery.k8s.io/v1', 'EndpointSlice'],
  ['networking.k8s.io/v1', 'NetworkPolicy'],
  [`${POLICY_GROUP}/v1alpha2`, 'ClusterNetworkPolicy'],
  [`${POLICY_GROUP}/v1alpha1`, 'AdminNetworkPolicy'],
  [`${POLICY_GROUP}/v1alpha1`, 'BaselineAdminNetworkPolicy'],
  [`${GROUP}/${VERSION}`, 'VirtualNetwork'],
  [`${GROUP}/${VERSION}`, 'VirtualNetworkRouter'],
  [`${GROUP}/${VERSION}`, 'BulkheadConfig'],
  ['k8s.cni.cncf.io/v1', 'NetworkAttachmentDefinition'],
] as const;

const CLUSTER_SCOPED: ReadonlySet<string> = new Set<ReadKind>([
  'Namespace',
  'Node',
  'ClusterNetworkPolicy',
  'AdminNetworkPolicy',
  'BaselineAdminNetworkPolicy',
  'BulkheadConfig',
]);

/** Which of the kinds that are read an object is. One without apiVersion, as no file has it, is taken by its kind alone. */
export function readKindOf({ apiVersion, kind }: Raw): ReadKind | undefined {
  return KINDS.find(([version, name]) => name === kind && (apiVersion === undefined || apiVersion === version))?.[1];
}

/** Whether an object is of one of the kinds before ClusterNetworkPolicy, which can be translated. */
export function isAdminNetworkPolicy(raw: Raw): boolean {
  const kind = readKindOf(raw);
  return kind === 'AdminNetworkPolicy' || kind === 'BaselineAdminNetworkPolicy';
}

/** Whether objects of a kind are in a namespace. Of kinds that are not read it is supposed. */
export const isNamespaced = (kind: ReadKind | undefined): boolean => kind === undefined || !CLUSTER_SCOPED.has(kind);

/** "apps" of "apps/v1", "" of "v1" */
export const groupOf = ({ apiVersion }: Raw): string => {
  const text = typeof apiVersion === 'string' ? apiVersion : '';
  return text.includes('/') ? text.slice(0, text.indexOf('/')) : '';
};

/** Kinds that close or open connections and whose names do not say so. */
const OTHER_POLICIES: readonly (readonly [group: string, kind: string])[] = [
  ['k8s.ovn.org', 'EgressFirewall'],
  ['security.istio.io', 'AuthorizationPolicy'],
  ['policy.linkerd.io', 'AuthorizationPolicy'],
  ['projectcalico.org', 'GlobalNetworkPolicy'],
  ['crd.projectcalico.org', 'GlobalNetworkPolicy'],
  ['vpcresources.k8s.aws', 'SecurityGroupPolicy'],
];

/** Whether an object is a policy about connections that Bulkhead does not judge: another project's, or another version's. */
export function isForeignPolicy(raw: Raw): boolean {
  const kind = String(raw['kind']);
  if (readKindOf(raw) !== undefined) return false;
  return /NetworkPolicy$/i.test(kind) || OTHER_POLICIES.some(([g, k]) => g === groupOf(raw) && k === kind);
}
