/**
 * How much one object, and all objects of one tenant together, may ask of the programs of Bulkhead. Every number that bounds what
 * users write is here, with its reason.
 *
 * The controller and the agents serve all tenants on one thread each, so an object must cost little to read, and what it makes in a
 * kernel must be small. Beyond a budget that object alone fails closed, before anything else of it is read. Measured on 2 cores
 * (`make bench-budgets`): an element of a kernel map costs an agent some 20 µs in steps, of which 2 to 3 µs are in the one transaction where
 * nothing else can have its turn; a chain costs 100 µs in steps, and a set with a name more, the more there are.
 */
export const BUDGETS = {
  /**
   * Characters of each annotation of ours. Kubernetes lets all annotations of an object have 256 kB; the longest that makes sense
   * names 16 interfaces in JSON, some 3 kB.
   */
  annotationLength: 4_096,
  /** Characters of `k8s.v1.cni.cncf.io/network-status`, which the controller writes: 17 interfaces of some 400 characters. */
  networkStatusLength: 16_384,
  /** Interfaces of a pod beside the first. Each is a link, made one after the other while the runtime waits. */
  interfaces: 16,
  /** Ranges in `bulkhead.dev/open-ports`. */
  openPorts: 64,
  /** Namespaces in `bulkhead.dev/open-to`. */
  openNamespaces: 32,
  /** Elements of kernel sets for the openings of one pod: namespaces × ports, where a range of up to 8 ports counts each port. */
  openingElements: 2_048,
  /** The same for all pods of one network on one node. */
  networkOpeningElements: 16_384,

  /** Rules of a policy, both directions together. */
  policyRules: 128,
  /** Peers of a NetworkPolicy, in all rules together. Each that selects pods is compared with all pods. */
  policyPeers: 512,
  /** Prefixes of a policy: CIDRs, and what is left out of them. */
  policyPrefixes: 1_024,
  /** Prefixes of a policy once what they leave out is cut from them: a hole leaves one for each bit that it is longer. */
  policyRanges: 8_192,
  /** Ports and ranges of a policy, in all rules together. */
  policyPorts: 1_024,
  /** Keys and values in selectors of a policy. */
  policySelectorTerms: 2_048,
  /** Elements of kernel maps that a policy makes by itself: peers × ports, where a range of up to 8 ports counts each port. */
  policyCells: 4_096,
  /** NetworkPolicies of a namespace: each is compared with each of its pods. */
  namespacePolicies: 256,
  /** Peers of all NetworkPolicies of a namespace; a rule for all peers has one. Each rule is a chain and a counter where its pods are. */
  namespacePolicyPeers: 2_048,
  /** Prefixes of all NetworkPolicies of a namespace, once what they leave out is cut from them: all of them change in one transaction. */
  namespacePolicyRanges: 8_192,
  /**
   * Pods that the peers of all NetworkPolicies of a namespace select, those of equal peers once: each is an address, or two, that agents are told.
   * Policies may name every pod of a cluster of 10 000 in a dozen different ways.
   */
  namespacePolicyMembers: 131_072,
  /** Elements of kernel maps for all policies that select one pod: the peers of one meet the ports of another. */
  profileCells: 8_192,
  /** Elements of kernel maps for all policies of a namespace on one node, pods that differ in their policies counted apart. */
  namespaceCells: 12_288,

  /** Ports of a Service. Each makes chains for each of its addresses. */
  servicePorts: 256,
  /** Ports × endpoints × addresses of a Service: elements of kernel maps in each network that has it. */
  serviceElements: 16_384,
  /** Services of a namespace. */
  namespaceServices: 2_048,
  /** Ports of all Services of a namespace: each is a chain for each family, and chains go through nft's parser. */
  namespaceServicePorts: 2_048,
  /** Ports × endpoints × addresses of all Services of a namespace that have session affinity: each is a set with a name. */
  namespaceAffinityElements: 2_048,
  /** Ports × endpoints × addresses of all Services of a namespace. */
  namespaceServiceElements: 65_536,

  /** Elements of kernel sets for `egress.allow`: disjoint prefixes × ports. */
  egressElements: 4_096,

  /** Networks that one router connects: pairs are their square. */
  routerMembers: 64,
  /** Routers that one router imports, selectors included. */
  routerImports: 64,
  /** Pairs of networks of one router, inside and with all that it imports: a mesh of 64 networks has 2 016. */
  routerPairs: 2_048,
  /** Routers of a namespace. */
  namespaceRouters: 64,
  /** Pairs of networks of all routers of a namespace. */
  namespaceRouterPairs: 4_096,
} as const;

export type Budget = keyof typeof BUDGETS;

/** In words why something is over its budget: "has 17 interfaces, and the budget interfaces allows 16"; undefined when it is not. */
export function overBudget(budget: Budget, count: number, what: string): string | undefined {
  const most = BUDGETS[budget];
  return count <= most ? undefined : `has ${count} ${what}, and the budget ${budget} allows ${most}`;
}
