import { FLAT_NETWORK, NETWORK, readName } from '../../api/names.ts';
import type { Problem } from '../../api/nodeconfig.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { printable } from '../../lib/text/printable.ts';
import { keyOf, type Network, type Pod } from '../cluster/state.ts';
import { assignNamespace, isShared } from '../networks/assign.ts';
import { readNamespace, readNetwork, readPod, readRouter } from '../read/objects.ts';
import { readOpenings } from '../openings/openings.ts';
import { connectNetworks } from '../routers/connect.ts';
import { networksOf, serviceNetwork, type View } from '../view/view.ts';
import { planPod } from '../attach/interfaces.ts';
import { parseInterfaces } from '../read/interfaces.ts';
import { readAddressRequest } from '../read/address-requests.ts';
import { refusalsOfNew } from '../networks/grants.ts';
import { refusedExternalIPs } from './external-ips.ts';
import { parseClusterNetworkPolicy } from '../read/cluster-network-policy.ts';
import { parseNetworkPolicy } from '../read/network-policy.ts';

/** What the API server asks (admission.k8s.io/v1 AdmissionRequest), as far as it is read. */
export type AdmissionRequest = {
  readonly uid: string;
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';
  readonly resource: { readonly group: string; readonly resource: string };
  readonly namespace?: string;
  readonly name?: string;
  readonly object?: Readonly<Record<string, unknown>> | null;
  readonly oldObject?: Readonly<Record<string, unknown>> | null;
  readonly userInfo?: AdmissionUser;
};

/** Who sent the object, as the API server says. */
export type AdmissionUser = {
  readonly username: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
};

/** The answer. `warnings` are shown to the user who sent the object. */
export type AdmissionResponse = {
  readonly uid: string;
  readonly allowed: boolean;
  readonly status?: { readonly code: number; readonly reason: string; readonly message: string };
  readonly warnings?: readonly string[];
};

/**
 * How much of the cluster an answer may tell. `Nothing`: the caller is not known to be the API server, so only what the object
 * alone says. `Own`: nothing about other namespaces and nodes but whether the object can be stored. `All`: the user may read
 * networks, pods and nodes of the whole cluster anyway.
 */
export type Sight = 'Nothing' | 'Own' | 'All';

/** `withheld`: with more sight, the answer would name more. */
export type Review = { readonly response: AdmissionResponse; readonly withheld: boolean };

type Finding = { readonly refuse?: readonly Told[]; readonly warnings?: readonly Told[] };
/** A sentence for callers that may see everything, and the one that other callers get; undefined: nothing. */
type Told = { readonly all: string; readonly own: string | undefined };
const plain = (text: string): Told => ({ all: text, own: text });

/** What can never come right by waiting. The others only make a pod wait, and are told as a warning. */
const HOPELESS = new Set([
  'NetworkNotShared',
  'InvalidAnnotation',
  'OverBudget',
  'ConflictingNetworks',
  'AddressUnavailable',
  'ForeignNetwork',
]);

/**
 * Judges an object before it is stored: only what needs the state of the cluster. What an object alone tells is checked by the
 * CRDs and by ValidatingAdmissionPolicies. The agent judges again, so a webhook that is away opens nothing.
 */
export function reviewAdmission(view: View, request: AdmissionRequest, sight: Sight): Review {
  const { refuse = [], warnings = [] } = sight === 'Nothing' ? findAlone(request) : find(view, request);
  const text = ({ all, own }: Told): string[] => (sight === 'All' ? [all] : own === undefined ? [] : [own]);
  const told = [...new Set(warnings.flatMap(text))].slice(0, MOST_WARNINGS).map(printable);
  const message = printable([...new Set(refuse.flatMap(text))].join('; ').slice(0, LONGEST));
  return {
    withheld: sight === 'Own' && [...refuse, ...warnings].some((t) => t.own !== t.all),
    response: {
      uid: request.uid,
      allowed: refuse.length === 0,
      ...(refuse.length === 0 ? {} : { status: { code: 403, reason: 'Forbidden', message } }),
      ...(told.length > 0 ? { warnings: told } : {}),
    },
  };
}

const MOST_WARNINGS = 10;
const LONGEST = 4_096;

function find(view: View, request: AdmissionRequest): Finding {
  switch (request.resource.resource) {
    case 'pods':
      return request.operation === 'CREATE' ? reviewPod(view, request) : {};
    case 'namespaces':
      return request.operation === 'DELETE' ? {} : reviewNamespace(view, request);
    case 'virtualnetworks':
      return request.operation === 'DELETE' ? reviewRemoval(view, request) : reviewNetwork(view, request);
    case 'virtualnetworkrouters':
      return request.operation === 'DELETE' ? {} : reviewRouter(view, request);
    case 'services':
      return request.operation === 'DELETE' ? {} : reviewService(view, request);
    case 'networkpolicies':
    case 'clusternetworkpolicies':
      return request.operation === 'DELETE' ? {} : reviewPolicy(request);
    default:
      return {};
  }
}

/** What can be said without a look at the cluster. */
function findAlone(request: AdmissionRequest): Finding {
  if (request.operation === 'DELETE') return {};
  switch (request.resource.resource) {
    case 'pods': {
      const pod = readPodOf(request);
      return pod.hostNetwork ? {} : { refuse: annotationProblems(pod).map(plain) };
    }
    case 'virtualnetworks':
      return { refuse: readNetwork(request.object ?? {}).problems.map(plain) };
    case 'virtualnetworkrouters':
      return { refuse: readRouter(request.object ?? {}).problems.map(plain) };
    case 'networkpolicies':
    case 'clusternetworkpolicies':
      return reviewPolicy(request);
    default:
      return {};
  }
}

/** Only what it costs: what cannot be read is the API server's to refuse. One that was there before may be edited. */
function reviewPolicy({ resource, object, oldObject }: AdmissionRequest): Finding {
  const parse = resource.resource === 'networkpolicies' ? parseNetworkPolicy : parseClusterNetworkPolicy;
  const { overBudget, problems } = parse(object ?? {});
  if (!overBudget) return {};
  const message = `${problems.join('; ')}: it would close the pods that it selects; write wider prefixes, ranges of ports, or several policies`;
  return oldObject && parse(oldObject).overBudget ? { warnings: [plain(message)] } : { refuse: [plain(message)] };
}

const readPodOf = (request: AdmissionRequest): Pod =>
  readPod({
    ...request.object,
    metadata: { ...(request.object?.['metadata'] as object), namespace: request.namespace ?? '' },
  });

function annotationProblems(pod: Pod): string[] {
  const read = [
    readOpenings(pod.annotations),
    readAddressRequest(pod.annotations),
    parseInterfaces(pod.annotations, pod.namespace),
  ];
  return read.flatMap(({ problems, overBudget }) => (overBudget === undefined ? problems : [overBudget]));
}

function reviewPod(view: View, request: AdmissionRequest): Finding {
  const pod = readPodOf(request);
  if (pod.hostNetwork) return {};
  const { problems, overBudget } = readOpenings(pod.annotations);
  if (overBudget !== undefined) return { refuse: [plain(`pod ${keyOf(pod)} would open nothing: ${overBudget}`)] };
  if (problems.length > 0) return { refuse: problems.map(plain) };
  // It has no uid yet: a pod that has its addresses is another one.
  const { assignment } = planPod({ ...view.state, attached: new Map() }, pod, view.claims).first;
  if ('network' in assignment) return {};
  const told = withoutOthers(assignment.problem, pod.namespace);
  return HOPELESS.has(assignment.problem.code)
    ? { refuse: [told] }
    : { warnings: [prefixed('the pod will wait: ', told)] };
}

function reviewNamespace(view: View, request: AdmissionRequest): Finding {
  const namespace = readNamespace(request.object ?? {});
  const namespaces = new Map(view.state.namespaces).set(namespace.name, namespace);
  const named = readName(NETWORK, namespace.annotations);
  if (named.value === undefined || named.value === FLAT_NETWORK) return {};
  const assignment = assignNamespace({ ...view.state, namespaces }, namespace.name);
  if (!('problem' in assignment)) return {};
  return { warnings: [prefixed('its pods will wait: ', withoutOthers(assignment.problem, namespace.name))] };
}

/** What a problem says to a user of a namespace: whether a network of another tenant exists is not its business. */
function withoutOthers({ code, message }: Problem, namespace: string): Told {
  const says = (own: string): Told => ({ all: message, own });
  switch (code) {
    case 'NetworkNotFound':
    case 'NetworkNotShared':
      if (message.startsWith(`VirtualNetwork ${namespace}/`) || !message.startsWith('VirtualNetwork '))
        return plain(message);
      return says(
        `the network that is named does not exist, or is not shared with namespace ${namespace}; ask its owner for spec.sharedWith`,
      );
    case 'NetworkNotReady':
      return says('its network is not ready yet, or not usable; the condition Ready of the VirtualNetwork says why');
    case 'AddressUnavailable':
      if (message.includes(`taken by pod ${namespace}/`)) return plain(message);
      return says('an address that is asked for is in none of the subnets of its network, reserved, or taken');
    case 'InvalidAnnotation':
    case 'OverBudget':
    case 'ConflictingNetworks':
    case 'UnsupportedNetwork':
    case 'ForeignNetwork':
      return plain(message);
  }
}

function reviewNetwork(view: View, request: AdmissionRequest): Finding {
  const read = readNetwork(request.object ?? {});
  const network = { ...read, namespace: request.namespace ?? read.namespace };
  if (network.problems.length > 0) return { refuse: network.problems.map(plain) };
  const old = request.oldObject ? { ...readNetwork(request.oldObject), namespace: network.namespace } : undefined;
  const refuse = [...refusalsOfNew(view.state, network, old).map(withoutOwner), ...stranded(view, network)];
  if (refuse.length > 0) return { refuse };
  const warnings: Told[] = [];
  for (const ref of network.spec?.services.allow ?? []) {
    const key = keyOf(ref);
    const field = `spec.services.allow: Service ${key}`;
    const own = `${field} is no Service of the flat network, so this opens nothing`;
    if (!view.state.services.has(key)) warnings.push({ all: `${field} does not exist yet`, own });
    else if (serviceNetwork(view, ref) !== FLAT_NETWORK)
      warnings.push({ all: `${field} is not on the flat network, so this opens nothing`, own });
  }
  const cut = new Set(
    podsOf(view, keyOf(network))
      .map((p) => p.namespace)
      .filter((user) => user !== network.namespace && !isShared(view.state, network.spec?.sharedWith, user)),
  );
  for (const user of cut)
    warnings.push({
      all: `namespace ${user} has pods on this network and is not in spec.sharedWith: they run on, new ones will be refused`,
      own: 'some namespace has pods on this network and is not in spec.sharedWith: they run on, new ones will be refused',
    });
  return { warnings };
}

function reviewService(view: View, { namespace = '', object, oldObject }: AdmissionRequest): Finding {
  return {
    refuse: refusedExternalIPs(view, namespace, object, oldObject).map(({ ip, why }) => ({
      all: why,
      own: why.includes('BulkheadConfig') ? why : `spec.externalIPs: ${ip} is an address that something else has`,
    })),
  };
}

/** Who has what a network would take is for those to know who see the whole cluster. */
function withoutOwner(problem: string): Told {
  const [, field] = /^(spec\.[\w.]+\[\d+\]: \S+) of network \S+ overlaps /.exec(problem) ?? [];
  return {
    all: problem,
    own: field === undefined ? problem : `${field} overlaps addresses that something else has; choose others`,
  };
}

/** Pods whose addresses would be in none of the network's subnets any more. Those that were never in one stay as they are. */
function stranded(view: View, network: Network): Told[] {
  const key = keyOf(network);
  const before = view.state.networks.get(key)?.spec;
  const inside = (spec: Network['spec'], ip: string): boolean =>
    (spec?.subnets ?? []).some((s) => contains(mustPrefix(s), mustIp(ip)));
  const lost = podsOf(view, key).filter((p) => p.ips.some((ip) => inside(before, ip) && !inside(network.spec, ip)));
  if (lost.length === 0) return [];
  const say = (pods: readonly Pod[], more: boolean): string =>
    `spec.subnets: ${more ? '' : `${pods.length} `}pod(s) have addresses in a subnet that would go: ${pods
      .slice(0, 5)
      .map((p) => `${keyOf(p)} (${p.ips.join(', ')})`)
      .join(', ')}${more || pods.length > 5 ? ', …' : ''}; delete them first, or keep the subnet`;
  const own = lost.filter((p) => p.namespace === network.namespace);
  return [{ all: say(lost, false), own: say(own, own.length < lost.length) }];
}

function reviewRouter(view: View, request: AdmissionRequest): Finding {
  const read = readRouter(request.object ?? {});
  const router = { ...read, namespace: request.namespace ?? read.namespace };
  if (router.problems.length > 0) return { refuse: router.problems.map(plain) };
  const key = keyOf(router);
  const after = connectNetworks({ ...view.state, routers: new Map(view.state.routers).set(key, router) }).routers.get(
    key,
  );
  const waits = (after?.pairs ?? []).filter((p) => p.state !== 'Open').map((p) => p.message);
  const own = 'something that it names is missing, or has not agreed: its condition Ready and status.pairs say what';
  return { warnings: [...new Set([...(after?.missing ?? []), ...waits])].map((all) => ({ all, own })) };
}

function reviewRemoval(view: View, request: AdmissionRequest): Finding {
  const namespace = request.namespace ?? '';
  const users = podsOf(view, keyOf({ namespace, name: request.name ?? '' }));
  if (users.length === 0) return {};
  const say = (pods: readonly Pod[], more: boolean): string =>
    `${more ? '' : `${pods.length} `}pod(s) are on this network: ${pods.slice(0, 5).map(keyOf).join(', ')}${more || pods.length > 5 ? ', …' : ''}; it goes when they are gone, and takes no new ones`;
  const own = users.filter((p) => p.namespace === namespace);
  return { warnings: [{ all: say(users, false), own: say(own, own.length < users.length) }] };
}

const prefixed = (start: string, { all, own }: Told): Told => ({
  all: start + all,
  own: own === undefined ? undefined : start + own,
});

const podsOf = (view: View, key: string) =>
  [...view.state.pods.values()].filter((p) => !p.hostNetwork && !p.finished && networksOf(view, p).includes(key));
