import { overBudget } from '../../api/budgets.ts';
import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import { DEFAULT_NETWORK_NAME, FLAT_NETWORK, ISOLATED, NETWORK, readName } from '../../api/names.ts';
import type { Assignment, NetworkKey, Problem, ProblemCode } from '../../api/nodeconfig.ts';
import { matches } from '../cluster/selector.ts';
import type { ClusterState, Namespace, Pod, Settings } from '../cluster/state.ts';

/**
 * Which network a pod's first interface is on.
 *
 * Order: the pod's annotation, the namespace's annotation, the namespace's isolation label, the flat network. Whatever
 * cannot be understood is a problem and the pod waits: never a fall-back to a wider network.
 */
export function assignPod(
  state: Pick<ClusterState, 'namespaces' | 'networks' | 'attached' | 'settings' | 'conflicts'>,
  pod: Pick<Pod, 'namespace' | 'name' | 'uid' | 'annotations'>,
): Assignment {
  const attached = state.attached.get(pod.uid);
  if (attached !== undefined) return { network: attached };
  const own = readName(NETWORK, pod.annotations);
  if (own.value === undefined) return assignNamespace(state, pod.namespace);
  return assignNamed(state, pod.namespace, own, `pod ${pod.namespace}/${pod.name}`);
}

/** Which network the pods of a namespace get that name none themselves. */
export function assignNamespace(
  state: Pick<ClusterState, 'namespaces' | 'networks' | 'settings' | 'conflicts'>,
  name: string,
): Assignment {
  const namespace = state.namespaces.get(name);
  if (!namespace) return problem('NetworkNotReady', `namespace ${name} is not known yet`);
  const named = readName(NETWORK, namespace.annotations);
  if (named.value !== undefined) return assignNamed(state, name, named, `namespace ${name}`);
  const isolated = isolation(namespace);
  if ('problem' in isolated) return { problem: isolated.problem };
  // Until the controller has labelled it, a namespace that is to be isolated is on no network, rather than on the flat one.
  if (isToBeIsolated(state.settings, namespace))
    return problem('NetworkNotReady', `namespace ${name} is being isolated, as BulkheadConfig default says`);
  return isolated.isolated ? useNetwork(state, name, `${name}/${DEFAULT_NETWORK_NAME}`) : { network: FLAT_NETWORK };
}

/**
 * Whether the cluster's switch isolates this namespace: it was made after the switch was set, says nothing itself, and is no
 * exception. What is older never changes by it.
 */
export function isToBeIsolated(settings: Settings | undefined, namespace: Namespace): boolean {
  if (!settings?.isolateNew || settings.since === undefined || namespace.deleting) return false;
  if ((namespace.created ?? 0) <= settings.since) return false;
  const says = readName(ISOLATED, namespace.labels).value ?? readName(NETWORK, namespace.annotations).value;
  if (says !== undefined || settings.exceptNames.includes(namespace.name)) return false;
  const { exceptLabels } = settings;
  return !exceptLabels || !Object.entries(exceptLabels).every(([k, v]) => namespace.labels[k] === v);
}

/** What the isolation label of a namespace says. */
export function isolation(
  namespace: Pick<Namespace, 'name' | 'labels'>,
): { readonly isolated: boolean } | { readonly problem: Problem } {
  const label = readName(ISOLATED, namespace.labels);
  if (label.problem !== undefined)
    return problem('ConflictingNetworks', `namespace ${namespace.name}: ${label.problem}`);
  switch (label.value) {
    case undefined:
    case 'false':
      return { isolated: false };
    case 'true':
      return { isolated: true };
    default:
      return problem(
        'InvalidAnnotation',
        `namespace ${namespace.name}: label ${label.key} is "${label.value}"; write "true" or "false"`,
      );
  }
}

type NamedValue = ReturnType<typeof readName>;

/** What an annotation that names a network comes to. `owner` is whose it is, for the message. */
export function assignNamed(
  state: Pick<ClusterState, 'namespaces' | 'networks' | 'conflicts'>,
  namespace: string,
  named: NamedValue,
  owner: string,
): Assignment {
  const over = overBudget('annotationLength', named.value?.length ?? 0, 'characters');
  if (over !== undefined)
    return problem('OverBudget', `${owner}: annotation ${named.key} ${over}; write the name of one VirtualNetwork`);
  if (named.problem !== undefined) return problem('ConflictingNetworks', `${owner}: ${named.problem}`);
  const value = named.value ?? '';
  if (value === FLAT_NETWORK) return flatByName(state, namespace, owner, named.key);
  const parts = value.split('/');
  const valid = parts.length <= 2 && parts.every((p) => /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/.test(p));
  if (!valid) {
    return problem(
      'InvalidAnnotation',
      `${owner}: annotation ${named.key} is "${value}"; write "name" or "namespace/name" of one VirtualNetwork`,
    );
  }
  return useNetwork(state, namespace, parts.length === 2 ? value : `${namespace}/${value}`);
}

/** A pod of an isolated namespace may not step out of isolation by itself: that would need no consent. */
function flatByName(
  state: Pick<ClusterState, 'namespaces'>,
  namespace: string,
  owner: string,
  key: string,
): Assignment {
  const found = state.namespaces.get(namespace);
  const isolated = found ? isolation(found) : { isolated: true };
  if ('isolated' in isolated && !isolated.isolated) return { network: FLAT_NETWORK };
  return problem(
    'NetworkNotShared',
    `${owner}: annotation ${key} asks for the flat network, but namespace ${namespace} is isolated; remove the annotation or the isolation label`,
  );
}

/** Whether pods of namespace `user` may be on a network, and why not. */
export function useNetwork(
  state: Pick<ClusterState, 'namespaces' | 'networks' | 'conflicts'>,
  user: string,
  key: NetworkKey,
): Assignment {
  const network = state.networks.get(key);
  const [owner = '', name = ''] = key.split('/');
  if (!network || network.deleting) {
    return problem(
      'NetworkNotFound',
      `VirtualNetwork ${key} ${network ? 'is being deleted' : 'does not exist'}; create it, or change the annotation ${NETWORK.key}`,
    );
  }
  if (owner !== user && !isShared(state, network.spec?.sharedWith, user)) {
    return problem(
      'NetworkNotShared',
      `VirtualNetwork ${key} is not shared with namespace ${user}; its owner must add spec.sharedWith to virtualnetwork/${name} in namespace ${owner}`,
    );
  }
  if (!network.spec)
    return problem('NetworkNotReady', `VirtualNetwork ${key} is invalid: ${network.problems.join('; ')}`);
  if (network.spec.addressing === 'Private') {
    return problem(
      'UnsupportedNetwork',
      `VirtualNetwork ${key} asks for addressing Private, which this version cannot give; remove spec.addressing`,
    );
  }
  const conflict = state.conflicts?.get(key);
  if (conflict !== undefined)
    return problem('NetworkNotReady', `VirtualNetwork ${key} cannot be used: ${conflict.message}`);
  if (network.vni === undefined)
    return problem('NetworkNotReady', `VirtualNetwork ${key} has no VNI yet; the controller gives it one`);
  return { network: key };
}

/** Whether a network's owner lets the pods of namespace `user` attach. */
export function isShared(
  state: Pick<ClusterState, 'namespaces'>,
  selector: LabelSelector | undefined,
  user: string,
): boolean {
  return matches(selector, state.namespaces.get(user)?.labels ?? {});
}

function problem(code: ProblemCode, message: string): { readonly problem: Problem } {
  return { problem: { code, message } };
}
