import { ERROR_CODES } from '../../api/codes.ts';
import { DEFAULT_NETWORK_NAME, FLAT_NETWORK, FLAT_VNI } from '../../api/names.ts';
import type { BlockItem, NetworkKey, Problem } from '../../api/nodeconfig.ts';
import { crowdedOut, readOpenings } from '../../core/openings/openings.ts';
import type { StoredBlock } from '../../core/view/from-objects.ts';
import { isolation, isToBeIsolated } from '../../core/networks/assign.ts';
import type { RouterState } from '../../core/routers/connect.ts';
import {
  keyOf,
  type Network,
  type NodeCondition,
  type Pod,
  type Router,
  type Service,
  type Settings,
} from '../../core/cluster/state.ts';
import { networksOf, serviceAssignment, serviceNetwork, type View } from '../../core/view/view.ts';
import { isAllowed } from '../../core/services/allowed.ts';
import { servicesOverBudget } from '../../core/services/budget.ts';
import type { Policy } from '../../core/cluster/policy.ts';
import { usableIn } from '../../core/ipam/subnet-blocks.ts';
import { chooseHolder } from '../../core/egress/holder.ts';
import { subnetFamilies } from '../../core/read/network-problems.ts';
import { familyOf } from '../../lib/ip/address.ts';

/** One write that the controller owes the API. Pure data; `write.ts` carries it out. */
export type ApiWrite =
  | { readonly do: 'create-network'; readonly namespace: string; readonly egress: Settings['egress'] }
  | { readonly do: 'isolate-namespace'; readonly namespace: string; readonly uid: string }
  | { readonly do: 'isolating-since'; readonly since: boolean }
  | { readonly do: 'delete-network'; readonly network: Network }
  | { readonly do: 'release-network'; readonly network: Network }
  | {
      readonly do: 'network-status';
      readonly network: Network;
      readonly vni: number | undefined;
      readonly condition: NetworkCondition;
      readonly nodes: readonly string[];
      readonly used: number;
      readonly free: number;
      readonly egressNode: string | undefined;
      readonly hold: boolean;
    }
  | {
      readonly do: 'router-status';
      readonly router: Router;
      readonly state: RouterState;
      readonly condition: NetworkCondition;
    }
  /** The annotation by which a pod says what interfaces it has. */
  | { readonly do: 'pod-interfaces'; readonly pod: Pod; readonly value: string }
  | { readonly do: 'create-block'; readonly block: BlockItem }
  | { readonly do: 'delete-block'; readonly cidr: string; readonly objectName: string }
  | { readonly do: 'pod-problem'; readonly pod: Pod; readonly problem: Problem }
  | {
      readonly do: 'node-conditions';
      readonly node: string;
      readonly uid: string;
      readonly conditions: readonly NodeCondition[];
      /** Types whose status is another than before. */
      readonly turned: readonly string[];
    }
  | { readonly do: 'policy-status'; readonly policy: Policy; readonly condition: NetworkCondition }
  | { readonly do: 'policy-problem'; readonly policy: Policy; readonly reason: string; readonly message: string }
  | { readonly do: 'service-problem'; readonly service: Service; readonly problem: ServiceProblem }
  | { readonly do: 'namespace-problem'; readonly namespace: string; readonly uid: string; readonly problem: Problem };

export type ServiceProblem =
  | Problem
  | { readonly code: (typeof ERROR_CODES.service)[number]; readonly message: string };

export type NetworkCondition = { readonly status: 'True' | 'False'; readonly reason: string; readonly message: string };

/** Figures that only agents know, by network. */
export type Usage = { readonly used: number; readonly free: number; readonly faults: readonly string[] };

const LAST_VNI = 0xffffff;

/**
 * All that should be written, from what is.
 *
 * A VNI is given once and stays (it is in the object's status): the search starts behind the highest, so that one of a deleted
 * network is not given again at once, while nodes may still have its devices.
 */
export function planWrites(
  view: View,
  {
    stored,
    usage,
    reported,
    promised,
    returned,
    exhausted,
    alive,
  }: {
    readonly stored: ReadonlyMap<string, StoredBlock>;
    /** Assigned blocks that their nodes have done with, as "node cidr". */
    readonly returned: ReadonlySet<string>;
    /** Networks whose subnets are used up, and for whom. */
    readonly exhausted: ReadonlyMap<NetworkKey, string>;
    /** Nodes that may have egress addresses: their agents have spoken a moment ago. */
    readonly alive: ReadonlySet<string>;
    readonly usage: ReadonlyMap<NetworkKey, Usage>;
    readonly reported: ReadonlySet<string>;
    /** VNIs given by this leader, by uid of the network: a write may not have come back by watch yet. */
    readonly promised: ReadonlyMap<string, number>;
  },
): ApiWrite[] {
  return [
    ...namespaceDuties(view),
    ...networkDuties(view, { usage, reported, promised, exhausted, alive }),
    ...routerDuties(view),
    ...blockDuties(view, stored, returned),
  ];
}

/** What users should know: pods that wait, labels that mean nothing. */
export function planEvents(view: View): ApiWrite[] {
  return [...namespaceNews(view), ...podNews(view), ...serviceNews(view)];
}

function* namespaceDuties(view: View): Generator<ApiWrite> {
  for (const namespace of view.state.namespaces.values()) {
    if (namespace.deleting) continue;
    const isolated = isolation(namespace);
    if (
      'isolated' in isolated &&
      isolated.isolated &&
      !view.state.networks.has(`${namespace.name}/${DEFAULT_NETWORK_NAME}`)
    )
      yield { do: 'create-network', namespace: namespace.name, egress: view.state.settings?.egress ?? 'None' };
    if (isToBeIsolated(view.state.settings, namespace))
      yield { do: 'isolate-namespace', namespace: namespace.name, uid: namespace.uid };
  }
  const { settings } = view.state;
  // From the next second on: a namespace that is there when the switch is set must not change by it.
  if (settings && settings.isolateNew !== (settings.since !== undefined))
    yield { do: 'isolating-since', since: settings.isolateNew };
}

function* namespaceNews(view: View): Generator<ApiWrite> {
  for (const { name, uid, labels, deleting } of view.state.namespaces.values()) {
    const isolated = isolation({ name, labels });
    if ('problem' in isolated && !deleting)
      yield { do: 'namespace-problem', namespace: name, uid, problem: isolated.problem };
  }
}

function* networkDuties(
  view: View,
  {
    usage,
    reported,
    promised,
    exhausted,
    alive,
  }: {
    readonly usage: ReadonlyMap<NetworkKey, Usage>;
    readonly reported: ReadonlySet<string>;
    readonly promised: ReadonlyMap<string, number>;
    readonly exhausted: ReadonlyMap<NetworkKey, string>;
    readonly alive: ReadonlySet<string>;
  },
): Generator<ApiWrite> {
  const { networks, namespaces } = view.state;
  const taken = new Set<number>([FLAT_VNI, ...promised.values()]);
  for (const n of networks.values()) if (n.vni !== undefined) taken.add(n.vni);
  let next = Math.max(...taken) + 1;
  const nextVni = (): number | undefined => {
    for (let i = 0; i < LAST_VNI; i++, next++) {
      if (next > LAST_VNI) next = FLAT_VNI + 1;
      if (taken.has(next)) continue;
      taken.add(next);
      return next;
    }
    return undefined;
  };
  const usersOf = usersByNetwork(view);
  for (const [key, network] of networks) {
    const users = usersOf.get(key) ?? [];
    const namespace = namespaces.get(network.namespace);
    const isolated = namespace ? isolation(namespace) : { isolated: false };
    // A node that has not spoken since this controller began may have pods on the network that no annotation tells of.
    const idle = users.length === 0 && (view.blocksByNetwork.get(key) ?? []).every((b) => reported.has(b.node));
    if (network.deleting && idle) {
      yield { do: 'release-network', network };
      continue;
    }
    // The label is gone and no pod is left on the network that it asked for.
    if (network.managed && !network.deleting && idle && 'isolated' in isolated && !isolated.isolated) {
      yield { do: 'delete-network', network };
      continue;
    }
    const vni = network.vni ?? promised.get(network.uid) ?? (network.spec ? nextVni() : undefined);
    const { used = 0, free = 0, faults = [] } = usage.get(key) ?? {};
    const nodes = [...new Set([...(view.blocksByNetwork.get(key) ?? [])].map((b) => b.node))].sort();
    yield {
      do: 'network-status',
      network,
      vni,
      condition: conditionOf(view, network, vni, { users, faults, exhausted: exhausted.get(key) }),
      nodes,
      used,
      free: freeIn(network, used, free),
      // Addresses of another owner are on no node of this network's.
      egressNode: view.state.conflicts?.has(key) ? undefined : chooseHolder(network, view.state.nodes.values(), alive),
      hold: !network.deleting,
    };
  }
}

function* routerDuties(view: View): Generator<ApiWrite> {
  for (const [key, router] of view.state.routers) {
    const state = view.routers.get(key);
    if (state && !router.deleting)
      yield { do: 'router-status', router, state, condition: routerCondition(router, state) };
  }
}

function routerCondition(router: Router, { members, pairs, missing }: RouterState): NetworkCondition {
  if (!router.spec) return { status: 'False', reason: 'InvalidSpec', message: router.problems.join('; ') };
  const closed = pairs.filter((p) => p.state !== 'Open');
  const open = pairs.length - closed.length;
  if (missing.length === 0 && closed.length === 0) {
    const message =
      open > 0
        ? `${open} pair(s) of networks are connected`
        : `${members.length} member(s), nothing to connect them with`;
    return { status: 'True', reason: open > 0 ? 'Connected' : 'NothingToConnect', message };
  }
  const told = [...new Set([...missing, ...closed.map((p) => p.message)])];
  const more = told.length > 5 ? `; and ${told.length - 5} more` : '';
  const reason = closed.some((p) => p.state === 'Refused') ? 'Refused' : 'Waiting';
  return { status: 'False', reason, message: `${open} pair(s) open; ${told.slice(0, 5).join('; ')}${more}` };
}

function conditionOf(
  { state }: View,
  network: Network,
  vni: number | undefined,
  {
    users,
    faults,
    exhausted,
  }: { readonly users: readonly Pod[]; readonly faults: readonly string[]; readonly exhausted: string | undefined },
): NetworkCondition {
  if (network.deleting) {
    const names = users.slice(0, 5).map(keyOf).join(', ');
    return {
      status: 'False',
      reason: 'InUse',
      message: `is being deleted, and waits for ${users.length} pod(s): ${names}${users.length > 5 ? ', …' : ''}; delete them`,
    };
  }
  if (!network.spec) return { status: 'False', reason: 'InvalidSpec', message: network.problems.join('; ') };
  if (network.spec.addressing === 'Private') {
    const message = 'spec.addressing Private cannot be given by this version; remove it';
    return { status: 'False', reason: 'InvalidSpec', message };
  }
  const conflict = state.conflicts?.get(keyOf(network));
  if (conflict) return { status: 'False', ...conflict };
  if (vni === undefined)
    return { status: 'False', reason: 'NoIdentifierLeft', message: 'all 16 777 214 VNIs are in use; delete networks' };
  const less = state.limited?.get(keyOf(network));
  if (less) return { status: 'False', ...less };
  if (exhausted !== undefined) return { status: 'False', reason: 'AddressesExhausted', message: exhausted };
  if (faults.length > 0) return { status: 'False', reason: 'NodeFault', message: faults.join('; ') };
  return {
    status: 'True',
    reason: 'Realized',
    message: `VNI ${vni}; nodes hold it in the network namespace bh-${vni}`,
  };
}

/** What pods can still get: of subnets what is left of them, otherwise what is left in the nodes' blocks. */
function freeIn({ spec }: Network, used: number, inBlocks: number): number {
  const left = subnetFamilies(spec).map((family) => {
    const own = (spec?.subnets ?? []).filter((s) => familyOf(s) === family);
    return own.reduce((n, s) => n + usableIn(spec ?? {}, s), 0) - used;
  });
  return left.length === 0 ? inBlocks : Math.min(...left, MANY);
}

/** No need to count the addresses of a /64. */
const MANY = 2 ** 31 - 1;

function* blockDuties(
  view: View,
  stored: ReadonlyMap<string, StoredBlock>,
  returned: ReadonlySet<string>,
): Generator<ApiWrite> {
  const { blocks, nodes } = view.state;
  const kept = new Set<string>();
  const inUse = new Set(
    [...view.podsByNode].flatMap(([node, pods]) => pods.flatMap((p) => networksOf(view, p).map((n) => `${n} ${node}`))),
  );
  for (const { cidr, node, network, given, objectName } of stored.values()) {
    // A node that is gone may still run the pods that the API knows of: no other pod gets their addresses until they are gone.
    const wanted = given
      ? !returned.has(`${node} ${cidr}`) && (nodes.has(node) || inUse.has(`${network} ${node}`))
      : blocks.get(cidr)?.node === node && blocks.get(cidr)?.network === network && nodes.has(node);
    if (wanted) kept.add(cidr);
    else yield { do: 'delete-block', cidr, objectName };
  }
  for (const block of blocks.values())
    if (!kept.has(block.cidr) && !returned.has(`${block.node} ${block.cidr}`) && nodes.has(block.node))
      yield { do: 'create-block', block };
}

function* podNews(view: View): Generator<ApiWrite> {
  for (const [key, assignment] of view.podAssignment) {
    const pod = view.state.pods.get(key);
    // A network that is about to be made is no news.
    if (!pod) continue;
    if ('problem' in assignment && assignment.problem.code !== 'NetworkNotReady')
      yield { do: 'pod-problem', pod, problem: assignment.problem };
    const { problems, overBudget } = readOpenings(pod.annotations);
    const over = overBudget ?? crowdedOut(view, pod);
    if (over !== undefined)
      yield { do: 'pod-problem', pod, problem: { code: 'OverBudget', message: `pod ${key} opens nothing: ${over}` } };
    if (problems.length > 0) {
      const message = `pod ${key} opens nothing: ${problems.join('; ')}`;
      yield { do: 'pod-problem', pod, problem: { code: 'InvalidAnnotation', message } };
    }
  }
}

function* serviceNews(view: View): Generator<ApiWrite> {
  for (const [key, problems] of view.unserved) {
    const service = view.state.services.get(key);
    if (service)
      yield { do: 'service-problem', service, problem: { code: 'AddressNotServed', message: problems.join('; ') } };
  }
  for (const [key, over] of servicesOverBudget(view)) {
    const service = view.state.services.get(key);
    if (service && concernsInstances(view, service))
      yield {
        do: 'service-problem',
        service,
        problem: { code: 'OverBudget', message: `${over}; it is not reachable in networks of their own` },
      };
  }
  for (const service of view.state.services.values()) {
    if (Object.keys(service.annotations).length === 0) continue;
    const assignment = serviceAssignment(view.state, view.namespaceAssignment, service);
    if (assignment && 'problem' in assignment && assignment.problem.code !== 'NetworkNotReady')
      yield { do: 'service-problem', service, problem: assignment.problem };
  }
}

/** A Service that only the flat network has is kube-proxy's alone. */
function concernsInstances(view: View, service: Service): boolean {
  if (serviceNetwork(view, service) !== FLAT_NETWORK) return true;
  return [...view.state.networks.values()].some(({ spec }) => isAllowed(view, spec, service));
}

function usersByNetwork(view: View): Map<NetworkKey, Pod[]> {
  const users = new Map<NetworkKey, Pod[]>();
  for (const key of view.plans.keys()) {
    const pod = view.state.pods.get(key);
    if (!pod) continue;
    for (const network of new Set(networksOf(view, pod))) {
      if (network === FLAT_NETWORK) continue;
      const list = users.get(network);
      if (list) list.push(pod);
      else users.set(network, [pod]);
    }
  }
  return users;
}
