import {
  readEndpointSlice,
  readNamespace,
  readNetwork,
  readNode,
  readPod,
  readRouter,
  readService,
  readSettings,
} from '../../core/read/objects.ts';
import { readNetworkStatus } from '../../core/attach/status.ts';
import { policyKey } from '../../core/cluster/policy.ts';
import { parseClusterNetworkPolicy } from '../../core/read/cluster-network-policy.ts';
import { parseNetworkPolicy } from '../../core/read/network-policy.ts';
import { GROUP, VERSION } from '../../api/names.ts';
import { type ClusterState, emptyClusterState } from '../../core/cluster/state.ts';
import { core, type KubeObject, type Resource } from '../../lib/kube/client.ts';
import type { ClusterTarget } from '../target/target.ts';

/** The cluster as its API tells it, for questions that are answered offline: nothing of it comes from a kernel. */
export async function loadState(
  target: Pick<ClusterTarget, 'list' | 'podCIDRs' | 'serviceCIDRs'>,
): Promise<ClusterState> {
  const load = async <T>(resource: Resource, read: (o: KubeObject) => T): Promise<Map<string, T>> => {
    const { items } = await target.list(resource);
    return new Map(
      items.map((o) => [
        o.metadata.namespace === undefined ? o.metadata.name : `${o.metadata.namespace}/${o.metadata.name}`,
        read(o),
      ]),
    );
  };
  const ours = (plural: string): Resource => ({ group: GROUP, version: VERSION, plural });
  const optional = async <T>(resource: Resource, read: (o: KubeObject) => T): Promise<Map<string, T>> => {
    try {
      return await load(resource, read);
    } catch (error) {
      if ((error as { code?: string }).code === 'NotFound') return new Map(); // nobody has installed that kind
      throw error;
    }
  };
  const [namespaces, nodes, pods, networks, routers, services, slices, blocks, own, cluster, configs] =
    await Promise.all([
      load(core('namespaces'), readNamespace),
      load(core('nodes'), readNode),
      load(core('pods'), readPod),
      load(ours('virtualnetworks'), readNetwork),
      load(ours('virtualnetworkrouters'), readRouter),
      load(core('services'), readService),
      load({ group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' }, readEndpointSlice),
      load(
        ours('addressblocks'),
        (o) =>
          o['spec'] as { cidr: string; node: string; source?: string; network: { namespace?: string; name: string } },
      ),
      load({ group: 'networking.k8s.io', version: 'v1', plural: 'networkpolicies' }, parseNetworkPolicy),
      optional(
        { group: 'policy.networking.k8s.io', version: 'v1alpha2', plural: 'clusternetworkpolicies' },
        parseClusterNetworkPolicy,
      ),
      optional(ours('bulkheadconfigs'), readSettings),
    ]);
  const settings = configs.get('default');
  return {
    ...emptyClusterState,
    ...(settings ? { settings } : {}),
    namespaces,
    nodes,
    pods,
    networks,
    routers,
    services,
    slices,
    policies: new Map([...own.values(), ...cluster.values()].map((p) => [policyKey(p), p])),
    interfaces: new Map([...pods.values()].map((p) => [p.uid, readNetworkStatus(p)])),
    blocks: new Map(
      [...blocks.values()].map(({ cidr, node, network, source }) => [
        cidr,
        {
          cidr,
          node,
          network: network.namespace ? `${network.namespace}/${network.name}` : network.name,
          ...(source === 'Subnet' ? { given: true as const } : {}),
        },
      ]),
    ),
    podCIDRs: target.podCIDRs ?? [...nodes.values()].flatMap((n) => n.podCIDRs),
    serviceCIDRs: target.serviceCIDRs ?? (await serviceRanges(target)),
  };
}

/** Service ranges as the API tells them (since 1.33). */
async function serviceRanges(target: Pick<ClusterTarget, 'list'>): Promise<string[]> {
  try {
    const { items } = await target.list({ group: 'networking.k8s.io', version: 'v1', plural: 'servicecidrs' });
    return items.flatMap((o) => (o['spec'] as { cidrs?: string[] } | undefined)?.cidrs ?? []);
  } catch {
    return []; // an older cluster: such addresses are then taken for outside ones
  }
}
