import { GROUP, VERSION } from '../names.ts';

/** A kind as the API server serves it. */
export type KindOfObject = {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  /** Not every cluster has it: without it there is nothing of that kind. */
  readonly optional: boolean;
};

const required = (group: string, version: string, plural: string): KindOfObject => ({
  group,
  version,
  plural,
  optional: false,
});
const optional = (group: string, version: string, plural: string): KindOfObject => ({
  group,
  version,
  plural,
  optional: true,
});

/** Every kind that decides about connections. The controller follows all of them, and the command line lists all of them. */
export const RESOURCES = {
  namespaces: required('', 'v1', 'namespaces'),
  nodes: required('', 'v1', 'nodes'),
  pods: required('', 'v1', 'pods'),
  services: required('', 'v1', 'services'),
  endpointSlices: required('discovery.k8s.io', 'v1', 'endpointslices'),
  networkPolicies: required('networking.k8s.io', 'v1', 'networkpolicies'),
  virtualNetworks: required(GROUP, VERSION, 'virtualnetworks'),
  virtualNetworkRouters: required(GROUP, VERSION, 'virtualnetworkrouters'),
  addressBlocks: required(GROUP, VERSION, 'addressblocks'),
  bulkheadConfigs: optional(GROUP, VERSION, 'bulkheadconfigs'),
  clusterNetworkPolicies: optional('policy.networking.k8s.io', 'v1alpha2', 'clusternetworkpolicies'),
  /** Of the Network Plumbing Working Group. */
  attachmentDefinitions: optional('k8s.cni.cncf.io', 'v1', 'network-attachment-definitions'),
  /** Since Kubernetes 1.33. */
  serviceCIDRs: optional('networking.k8s.io', 'v1', 'servicecidrs'),
  /** Objects that name Services which the API server calls by itself. */
  validatingWebhooks: optional('admissionregistration.k8s.io', 'v1', 'validatingwebhookconfigurations'),
  mutatingWebhooks: optional('admissionregistration.k8s.io', 'v1', 'mutatingwebhookconfigurations'),
  customResources: optional('apiextensions.k8s.io', 'v1', 'customresourcedefinitions'),
  apiServices: optional('apiregistration.k8s.io', 'v1', 'apiservices'),
} as const satisfies Record<string, KindOfObject>;

export type ResourceName = keyof typeof RESOURCES;
