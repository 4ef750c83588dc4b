import type { BlockItem, ClusterSettings, Frontend, NetworkKey, Protocol } from '../../api/nodeconfig.ts';
import type { VirtualNetworkRouterSpec } from '../../api/kinds/virtual-network-router.ts';
import type { VirtualNetworkSpec } from '../../api/kinds/virtual-network.ts';

import type { BulkheadConfigSpec } from '../../api/kinds/bulkhead-config.ts';
import type { Policy } from './policy.ts';

/** What of the cluster matters to a network. Slim and plain: one of these is held per cluster, never the API objects. */
export type ClusterState = {
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly pods: ReadonlyMap<string, Pod>;
  readonly networks: ReadonlyMap<NetworkKey, Network>;
  readonly routers: ReadonlyMap<string, Router>;
  readonly services: ReadonlyMap<string, Service>;
  /** Key = namespace/name of the slice. */
  readonly slices: ReadonlyMap<string, EndpointSlice>;
  /** Key = cidr. From AddressBlock objects and from what agents announced since. */
  readonly blocks: ReadonlyMap<string, BlockItem>;
  /** Networks that pods are really attached to, by pod uid, as agents say. Wins over what annotations say now. */
  readonly attached: ReadonlyMap<string, NetworkKey>;
  /** NetworkAttachmentDefinitions, by "namespace/name"; absent where that kind does not exist. */
  readonly definitions?: ReadonlyMap<string, AttachmentDefinition>;
  /** Nodes on which Multus attaches what pods ask for. */
  readonly multus?: ReadonlySet<string>;
  /** NetworkPolicies and ClusterNetworkPolicies, by policyKey. */
  readonly policies?: ReadonlyMap<string, Policy>;
  /** Addresses that pods have since their agents said so, by pod uid: sooner than their status says. */
  readonly addresses?: ReadonlyMap<string, readonly string[]>;
  /** Interfaces beside the first that pods really have, by pod uid. */
  readonly interfaces?: ReadonlyMap<string, readonly PodInterface[]>;
  /** Networks that are closed, since they ask for subnets that are not theirs to have; worked out by viewOf. */
  readonly conflicts?: ReadonlyMap<NetworkKey, Refusal>;
  /** Networks that get less than they ask for; worked out by viewOf. */
  readonly limited?: ReadonlyMap<NetworkKey, Refusal>;
  readonly podCIDRs: readonly string[];
  readonly serviceCIDRs: readonly string[];
  /** Ports of Services that the API server calls by itself, by the object that names them; absent: none is known. */
  readonly called?: ReadonlyMap<string, readonly CalledPort[]>;
  /** Switches of the cluster; absent: none is set. */
  readonly settings?: Settings;
};

/** A port of a Service that the API server calls by itself. */
export type CalledPort = { readonly namespace: string; readonly name: string; readonly port: number };

/** What the administrator lets networks and Services ask for. */
export type Ceilings = Pick<BulkheadConfigSpec, 'subnets' | 'egress' | 'services'>;

/** What the BulkheadConfig named default says. */
export type Settings = ClusterSettings & {
  readonly ceilings?: Ceilings;
  /** Fields that could not be read, with the reason: the parts that hold them count as closed. */
  readonly unreadable?: readonly string[];
};

/** Why a network does not get what it asks for; the reason of its condition. */
export type Refusal = {
  readonly reason:
    | 'SubnetNotAllowed'
    | 'SubnetConflict'
    | 'EgressAddressNotAllowed'
    | 'EgressAddressConflict'
    | 'LimitExceeded';
  readonly message: string;
};

export type Strings = Readonly<Record<string, string>>;

export type Namespace = {
  readonly name: string;
  readonly uid: string;
  readonly labels: Strings;
  readonly annotations: Strings;
  readonly deleting: boolean;
  /** When it was made, milliseconds; 0 when it is not known. */
  readonly created?: number;
};

export type Node = {
  readonly name: string;
  readonly uid: string;
  /** The InternalIPs; the first is the underlay address. */
  readonly addresses: readonly string[];
  /**
   * Its addresses beside the InternalIPs: ExternalIPs, and what its agent reports (further devices, virtual addresses). They close
   * and never open: what may not reach a node may not reach it by these either.
   */
  readonly further: readonly string[];
  /** Addresses that only its own pods and processes can dial: link-local ones, and those that a DNS cache listens on. */
  readonly local?: readonly string[];
  /** Its agent has not reported to this controller yet. */
  readonly unheard?: true;
  /** Destinations of its connected and static routes, as its agent reports them. */
  readonly routes: readonly string[];
  readonly podCIDRs: readonly string[];
  readonly labels: Strings;
  /** Label topology.kubernetes.io/zone; "" without one. */
  readonly zone: string;
  /** NetworkUnavailable and BulkheadReady, as they stand in the API. */
  readonly conditions: readonly NodeCondition[];
};

export type NodeCondition = {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
};

export type ContainerPort = {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** The port of its node that leads to it; absent: none. */
  readonly hostPort?: number;
  /** Only at this address of the node; absent: at all of them. */
  readonly hostIP?: string;
};

/** The workload that made a pod, as far as the pod says: "Deployment", "web". */
export type Workload = { readonly kind: string; readonly name: string };

export type Pod = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** "" until scheduled. */
  readonly node: string;
  readonly hostNetwork: boolean;
  readonly ips: readonly string[];
  readonly labels: Strings;
  readonly serviceAccount: string;
  readonly annotations: Strings;
  /** Phase Succeeded or Failed: has no network any more. */
  readonly finished: boolean;
  /** When it was made, milliseconds; 0 when it is not known. */
  readonly created: number;
  readonly ready: boolean;
  readonly ports: readonly ContainerPort[];
  /** Absent: made by hand. */
  readonly workload?: Workload;
};

/** An interface beside the first that a pod really has. */
export type PodInterface = {
  readonly ifname: string;
  readonly network: NetworkKey;
  readonly ips: readonly string[];
  readonly mac: string;
};

/** A NetworkAttachmentDefinition: of which plugin, and for ours of which network. */
export type AttachmentDefinition = {
  readonly namespace: string;
  readonly name: string;
  readonly plugin: string;
  readonly network: NetworkKey | undefined;
};

export type Network = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  readonly deleting: boolean;
  readonly managed: boolean;
  readonly labels: Strings;
  /** When it was made, milliseconds; 0 when it is not known. */
  readonly created: number;
  /** Absent when the spec is invalid; `problems` says why. */
  readonly spec: VirtualNetworkSpec | undefined;
  readonly problems: readonly string[];
  readonly vni: number | undefined;
  /** The node that has its fixed egress addresses, as its status says. */
  readonly egressNode?: string;
};

export type Router = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** When it was made, milliseconds; absent when it is not known. */
  readonly created?: number;
  readonly generation: number;
  readonly deleting: boolean;
  readonly labels: Strings;
  /** Absent when the spec is invalid; `problems` says why. */
  readonly spec: VirtualNetworkRouterSpec | undefined;
  readonly problems: readonly string[];
};

export type Service = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly type: string;
  /** None of a Service that kube-proxy does not serve: headless, ExternalName, or left to another proxy by its label. */
  readonly clusterIPs: readonly string[];
  /** Addresses beside the cluster's own: external ones, and those of a load balancer. In a view: those that it gets. */
  readonly frontends: readonly Frontend[];
  /** How many of them are external ones, which come first. */
  readonly externalIPs: number;
  /** When it was made, milliseconds; 0 when it is not known. */
  readonly created: number;
  /** What it is to have as its network, when it says so itself. */
  readonly annotations: Strings;
  readonly affinitySeconds: number | undefined;
  readonly internalTrafficPolicy: 'Cluster' | 'Local';
  readonly externalTrafficPolicy: 'Cluster' | 'Local';
  readonly ports: readonly {
    readonly name: string;
    readonly protocol: Protocol;
    readonly port: number;
    /** Absent: none. */
    readonly nodePort?: number;
  }[];
};

export type EndpointSlice = {
  readonly namespace: string;
  readonly name: string;
  readonly service: string;
  readonly family: 4 | 6;
  readonly ports: readonly { readonly name: string; readonly protocol: Protocol; readonly port: number }[];
  readonly endpoints: readonly SliceEndpoint[];
};

export type SliceEndpoint = {
  readonly ip: string;
  readonly node: string;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  /** Zones and nodes that should use it (topology hints); absent: no hint. */
  readonly zones?: readonly string[];
  readonly nodes?: readonly string[];
  /** "namespace/name" of the pod behind it; "" when it is not known. */
  readonly pod: string;
};

export const emptyClusterState: ClusterState = {
  namespaces: new Map(),
  nodes: new Map(),
  pods: new Map(),
  networks: new Map(),
  routers: new Map(),
  services: new Map(),
  slices: new Map(),
  blocks: new Map(),
  attached: new Map(),
  podCIDRs: [],
  serviceCIDRs: [],
};

/** "namespace/name" */
export const keyOf = (o: { readonly namespace: string; readonly name: string }): string => `${o.namespace}/${o.name}`;
