import { FLAT_NETWORK } from '../../api/names.ts';
import type { Assignment, BlockItem, NetworkKey } from '../../api/nodeconfig.ts';
import { type Connections, connectNetworks, type RouterState } from '../routers/connect.ts';
import { type Claims, claimsOf, requestProblem } from '../ipam/claims.ts';
import { subnetConflicts } from '../networks/conflicts.ts';
import { assignNamespace, assignPod } from './assign.ts';
import { type ClusterState, type EndpointSlice, keyOf, type Pod, type Service } from './state.ts';

/** A ClusterState with what everybody asks of it, worked out once. Never changed after it is made. */
export type View = {
  readonly state: ClusterState;
  /** Network of each pod that has one, by "namespace/name". Host-network pods are not in it. */
  readonly podAssignment: ReadonlyMap<string, Assignment>;
  readonly namespaceAssignment: ReadonlyMap<string, Assignment>;
  /** Pods that need a network, by node. */
  readonly podsByNode: ReadonlyMap<string, readonly Pod[]>;
  readonly podByIp: ReadonlyMap<string, Pod>;
  readonly servicesByNetwork: ReadonlyMap<NetworkKey, readonly Service[]>;
  readonly slicesByService: ReadonlyMap<string, readonly EndpointSlice[]>;
  /** Networks that routers connect. */
  readonly connections: Connections;
  readonly routers: ReadonlyMap<string, RouterState>;
  readonly blocksByNetwork: ReadonlyMap<NetworkKey, readonly BlockItem[]>;
};

export function viewOf(read: ClusterState): View {
  const state = { ...read, conflicts: subnetConflicts(read) };
  const claims = claimsOf(state);
  const podAssignment = new Map<string, Assignment>();
  const podsByNode = new Map<string, Pod[]>();
  const podByIp = new Map<string, Pod>();
  for (const [key, pod] of state.pods) {
    if (pod.hostNetwork || pod.finished) continue;
    podAssignment.set(key, assignWithAddress(state, pod, claims));
    for (const ip of pod.ips) podByIp.set(ip, pod);
    if (pod.node !== '') push(podsByNode, pod.node, pod);
  }
  const namespaceAssignment = new Map([...state.namespaces.keys()].map((name) => [name, assignNamespace(state, name)]));
  const servicesByNetwork = new Map<NetworkKey, Service[]>();
  for (const service of state.services.values()) {
    const network = serviceNetwork(namespaceAssignment, service);
    if (network !== undefined) push(servicesByNetwork, network, service);
  }
  const slicesByService = new Map<string, EndpointSlice[]>();
  for (const slice of state.slices.values())
    push(slicesByService, keyOf({ namespace: slice.namespace, name: slice.service }), slice);
  const blocksByNetwork = new Map<NetworkKey, BlockItem[]>();
  for (const block of state.blocks.values()) push(blocksByNetwork, block.network, block);
  return {
    state,
    podAssignment,
    namespaceAssignment,
    podsByNode,
    podByIp,
    servicesByNetwork,
    slicesByService,
    blocksByNetwork,
    ...connectNetworks(state),
  };
}

/** A pod whose addresses cannot be had waits, as one whose network cannot. A pod that has them keeps them. */
export function assignWithAddress(state: ClusterState, pod: Pod, claims: Claims): Assignment {
  const assignment = assignPod(state, pod);
  if ('problem' in assignment || pod.ips.length > 0 || state.attached.has(pod.uid)) return assignment;
  const problem = requestProblem(state, assignment.network, pod, claims);
  return problem ? { problem } : assignment;
}

/**
 * The network that a Service belongs to: its namespace's. The Kubernetes API itself belongs to the flat network whatever
 * namespace `default` is on: what is behind it are hosts, and every network may need it.
 */
export function serviceNetwork(
  namespaceAssignment: View['namespaceAssignment'],
  service: { readonly namespace: string; readonly name: string },
): NetworkKey | undefined {
  if (keyOf(service) === 'default/kubernetes') return FLAT_NETWORK;
  const assignment = namespaceAssignment.get(service.namespace);
  return assignment && 'network' in assignment ? assignment.network : undefined;
}

/** The network of a pod, or undefined while it has none. */
export function networkOf(view: View, pod: Pick<Pod, 'namespace' | 'name'>): NetworkKey | undefined {
  const assignment = view.podAssignment.get(keyOf(pod));
  return assignment && 'network' in assignment ? assignment.network : undefined;
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
