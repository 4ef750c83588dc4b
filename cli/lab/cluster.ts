import {
  readEndpointSlice,
  readNamespace,
  readNetwork,
  readNode,
  readPod,
  readService,
} from '../../core/cluster/read.ts';
import { GROUP, VERSION } from '../../api/names.ts';
import { type ClusterState, emptyClusterState } from '../../core/cluster/state.ts';
import { core, type KubeClient, type KubeObject, type Resource } from '../../lib/kube/client.ts';
import { POD_CIDR, families, SERVICE_CIDR, type LabSpec } from '../../lab/world/plan.ts';

/** The cluster as its API tells it, for questions that are answered offline: nothing of it comes from a kernel. */
export async function loadState(client: KubeClient, lab: LabSpec): Promise<ClusterState> {
  const load = async <T>(resource: Resource, read: (o: KubeObject) => T): Promise<Map<string, T>> => {
    const { items } = await client.list(resource);
    return new Map(
      items.map((o) => [
        o.metadata.namespace === undefined ? o.metadata.name : `${o.metadata.namespace}/${o.metadata.name}`,
        read(o),
      ]),
    );
  };
  const ours = (plural: string): Resource => ({ group: GROUP, version: VERSION, plural });
  const [namespaces, nodes, pods, networks, services, slices, blocks] = await Promise.all([
    load(core('namespaces'), readNamespace),
    load(core('nodes'), readNode),
    load(core('pods'), readPod),
    load(ours('virtualnetworks'), readNetwork),
    load(core('services'), readService),
    load({ group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' }, readEndpointSlice),
    load(
      ours('addressblocks'),
      (o) => o['spec'] as { cidr: string; node: string; network: { namespace?: string; name: string } },
    ),
  ]);
  const fs = families(lab.family);
  return {
    ...emptyClusterState,
    namespaces,
    nodes,
    pods,
    networks,
    services,
    slices,
    blocks: new Map(
      [...blocks.values()].map(({ cidr, node, network }) => [
        cidr,
        { cidr, node, network: network.namespace ? `${network.namespace}/${network.name}` : network.name },
      ]),
    ),
    podCIDRs: fs.map((f) => POD_CIDR[f]),
    serviceCIDRs: fs.map((f) => SERVICE_CIDR[f]),
  };
}
