import { readName, NETWORK, NETWORKS } from '../../api/names.ts';
import type { Assignment, InterfaceItem, NetworkKey, Problem, ProblemCode } from '../../api/nodeconfig.ts';
import { assignNamespace, assignPod, useNetwork } from '../networks/assign.ts';
import { type ClusterState, keyOf, type Pod } from '../cluster/state.ts';
import { type Claims, requestProblem } from '../ipam/claims.ts';
import { readAddressRequest } from '../read/address-requests.ts';
import { type InterfaceRequest, parseInterfaces } from '../read/interfaces.ts';

/** All that a pod gets: its first interface, the others in their order, and the first reason why it must wait. */
export type PodPlan = { readonly first: InterfaceItem; readonly others: readonly InterfaceItem[] };

type State = Pick<
  ClusterState,
  'namespaces' | 'networks' | 'attached' | 'settings' | 'conflicts' | 'definitions' | 'blocks' | 'multus' | 'interfaces'
>;

/**
 * The interfaces of a pod. One that cannot be had makes the pod wait: half a pod would be a pod whose traffic takes another way
 * than its owner thinks. A pod that has its interfaces keeps them.
 */
export function planPod(state: State, pod: Pod, claims: Claims): PodPlan {
  const request = readAddressRequest(pod.annotations);
  const { interfaces, problems, overBudget } = parseInterfaces(pod.annotations, pod.namespace);
  const wired = pod.ips.length > 0 || state.attached.has(pod.uid);
  const others = interfaces.flatMap((r) => planOther(state, pod, r, claims, wired) ?? []);
  const first = assignPod(state, pod);
  const own = { ifname: 'eth0', ...wanted(request) };
  if (wired || 'problem' in first) return { first: { ...own, assignment: first }, others };
  const over = overBudget ?? request.overBudget;
  const problem =
    (over === undefined ? undefined : say('OverBudget', `pod ${keyOf(pod)}: ${over}; ask for less`).problem) ??
    (problems.length > 0 ? say('InvalidAnnotation', `pod ${keyOf(pod)}: ${problems.join('; ')}`).problem : undefined) ??
    askedTwice([request.ips, ...interfaces.map((i) => i.ips)], pod) ??
    (request.problems.length > 0
      ? say('InvalidAnnotation', `pod ${keyOf(pod)}: ${request.problems.join('; ')}`).problem
      : undefined) ??
    requestProblem(state, first.network, pod, request.ips, claims) ??
    others.map((o) => ('problem' in o.assignment ? o.assignment.problem : undefined)).find((p) => p !== undefined);
  return { first: { ...own, assignment: problem ? { problem } : first }, others };
}

/** Tells on which networks pods are to be by what their objects say now, whatever they are attached to. */
export class AskedNetworks {
  readonly #state: State;
  readonly #byNamespace = new Map<string, readonly NetworkKey[]>();

  constructor(state: Pick<State, 'namespaces' | 'networks' | 'settings' | 'definitions' | 'multus'>) {
    this.#state = { ...state, attached: new Map(), blocks: new Map() };
  }

  /** The network of a namespace's pods that name none themselves; none when they must wait. */
  ofNamespace(name: string): readonly NetworkKey[] {
    const known = this.#byNamespace.get(name) ?? networkIn(assignNamespace(this.#state, name));
    this.#byNamespace.set(name, known);
    return known;
  }

  ofPod(pod: Pod): readonly NetworkKey[] {
    const named = NETWORK.aliases.some((a) => a in pod.annotations) || NETWORK.key in pod.annotations;
    const first = named ? networkIn(assignPod(this.#state, pod)) : this.ofNamespace(pod.namespace);
    if (pod.annotations[NETWORKS] === undefined) return first;
    const { interfaces } = parseInterfaces(pod.annotations, pod.namespace);
    const others = interfaces.map((r) => resolve(this.#state, pod, r));
    return [...first, ...others.flatMap((a) => (a ? networkIn(a) : []))];
  }
}

const networkIn = (a: Assignment): NetworkKey[] => ('network' in a ? [a.network] : []);

/** Undefined: Multus makes it, on a node that has Multus. */
function planOther(
  state: State,
  pod: Pod,
  request: InterfaceRequest,
  claims: Claims,
  wired: boolean,
): InterfaceItem | undefined {
  const item = { ifname: request.ifname, ...wanted(request) };
  const real = state.interfaces?.get(pod.uid)?.find((i) => i.ifname === request.ifname);
  if (real) return { ...item, assignment: { network: real.network } };
  const found = resolve(state, pod, request);
  if (found === undefined) return undefined;
  if ('problem' in found) return { ...item, assignment: found };
  const problem = wired ? undefined : requestProblem(state, found.network, pod, request.ips, claims);
  return { ...item, assignment: problem ? { problem } : found };
}

function resolve(state: State, pod: Pod, { namespace, name }: InterfaceRequest): Assignment | undefined {
  const key = `${namespace}/${name}`;
  const definition = state.definitions?.get(key);
  if (state.networks.has(key) || !definition) return usable(state, pod, key);
  if (definition.network !== undefined) return usable(state, pod, definition.network);
  const { multus } = state;
  if (pod.node === '' ? (multus?.size ?? 0) > 0 : multus?.has(pod.node)) return undefined;
  return say(
    'ForeignNetwork',
    `pod ${keyOf(pod)}: NetworkAttachmentDefinition ${key} is for the plugin ${definition.plugin}, which Bulkhead does not run; install Multus, or take it out of the annotation ${NETWORKS}`,
  );
}

/** An extra interface is found by its network's prefixes, so the network must have some. */
function usable(state: State, pod: Pod, key: NetworkKey): Assignment {
  const assignment = useNetwork(state, pod.namespace, key);
  if ('problem' in assignment) return assignment;
  if (state.networks.get(key)?.spec?.subnets?.length) return assignment;
  return say(
    'UnsupportedNetwork',
    `pod ${keyOf(pod)}: VirtualNetwork ${key} has no spec.subnets, by which a pod knows what to send out of an extra interface; give it a subnet, or make it the pod's first network (${readName(NETWORK, {}).key})`,
  );
}

/** An address is one interface's; said here, since the node would only find it taken by the pod itself. */
function askedTwice(asked: readonly (readonly string[])[], pod: Pod): Problem | undefined {
  const seen = new Set<string>();
  const twice = asked.flat().filter((ip) => {
    const again = seen.has(ip);
    seen.add(ip);
    return again;
  });
  if (twice.length === 0) return undefined;
  const addresses = [...new Set(twice)].join(', ');
  return say('InvalidAnnotation', `pod ${keyOf(pod)}: address ${addresses} is asked for by two of its interfaces`)
    .problem;
}

const wanted = ({ ips, mac }: { readonly ips: readonly string[]; readonly mac: string | undefined }) => ({
  ...(ips.length > 0 ? { ips } : {}),
  ...(mac === undefined ? {} : { mac }),
});

const say = (code: ProblemCode, message: string): { readonly problem: Problem } => ({ problem: { code, message } });
