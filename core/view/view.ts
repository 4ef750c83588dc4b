import { FLAT_NETWORK, NETWORK, readName } from '../../api/names.ts';
import type { Assignment, BlockItem, NetworkKey } from '../../api/nodeconfig.ts';
import { registeredPorts } from '../api-server/registered.ts';
import { type Connections, connectNetworks, type RouterState } from '../routers/connect.ts';
import { type PodPlan, planPod } from '../attach/interfaces.ts';
import { type Claims, claimsOf } from '../ipam/claims.ts';
import { grantsOf } from '../networks/grants.ts';
import { servedFrontends } from './frontends.ts';
import { assignNamed, assignNamespace } from '../networks/assign.ts';
import { type ClusterState, type EndpointSlice, keyOf, type Pod, type Service } from '../cluster/state.ts';

/** A ClusterState with its indexes, worked out once. Never changed after it is made. */
export type View = {
  readonly state: ClusterState;
  /** Network of each pod that has one, by "namespace/name". Host-network pods are not in it. */
  readonly podAssignment: ReadonlyMap<string, Assignment>;
  /** All interfaces that each pod is to have, by "namespace/name". */
  readonly plans: ReadonlyMap<string, PodPlan>;
  /** Addresses that pods have or ask for. */
  readonly claims: Claims;
  readonly namespaceAssignment: ReadonlyMap<string, Assignment>;
  /** Pods that need a network, by node. */
  readonly podsByNode: ReadonlyMap<string, readonly Pod[]>;
  readonly podByIp: ReadonlyMap<string, Pod>;
  /** Addresses of interfaces beside the first. */
  readonly extraByIp: ReadonlyMap<string, { readonly pod: Pod; readonly network: NetworkKey }>;
  readonly servicesByNetwork: ReadonlyMap<NetworkKey, readonly Service[]>;
  readonly slicesByService: ReadonlyMap<string, readonly EndpointSlice[]>;
  /** Networks that routers connect. */
  readonly connections: Connections;
  readonly routers: ReadonlyMap<string, RouterState>;
  readonly blocksByNetwork: ReadonlyMap<NetworkKey, readonly BlockItem[]>;
  /** Ports of Services that the API server calls by itself, by "namespace/name". */
  readonly registered: ReadonlyMap<string, ReadonlySet<number>>;
  /** Outer addresses that Services ask for and do not get, in words, by "namespace/name". */
  readonly unserved: ReadonlyMap<string, readonly string[]>;
};

export function viewOf(read: ClusterState): View {
  const granted = { ...read, ...grantsOf(read) };
  const namespaceAssignment = new Map(
    [...granted.namespaces.keys()].map((name) => [name, assignNamespace(granted, name)]),
  );
  const { services, unserved } = servedFrontends(granted, (s) =>
    serviceNetwork({ state: granted, namespaceAssignment }, s),
  );
  const state = { ...granted, services };
  const claims = claimsOf(state);
  const podAssignment = new Map<string, Assignment>();
  const plans = new Map<string, PodPlan>();
  const extraByIp = new Map<string, { pod: Pod; network: NetworkKey }>();
  const podsByNode = new Map<string, Pod[]>();
  const podByIp = new Map<string, Pod>();
  for (const [key, pod] of state.pods) {
    if (pod.hostNetwork || pod.finished) continue;
    const plan = planPod(state, pod, claims);
    plans.set(key, plan);
    podAssignment.set(key, plan.first.assignment);
    for (const ip of pod.ips) podByIp.set(ip, pod);
    for (const extra of state.interfaces?.get(pod.uid) ?? [])
      for (const ip of extra.ips) extraByIp.set(ip, { pod, network: extra.network });
    if (pod.node !== '') push(podsByNode, pod.node, pod);
  }
  const servicesByNetwork = new Map<NetworkKey, Service[]>();
  for (const service of state.services.values()) {
    const network = serviceNetwork({ state, namespaceAssignment }, service);
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
    plans,
    claims,
    extraByIp,
    namespaceAssignment,
    podsByNode,
    podByIp,
    servicesByNetwork,
    slicesByService,
    blocksByNetwork,
    registered: registeredPorts(state),
    unserved,
    ...connectNetworks(state),
  };
}

/**
 * The network that a Service belongs to: the one that its annotation names, or its namespace's. The Kubernetes API itself belongs
 * to the flat network whatever namespace `default` is on: what is behind it are hosts, and every network may need it.
 */
export function serviceAssignment(
  state: Pick<ClusterState, 'namespaces' | 'networks' | 'conflicts'>,
  namespaceAssignment: View['namespaceAssignment'],
  service: Pick<Service, 'namespace' | 'name' | 'annotations'>,
): Assignment | undefined {
  if (keyOf(service) === 'default/kubernetes') return { network: FLAT_NETWORK };
  const named = readName(NETWORK, service.annotations);
  if (named.value !== undefined) return assignNamed(state, service.namespace, named, `Service ${keyOf(service)}`);
  return namespaceAssignment.get(service.namespace);
}

/** The network of a Service that there is, or undefined while it has none. */
export function serviceNetwork(
  view: Pick<View, 'state' | 'namespaceAssignment'>,
  ref: { readonly namespace: string; readonly name: string },
): NetworkKey | undefined {
  const service = view.state.services.get(keyOf(ref)) ?? { ...ref, annotations: {} };
  const assignment = serviceAssignment(view.state, view.namespaceAssignment, service);
  return assignment && 'network' in assignment ? assignment.network : undefined;
}

/** Networks that a pod is on, or is to be on, with each of its interfaces. */
export function networksOf(view: View, pod: Pick<Pod, 'namespace' | 'name'>): NetworkKey[] {
  const plan = view.plans.get(keyOf(pod));
  return (plan ? [plan.first, ...plan.others] : []).flatMap(({ assignment }) =>
    'network' in assignment ? [assignment.network] : [],
  );
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

/** The pod that has an address, on any of its interfaces. */
export const podAt = (view: View, ip: string): Pod | undefined => view.extraByIp.get(ip)?.pod ?? view.podByIp.get(ip);
