import type { z } from 'zod';
import { GROUP, VERSION } from '../names.ts';
import { addressBlockSpec } from './address-block.ts';
import { bulkheadConfigSpec, bulkheadConfigStatus } from './bulkhead-config.ts';
import { clusterNetworkPolicySpec, clusterNetworkPolicyStatus } from './cluster-network-policy.ts';
import { virtualNetworkRouterSpec, virtualNetworkRouterStatus } from './virtual-network-router.ts';
import { virtualNetworkSpec, virtualNetworkStatus } from './virtual-network.ts';

/** A column of `kubectl get`. */
export type PrinterColumn = {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  readonly jsonPath: string;
  readonly priority?: number;
  readonly description?: string;
};

/** All that a CRD needs beside its schema. */
export type KindDefinition = {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly scope: 'Namespaced' | 'Cluster';
  readonly description: string;
  readonly spec: z.ZodType;
  readonly status?: z.ZodType;
  readonly columns: readonly PrinterColumn[];
  /** A kind that is not ours, with the group and version that its owners gave it. */
  readonly foreign?: {
    readonly group: string;
    readonly version: string;
    readonly annotations: Readonly<Record<string, string>>;
  };
  /** CEL rules on the whole object. */
  readonly rules?: readonly { readonly rule: string; readonly message: string }[];
};

/** Every kind that is installed with Bulkhead. The CRDs in manifests/crds are generated from this. */
export const KINDS: readonly KindDefinition[] = [
  {
    kind: 'VirtualNetwork',
    plural: 'virtualnetworks',
    singular: 'virtualnetwork',
    shortNames: ['vn', 'vns'],
    scope: 'Namespaced',
    description: 'A network of its own: pods on it reach each other and nothing else that it does not open.',
    spec: virtualNetworkSpec,
    status: virtualNetworkStatus,
    columns: [
      { name: 'VNI', type: 'integer', jsonPath: '.status.vni' },
      { name: 'Subnets', type: 'string', jsonPath: '.spec.subnets' },
      { name: 'Egress', type: 'string', jsonPath: '.spec.egress.mode' },
      { name: 'Ready', type: 'string', jsonPath: ".status.conditions[?(@.type=='Ready')].status" },
      { name: 'Used', type: 'integer', jsonPath: '.status.addressesUsed', description: 'Addresses that pods have.' },
      { name: 'Free', type: 'integer', jsonPath: '.status.addressesFree', priority: 1 },
      { name: 'Reason', type: 'string', jsonPath: ".status.conditions[?(@.type=='Ready')].reason", priority: 1 },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    ],
    rules: [{ rule: 'self.metadata.name.size() <= 63', message: 'name must have at most 63 characters' }],
  },
  {
    kind: 'VirtualNetworkRouter',
    plural: 'virtualnetworkrouters',
    singular: 'virtualnetworkrouter',
    shortNames: ['vnr', 'vnrs'],
    scope: 'Namespaced',
    description: 'Connects networks, as far as the owners of all sides agree. Never transitive.',
    spec: virtualNetworkRouterSpec,
    status: virtualNetworkRouterStatus,
    columns: [
      { name: 'Type', type: 'string', jsonPath: '.spec.type' },
      { name: 'Traffic', type: 'string', jsonPath: '.spec.traffic' },
      { name: 'Ready', type: 'string', jsonPath: ".status.conditions[?(@.type=='Ready')].status" },
      { name: 'Open', type: 'integer', jsonPath: '.status.open', description: 'Pairs of networks that are connected.' },
      { name: 'Waiting', type: 'integer', jsonPath: '.status.waiting' },
      { name: 'Members', type: 'string', jsonPath: '.status.members', priority: 1 },
      { name: 'Reason', type: 'string', jsonPath: ".status.conditions[?(@.type=='Ready')].reason", priority: 1 },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    ],
    rules: [{ rule: 'self.metadata.name.size() <= 63', message: 'name must have at most 63 characters' }],
  },
  {
    kind: 'BulkheadConfig',
    plural: 'bulkheadconfigs',
    singular: 'bulkheadconfig',
    shortNames: ['bhc'],
    scope: 'Cluster',
    description: 'Switches of the whole cluster.',
    spec: bulkheadConfigSpec,
    status: bulkheadConfigStatus,
    columns: [
      { name: 'New Namespaces', type: 'string', jsonPath: '.spec.isolation.newNamespaces' },
      { name: 'Since', type: 'date', jsonPath: '.status.isolatingSince' },
      { name: 'Egress', type: 'string', jsonPath: '.spec.egress.defaultMode' },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    ],
    rules: [
      { rule: "self.metadata.name == 'default'", message: 'there is one BulkheadConfig, and its name is default' },
    ],
  },
  {
    kind: 'AddressBlock',
    plural: 'addressblocks',
    singular: 'addressblock',
    shortNames: ['ablk'],
    scope: 'Cluster',
    description: 'Which node owns which part of the addresses of a network.',
    spec: addressBlockSpec,
    columns: [
      { name: 'CIDR', type: 'string', jsonPath: '.spec.cidr' },
      { name: 'Node', type: 'string', jsonPath: '.spec.node' },
      { name: 'Namespace', type: 'string', jsonPath: '.spec.network.namespace' },
      { name: 'Network', type: 'string', jsonPath: '.spec.network.name' },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    ],
  },
  {
    kind: 'ClusterNetworkPolicy',
    plural: 'clusternetworkpolicies',
    singular: 'clusternetworkpolicy',
    shortNames: ['cnp'],
    scope: 'Cluster',
    description:
      'Rules of the cluster’s administrators, before (tier Admin) or behind (tier Baseline) NetworkPolicies.',
    spec: clusterNetworkPolicySpec,
    status: clusterNetworkPolicyStatus,
    foreign: {
      group: 'policy.networking.k8s.io',
      version: 'v1alpha2',
      annotations: {
        'api-approved.kubernetes.io': 'https://github.com/kubernetes-sigs/network-policy-api/pull/347',
        'policy.networking.k8s.io/bundle-version': 'v0.2.0',
        'policy.networking.k8s.io/channel': 'experimental',
      },
    },
    columns: [
      { name: 'Tier', type: 'string', jsonPath: '.spec.tier' },
      { name: 'Priority', type: 'string', jsonPath: '.spec.priority' },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    ],
  },
];

/** "bulkhead.dev/v1alpha1" */
export const API_VERSION = `${GROUP}/${VERSION}`;
