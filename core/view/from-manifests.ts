import { DEFAULT_NETWORK_NAME } from '../../api/names.ts';
import { formatIp } from '../../lib/ip/address.ts';
import { type Policy, policyKey } from '../cluster/policy.ts';
import { parsePolicy } from '../read/policy.ts';
import { isolation } from '../networks/assign.ts';
import {
  type Raw,
  readEndpointSlice,
  readNamespace,
  readNetwork,
  readNode,
  readPod,
  readRouter,
  readService,
  readSettings,
} from '../read/objects.ts';
import {
  type ClusterState,
  emptyClusterState,
  keyOf,
  type Namespace,
  type Network,
  type Pod,
} from '../cluster/state.ts';

/**
 * A cluster as manifests describe it, with nobody asked: bare pods, and for each workload one pod like those that it would have,
 * by the workload's name. A pod whose address no manifest tells has one of 0.0.0.0/8 and of ::/96, which only the prefix of
 * everything holds.
 */
export function stateOfManifests(objects: readonly Raw[]): ClusterState {
  const of = (...kinds: string[]): Raw[] => objects.filter((o) => kinds.includes(String(o['kind'])));
  const pods = [...of('Pod'), ...objects.flatMap(podOfWorkload)].map((raw) => readPod(withDefaults(raw)));
  const unique = byKey(pods);
  const policies = objects.flatMap((o): Policy[] => {
    const policy = parsePolicy(o['kind'] === 'NetworkPolicy' ? withDefaults(o) : o);
    return policy ? [policy] : [];
  });
  const named = of('Namespace').map(readNamespace);
  const services = of('Service').map((o) => readService(withDefaults(o)));
  const networks = of('VirtualNetwork').map((o) => readNetwork(withDefaults(o)));
  const mentioned = [...unique.values(), ...services, ...networks].map((o) => o.namespace);
  const namespaces = new Map(named.map((n) => [n.name, n]));
  for (const name of mentioned) if (!namespaces.has(name)) namespaces.set(name, plainNamespace(name));
  const settings = of('BulkheadConfig')
    .map(readSettings)
    .find((c) => c !== undefined);
  return {
    ...emptyClusterState,
    ...(settings ? { settings } : {}),
    namespaces,
    nodes: new Map(
      of('Node')
        .map(readNode)
        .map((n) => [n.name, n]),
    ),
    pods: new Map([...unique].map(([key, pod], i) => [key, withAddresses(pod, i)])),
    networks: numbered([...networks, ...ownNetworks(namespaces.values(), networks)]),
    routers: byKey(of('VirtualNetworkRouter').map((o) => readRouter(withDefaults(o)))),
    services: byKey(services),
    slices: byKey(of('EndpointSlice').map((o) => readEndpointSlice(withDefaults(o)))),
    policies: new Map(policies.map((p) => [policyKey(p), p])),
    podCIDRs: [],
  };
}

/** Whether an address stands for one that no manifest tells. */
export const isUnknownAddress = (ip: string): boolean =>
  ip.startsWith('0.') || /^::[0-9a-f]{1,4}:[0-9a-f]{1,4}$/.test(ip);

const TEMPLATES: Readonly<Record<string, readonly string[]>> = {
  Deployment: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  ReplicationController: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  Job: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
};

function podOfWorkload(raw: Raw): Raw[] {
  const path = TEMPLATES[String(raw['kind'])];
  if (!path) return [];
  // What a Deployment made is in the same list when it was taken from a cluster.
  if (object(raw['metadata'])['ownerReferences'] !== undefined) return [];
  const template = path.reduce((o, field) => object(o[field]), raw);
  const { name, namespace } = object(raw['metadata']);
  return [{ kind: 'Pod', metadata: { ...object(template['metadata']), name, namespace }, spec: template['spec'] }];
}

function withDefaults(raw: Raw): Raw {
  const meta = object(raw['metadata']);
  const namespace = meta['namespace'] ?? 'default';
  const uid = meta['uid'] ?? `${String(raw['kind'])} ${String(namespace)}/${String(meta['name'])}`;
  return { ...raw, metadata: { ...meta, namespace, uid } };
}

function withAddresses(pod: Pod, i: number): Pod {
  if (pod.ips.length > 0) return pod;
  const value = BigInt(i + 1) + 0x10000n; // "::1" is somebody
  return { ...pod, ips: [formatIp({ family: 4, value }), formatIp({ family: 6, value })] };
}

const plainNamespace = (name: string): Namespace => readNamespace({ metadata: { name, uid: name } });

/** The network of each isolated namespace, which the controller would make. */
function ownNetworks(namespaces: Iterable<Namespace>, known: readonly Network[]): Network[] {
  return [...namespaces].flatMap((n) => {
    const isolated = isolation(n);
    const there = known.some((k) => k.namespace === n.name && k.name === DEFAULT_NETWORK_NAME);
    if (there || !('isolated' in isolated) || !isolated.isolated) return [];
    return [
      readNetwork({ metadata: { namespace: n.name, name: DEFAULT_NETWORK_NAME, uid: `${n.name}/default` }, spec: {} }),
    ];
  });
}

const byKey = <T extends { readonly namespace: string; readonly name: string }>(all: readonly T[]): Map<string, T> =>
  new Map(all.map((o) => [keyOf(o), o]));

const numbered = (networks: readonly Network[]): Map<string, Network> =>
  new Map(networks.map((n, i) => [keyOf(n), { ...n, vni: n.vni ?? i + 2 }]));

const object = (value: unknown): Raw => (typeof value === 'object' && value !== null ? (value as Raw) : {});
