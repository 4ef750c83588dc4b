/**
 * What the controller tells one node, and in which form.
 *
 * The stream is NDJSON. First `hello` with the leader's epoch, then `upsert` lines of everything, then `sync` with a
 * revision: from here on the node has a whole picture. After that come deltas, each batch ended by a `sync`. A snapshot
 * is the same events from empty; an item that a new snapshot does not name is gone. `ping` keeps a quiet stream alive.
 *
 * Everything here is plain JSON. Addresses and prefixes are canonical text (lib/ip).
 */

/** "namespace/name" of a VirtualNetwork, or {@link FLAT_NETWORK}. */
export type NetworkKey = string;

/** Constants of the cluster, one item with key "cluster". */
export type ClusterItem = {
  /** All pod ranges: what "inside the cluster" means beside Services and nodes. */
  readonly podCIDRs: readonly string[];
  readonly serviceCIDRs: readonly string[];
  /** Node ports that no pod of another network may use. */
  readonly closedNodePorts?: readonly Pick<ClosedNodePort, 'protocol' | 'port'>[];
  readonly closedFrontends?: readonly ClosedFrontend[];
  /** Outer addresses of all Services: what leaves a network for one of another's goes nowhere. */
  readonly frontends?: readonly ClosedFrontend[];
  /** Namespaces in which a policy may select pods: a pod that this node does not know is closed there. */
  readonly policed?: { readonly namespaces: readonly string[]; readonly others: boolean };
  /** Hosts of the API server; absent: none is known. */
  readonly apiServers?: ApiServers;
  /** Which namespaces are isolated without a label: for ADDs while the controller is away. */
  readonly settings?: ClusterSettings;
};

/** Hosts from which the API server reaches pods: nodes by their names, other hosts by their addresses. */
export type ApiServers = { readonly nodes: readonly string[]; readonly addresses: readonly string[] };

/**
 * What the API server may reach on a network, narrowest first. Registered: only ports that webhook configurations, conversions of
 * CustomResourceDefinitions and APIServices name.
 */
export const API_SERVER_ACCESS = ['None', 'Registered', 'All'] as const;
export type ApiServerAccess = (typeof API_SERVER_ACCESS)[number];

/** The part of the BulkheadConfig that decides on a namespace. */
export type ClusterSettings = {
  readonly isolateNew: boolean;
  /** Milliseconds; undefined until the controller has written down when it began. */
  readonly since: number | undefined;
  readonly exceptNames: readonly string[];
  /** Undefined: no namespace is excepted by its labels. */
  readonly exceptLabels: Readonly<Record<string, string>> | undefined;
  readonly egress: 'None' | 'NAT' | 'Routed';
  /** Absent: All. */
  readonly apiServerAccess?: ApiServerAccess;
};

/** A port that pods of other networks may not use: of an outer address of a Service, or of a backend. */
export type ClosedFrontend = { readonly ip: string; readonly protocol: Protocol; readonly port: number };

export type ClosedNodePort = { readonly protocol: Protocol; readonly port: number; readonly network: NetworkKey };

/** A node, key = its name. Without pod CIDRs it has no part in the overlay, and only its addresses matter. */
export type NodeItem = {
  readonly name: string;
  /** Address of its VXLAN end; the first InternalIP. */
  readonly underlay: string;
  readonly addresses: readonly string[];
  /** Its addresses beside those, from its status and its agent: just as much the node, for what may not reach nodes. */
  readonly further?: readonly string[];
  /** Its agent has not reported to this controller yet: the further addresses that were known before count as well. */
  readonly unheard?: true;
  readonly podCIDRs: readonly string[];
  /** Label topology.kubernetes.io/zone; absent: none. */
  readonly zone?: string;
};

/** A network that has, or will have, pods on this node. Key = NetworkKey. */
export type NetworkItem = {
  readonly key: NetworkKey;
  readonly vni: number;
  /** Prefixes of its own, from which the controller gives addresses. */
  readonly subnets?: readonly string[];
  /** Its subnets are not its to have: pods that run reach each other, and the root has no route to any of them. */
  readonly closed?: true;
  readonly egress: 'None' | 'NAT' | 'Routed';
  /** What may be reached outside the cluster; absent: everything. Disjoint prefixes. */
  readonly egressAllow?: readonly { readonly prefix: string; readonly ports: PortSet }[];
  /** The node by which the network leaves the cluster, and the addresses that outsiders see; absent: each node by itself. */
  readonly egressVia?: { readonly node: string; readonly addresses: readonly string[] };
  readonly mtu?: number;
  /** Absent: All. */
  readonly apiServerAccess?: ApiServerAccess;
  /** Keys of {@link ServiceItem}s of the flat network that are reachable from here. */
  readonly allow: readonly string[];
};

/** The network that a namespace's pods get unless they name another. Key = namespace. Only namespaces with pods on this node. */
export type NamespaceItem = { readonly name: string; readonly assignment: Assignment };

/** A pod that is to run on this node, key = "namespace/name". With it, ADD answers without a request to the controller. */
export type PodItem = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly assignment: Assignment;
  /** Addresses that it asks for. */
  readonly ips?: readonly string[];
  readonly mac?: string;
  /** Its other interfaces, in their order. */
  readonly interfaces?: readonly InterfaceItem[];
  /** Key of the {@link ProfileItem} that holds for it; absent: no policy selects it. */
  readonly profile?: string;
};

/** An interface that a pod is to get. */
export type InterfaceItem = {
  readonly ifname: string;
  readonly assignment: Assignment;
  readonly ips?: readonly string[];
  readonly mac?: string;
};

/** Which network, or why none. */
export type Assignment = { readonly network: NetworkKey } | { readonly problem: Problem };

/** Why a pod must wait. `code` is one of {@link PROBLEM_CODES}. */
export type Problem = { readonly code: ProblemCode; readonly message: string };

export const PROBLEM_CODES = [
  'NetworkNotFound',
  'NetworkNotReady',
  'NetworkNotShared',
  'InvalidAnnotation',
  'OverBudget',
  'ConflictingNetworks',
  'UnsupportedNetwork',
  'AddressUnavailable',
  'ForeignNetwork',
] as const;
export type ProblemCode = (typeof PROBLEM_CODES)[number];

/** Addresses of a network on a node, key = cidr: those of other nodes, and what the controller gave to this one. */
export type BlockItem = {
  readonly cidr: string;
  readonly node: string;
  /** "": one that has no business on this node, whose root only routes to the block. */
  readonly network: NetworkKey;
  /** Out of the network's own subnet, by the controller; absent: cut from its node's pod CIDR. */
  readonly given?: true;
  /** Only to the node that gives from it: parts that only some pods get. */
  readonly except?: readonly string[];
};

/** Ports that may pass: any (and ICMP), or disjoint ranges, sorted. */
export type PortSet = 'any' | readonly { readonly protocol: Protocol; readonly first: number; readonly last: number }[];

/**
 * Another network that a router connects with one of this node. Key = "network|other". Both directions are alike; the other
 * network's own nodes are told the same the other way round, and only where both agree a connection passes.
 */
export type PeerItem = {
  readonly network: NetworkKey;
  readonly other: NetworkKey;
  /** Disjoint parts of the other network, each with what may pass: to and from its pods, and only behind Services. */
  readonly parts: readonly {
    readonly prefixes: readonly string[];
    readonly pods: PortSet;
    readonly services: PortSet;
  }[];
  /** Keys of the {@link ServiceItem}s of the other network that are reachable. */
  readonly services: readonly string[];
};

/** Ports of a pod on this node that pods of the flat network may reach. Key = "namespace/name" of the pod. */
export type OpeningItem = {
  readonly pod: string;
  readonly network: NetworkKey;
  readonly ips: readonly string[];
  readonly ports: PortSet;
  /** Keys of the {@link SourceItem}s that may come in. */
  readonly namespaces: readonly string[];
};

/** Where the flat pods of a namespace come from. Key = its name; "*": those of all namespaces. Only what openings here name. */
export type SourceItem = { readonly prefixes: readonly string[] };

/**
 * Where a network with nodePortAccess External is reached from outside: a pod of the flat network gets there as itself only, whatever
 * Service leads it there. Key = NetworkKey, on every node.
 */
export type ClosedItem = { readonly backends: readonly ClosedFrontend[] };

/** Tiers of policy, in the order in which they are asked. */
export const POLICY_TIERS = ['Admin', 'NetworkPolicy', 'Baseline'] as const;
export type PolicyTier = (typeof POLICY_TIERS)[number];
export type PolicyAction = 'Accept' | 'Deny' | 'Pass';

/**
 * Addresses that rules of policies name together. Key = canonical text of what selects them; two groups with one key hold the
 * same. `prefixes`: disjoint, for what is no list of pods or nodes.
 */
export type GroupItem = { readonly addresses: readonly string[]; readonly prefixes: readonly string[] };

/** The rules that hold for some pods of this node. Key = the policies that select them, and numbers of ports that those name. */
export type ProfileItem = { readonly ingress: ProfileSide; readonly egress: ProfileSide };

export type ProfileSide = {
  /** NetworkPolicies that isolate in this direction: what none of their rules accepts is denied. */
  readonly isolatedBy: readonly string[];
  /** Of the Admin and Baseline tiers in their order; within the NetworkPolicy tier order means nothing. */
  readonly rules: readonly ProfileRule[];
};

/** What identifies a rule to people: "ClusterNetworkPolicy name" or "NetworkPolicy ns/name", and the rule's name or place. */
export type RuleName = { readonly tier: PolicyTier; readonly policy: string; readonly rule: string };

export type ProfileRule = RuleName & {
  readonly action: PolicyAction;
  /** It matches when one of these does: an address in one of the groups (or any address), on one of the ports. */
  readonly matches: readonly { readonly peers: 'any' | readonly string[]; readonly ports: PortSet }[];
};

export const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** A Service of a network on this node, or of an allow list. Key = "namespace/name". */
export type ServiceItem = {
  readonly namespace: string;
  readonly name: string;
  readonly network: NetworkKey;
  readonly clusterIPs: readonly string[];
  /** External and load balancer addresses; absent: none. */
  readonly frontends?: readonly Frontend[];
  /** Seconds of ClientIP affinity; absent: none. */
  readonly affinitySeconds?: number;
  readonly internalTrafficPolicy: 'Cluster' | 'Local';
  /** Reachable from outside by NodePort or load balancer. */
  readonly exposed: boolean;
  readonly ports: readonly ServicePort[];
};

/** An address of a Service beside its cluster IPs. */
export type Frontend = {
  readonly ip: string;
  /** Prefixes that may use it; absent: all. */
  readonly sources?: readonly string[];
};

export type ServicePort = {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** The API server calls it by itself: a webhook, a conversion, an aggregated API. */
  readonly registered?: true;
  /** The same port on every node; absent: none. */
  readonly nodePort?: number;
  /** All that any node may choose: each decides for itself, by lib/servicenat/endpoints.ts. */
  readonly backends: readonly Backend[];
};

/** One address that answers. `node` is where it runs, "" when its EndpointSlice does not say. */
export type Backend = {
  readonly ip: string;
  readonly port: number;
  readonly node: string;
  /** It terminates and still serves: used only where no ready one is. Absent: it is ready. */
  readonly ending?: true;
  /** Topology hints: zones and nodes that should use it; absent: none. */
  readonly zones?: readonly string[];
  readonly nodes?: readonly string[];
};

/** Value by kind: the schema of the stream. */
export type Items = {
  readonly cluster: ClusterItem;
  readonly node: NodeItem;
  readonly network: NetworkItem;
  readonly namespace: NamespaceItem;
  readonly group: GroupItem;
  readonly profile: ProfileItem;
  readonly pod: PodItem;
  readonly block: BlockItem;
  readonly service: ServiceItem;
  readonly peer: PeerItem;
  readonly opening: OpeningItem;
  readonly source: SourceItem;
  readonly closed: ClosedItem;
};
export type ItemKind = keyof Items;
export const ITEM_KINDS = [
  'cluster',
  'node',
  'network',
  'namespace',
  // Before the pods that they are for: no pod may be attached without them.
  'group',
  'profile',
  'pod',
  'block',
  'service',
  'peer',
  'opening',
  'source',
  'closed',
] as const satisfies readonly ItemKind[];

/** All that one node knows: each kind's items by key. */
export type NodeConfig = { readonly [K in ItemKind]: ReadonlyMap<string, Items[K]> };

export type StreamEvent =
  | { readonly type: 'hello'; readonly epoch: number; readonly node: string }
  | {
      [K in ItemKind]: { readonly type: 'upsert'; readonly kind: K; readonly key: string; readonly value: Items[K] };
    }[ItemKind]
  | { readonly type: 'delete'; readonly kind: ItemKind; readonly key: string }
  | { readonly type: 'sync'; readonly revision: number }
  | { readonly type: 'ping' };

export function emptyNodeConfig(): { [K in ItemKind]: Map<string, Items[K]> } {
  return {
    cluster: new Map(),
    node: new Map(),
    network: new Map(),
    namespace: new Map(),
    group: new Map(),
    profile: new Map(),
    pod: new Map(),
    block: new Map(),
    service: new Map(),
    peer: new Map(),
    opening: new Map(),
    source: new Map(),
    closed: new Map(),
  };
}
