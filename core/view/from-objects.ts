import { RESOURCES, type ResourceName } from '../../api/kinds/resources.ts';
import type { BlockItem } from '../../api/nodeconfig.ts';
import { formatPrefix, parsePrefix } from '../../lib/ip/prefix.ts';
import { policyKey } from '../cluster/policy.ts';
import { type ClusterState, emptyClusterState } from '../cluster/state.ts';
import { readApiService, readConversion, readWebhooks } from '../read/called-ports.ts';
import { parseClusterNetworkPolicy } from '../read/cluster-network-policy.ts';
import { readDefinition } from '../read/definition.ts';
import { parseNetworkPolicy } from '../read/network-policy.ts';
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
import { objectOf } from '../read/problems.ts';

/** An AddressBlock as it is in the API. */
export type StoredBlock = BlockItem & { readonly objectName: string };

/** How an object of each kind is read; undefined: it means nothing. */
export const READERS = {
  namespaces: readNamespace,
  nodes: readNode,
  pods: readPod,
  services: readService,
  endpointSlices: readEndpointSlice,
  networkPolicies: parseNetworkPolicy,
  virtualNetworks: readNetwork,
  virtualNetworkRouters: readRouter,
  addressBlocks: readBlock,
  bulkheadConfigs: readSettings,
  clusterNetworkPolicies: parseClusterNetworkPolicy,
  attachmentDefinitions: readDefinition,
  serviceCIDRs: readServiceCidr,
  validatingWebhooks: ifAny(readWebhooks),
  mutatingWebhooks: ifAny(readWebhooks),
  customResources: ifAny(readConversion),
  apiServices: ifAny(readApiService),
} as const satisfies Record<ResourceName, (raw: Raw) => unknown>;

/** Of each kind what is read of its objects, by "namespace/name" or name. */
export type ReadObjects = {
  readonly [N in ResourceName]: ReadonlyMap<string, NonNullable<ReturnType<(typeof READERS)[N]>>>;
};

/** Objects of no kind yet, to be filled by a list or a watch. */
export type ObjectMaps = { readonly [N in ResourceName]: Map<string, NonNullable<ReturnType<(typeof READERS)[N]>>> };

export const emptyObjects = (): ObjectMaps =>
  Object.fromEntries(Object.keys(RESOURCES).map((name) => [name, new Map()])) as unknown as ObjectMaps;

/** Ranges that flags give, where they go before what the API says. */
export type KnownRanges = { readonly podCIDRs?: readonly string[]; readonly serviceCIDRs?: readonly string[] };

/** The cluster as its objects describe it, before agents say anything. It refers to the maps: use it before they change. */
export function stateFromObjects(
  objects: ReadObjects,
  { podCIDRs = [], serviceCIDRs = [] }: KnownRanges,
): ClusterState {
  const settings = objects.bulkheadConfigs.get('default');
  return {
    ...emptyClusterState,
    ...(settings ? { settings } : {}),
    namespaces: objects.namespaces,
    nodes: objects.nodes,
    pods: objects.pods,
    networks: objects.virtualNetworks,
    routers: objects.virtualNetworkRouters,
    services: objects.services,
    slices: objects.endpointSlices,
    blocks: new Map([...objects.addressBlocks.values()].map((b) => [b.cidr, blockOf(b)])),
    policies: new Map(
      [...objects.networkPolicies.values(), ...objects.clusterNetworkPolicies.values()].map((p) => [policyKey(p), p]),
    ),
    definitions: objects.attachmentDefinitions,
    called: new Map(
      CALLERS.flatMap((kind) => [...objects[kind]].map(([name, ports]) => [`${kind} ${name}`, ports] as const)),
    ),
    podCIDRs: podCIDRs.length > 0 ? podCIDRs : [...objects.nodes.values()].flatMap((n) => n.podCIDRs),
    serviceCIDRs: serviceCIDRs.length > 0 ? serviceCIDRs : [...new Set([...objects.serviceCIDRs.values()].flat())],
  };
}

const CALLERS = ['validatingWebhooks', 'mutatingWebhooks', 'customResources', 'apiServices'] as const;

/** Without the name of its object. */
export function blockOf(stored: StoredBlock): BlockItem {
  const { objectName: _, ...block } = stored;
  return block;
}

function ifAny<T>(read: (raw: Raw) => readonly T[]): (raw: Raw) => readonly T[] | undefined {
  return (raw) => {
    const all = read(raw);
    return all.length > 0 ? all : undefined;
  };
}

function readServiceCidr(raw: Raw): readonly string[] {
  const { cidrs } = objectOf(raw['spec']);
  return (Array.isArray(cidrs) ? (cidrs as readonly unknown[]) : []).flatMap((c) => {
    const prefix = typeof c === 'string' ? parsePrefix(c) : undefined;
    return prefix ? [formatPrefix(prefix)] : [];
  });
}

function readBlock(raw: Raw): StoredBlock | undefined {
  const spec = objectOf(raw['spec']);
  const network = objectOf(spec['network']);
  const prefix = parsePrefix(String(spec['cidr'] ?? ''));
  const [node, name] = [spec['node'], network['name']];
  if (!prefix || typeof node !== 'string' || typeof name !== 'string') return undefined;
  const namespace = network['namespace'];
  return {
    objectName: String(objectOf(raw['metadata'])['name'] ?? ''),
    cidr: formatPrefix(prefix),
    node,
    network: typeof namespace === 'string' && namespace !== '' ? `${namespace}/${name}` : name,
    ...(spec['source'] === 'Subnet' ? { given: true as const } : {}),
  };
}
