import { FLAT_NETWORK, NETWORK, readName } from '../../api/names.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { keyOf, type Network } from '../cluster/state.ts';
import { assignNamespace, isShared } from '../cluster/assign.ts';
import { readNamespace, readNetwork, readPod, readRouter } from '../cluster/read.ts';
import { readOpenings } from '../openings/openings.ts';
import { connectNetworks } from '../routers/connect.ts';
import { networksOf, serviceNetwork, type View } from '../cluster/view.ts';
import { planPod } from '../attach/interfaces.ts';
import { claimsOf } from '../ipam/claims.ts';
import { refusalsOfNew } from '../networks/grants.ts';

/** What the API server asks (admission.k8s.io/v1 AdmissionRequest), as far as it is read. */
export type AdmissionRequest = {
  readonly uid: string;
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';
  readonly resource: { readonly group: string; readonly resource: string };
  readonly namespace?: string;
  readonly name?: string;
  readonly object?: Readonly<Record<string, unknown>> | null;
  readonly oldObject?: Readonly<Record<string, unknown>> | null;
};

/** The answer. `warnings` are shown to whoever sent the object. */
export type AdmissionResponse = {
  readonly uid: string;
  readonly allowed: boolean;
  readonly status?: { readonly code: number; readonly reason: string; readonly message: string };
  readonly warnings?: readonly string[];
};

type Finding = { readonly refuse?: string; readonly warnings?: readonly string[] };

/** What can never come right by waiting. The others only make a pod wait, and are told as a warning. */
const HOPELESS = new Set([
  'NetworkNotShared',
  'InvalidAnnotation',
  'ConflictingNetworks',
  'AddressUnavailable',
  'ForeignNetwork',
]);

/**
 * Judges an object before it is stored: only what needs the state of the cluster. What an object alone tells is checked by the
 * CRDs and by ValidatingAdmissionPolicies. The agent judges again, so a webhook that is away opens nothing.
 */
export function reviewAdmission(view: View, request: AdmissionRequest): AdmissionResponse {
  const { refuse, warnings } = find(view, request);
  return {
    uid: request.uid,
    allowed: refuse === undefined,
    ...(refuse === undefined ? {} : { status: { code: 403, reason: 'Forbidden', message: refuse } }),
    ...(warnings && warnings.length > 0 ? { warnings } : {}),
  };
}

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
    default:
      return {};
  }
}

function reviewPod(view: View, request: AdmissionRequest): Finding {
  const pod = readPod({
    ...request.object,
    metadata: { ...(request.object?.['metadata'] as object), namespace: request.namespace ?? '' },
  });
  if (pod.hostNetwork) return {};
  const { problems } = readOpenings(pod.annotations);
  if (problems.length > 0) return { refuse: problems.join('; ') };
  // It has no uid yet: whoever has its addresses is somebody else.
  const { assignment } = planPod({ ...view.state, attached: new Map() }, pod, claimsOf(view.state)).first;
  if ('network' in assignment) return {};
  const { code, message } = assignment.problem;
  return HOPELESS.has(code) ? { refuse: message } : { warnings: [`the pod will wait: ${message}`] };
}

function reviewNamespace(view: View, request: AdmissionRequest): Finding {
  const namespace = readNamespace(request.object ?? {});
  const namespaces = new Map(view.state.namespaces).set(namespace.name, namespace);
  const named = readName(NETWORK, namespace.annotations);
  if (named.value === undefined || named.value === FLAT_NETWORK) return {};
  const assignment = assignNamespace({ ...view.state, namespaces }, namespace.name);
  return 'problem' in assignment ? { warnings: [`its pods will wait: ${assignment.problem.message}`] } : {};
}

function reviewNetwork(view: View, request: AdmissionRequest): Finding {
  const read = readNetwork(request.object ?? {});
  const network = { ...read, namespace: request.namespace ?? read.namespace };
  if (network.problems.length > 0) return { refuse: network.problems.join('; ') };
  const old = request.oldObject ? { ...readNetwork(request.oldObject), namespace: network.namespace } : undefined;
  const refused = [...refusalsOfNew(view.state, network, old), ...stranded(view, network)];
  if (refused.length > 0) return { refuse: refused.join('; ') };
  const warnings: string[] = [];
  for (const ref of network.spec?.services.allow ?? []) {
    const key = keyOf(ref);
    if (!view.state.services.has(key)) warnings.push(`spec.services.allow: Service ${key} does not exist yet`);
    else if (serviceNetwork(view, ref) !== FLAT_NETWORK)
      warnings.push(`spec.services.allow: Service ${key} is not on the flat network, so this opens nothing`);
  }
  const key = keyOf(network);
  const cut = new Set(
    podsOf(view, key)
      .map((p) => p.namespace)
      .filter((user) => user !== network.namespace && !isShared(view.state, network.spec?.sharedWith, user)),
  );
  for (const user of cut) {
    warnings.push(
      `namespace ${user} has pods on this network and is not in spec.sharedWith: they run on, new ones will be refused`,
    );
  }
  return { warnings };
}

/** Pods whose addresses would be in none of the network's subnets any more. Those that were never in one stay as they are. */
function stranded(view: View, network: Network): string[] {
  const key = keyOf(network);
  const before = view.state.networks.get(key)?.spec;
  const inside = (spec: Network['spec'], ip: string): boolean =>
    (spec?.subnets ?? []).some((s) => contains(mustPrefix(s), mustIp(ip)));
  const lost = podsOf(view, key).filter((p) => p.ips.some((ip) => inside(before, ip) && !inside(network.spec, ip)));
  if (lost.length === 0) return [];
  const names = lost.slice(0, 5).map((p) => `${keyOf(p)} (${p.ips.join(', ')})`);
  return [
    `spec.subnets: ${lost.length} pod(s) have addresses in a subnet that would go: ${names.join(', ')}${lost.length > 5 ? ', …' : ''}; delete them first, or keep the subnet`,
  ];
}

function reviewRouter(view: View, request: AdmissionRequest): Finding {
  const read = readRouter(request.object ?? {});
  const router = { ...read, namespace: request.namespace ?? read.namespace };
  if (router.problems.length > 0) return { refuse: router.problems.join('; ') };
  const key = keyOf(router);
  const after = connectNetworks({ ...view.state, routers: new Map(view.state.routers).set(key, router) }).routers.get(
    key,
  );
  const waits = (after?.pairs ?? []).filter((p) => p.state !== 'Open').map((p) => p.message);
  return { warnings: [...new Set([...(after?.missing ?? []), ...waits])].slice(0, 10) };
}

function reviewRemoval(view: View, request: AdmissionRequest): Finding {
  const users = podsOf(view, keyOf({ namespace: request.namespace ?? '', name: request.name ?? '' }));
  if (users.length === 0) return {};
  const names = users.slice(0, 5).map(keyOf).join(', ');
  return {
    warnings: [
      `${users.length} pod(s) are on this network: ${names}${users.length > 5 ? ', …' : ''}; it goes when they are gone, and takes no new ones`,
    ],
  };
}

const podsOf = (view: View, key: string) =>
  [...view.state.pods.values()].filter((p) => !p.hostNetwork && !p.finished && networksOf(view, p).includes(key));
