import { type KindOfObject, RESOURCES, type ResourceName } from '../../api/kinds/resources.ts';
import { readNetworkStatus } from '../../core/attach/status.ts';
import type { ClusterState } from '../../core/cluster/state.ts';
import { withLinks } from '../../core/nodes/links.ts';
import { emptyObjects, READERS, stateFromObjects } from '../../core/view/from-objects.ts';
import type { KubeObject } from '../../lib/kube/client.ts';
import type { ClusterTarget } from '../target/target.ts';
import { warn } from '../terminal/output.ts';

/** What names Services that the API server calls: it matters only where a switch says `Registered`, and can be large. */
const CALLERS: readonly ResourceName[] = ['validatingWebhooks', 'mutatingWebhooks', 'customResources', 'apiServices'];

type Target = Pick<ClusterTarget, 'list' | 'podCIDRs' | 'serviceCIDRs' | 'nodeAddresses'>;

/**
 * The cluster as its API describes it: the same kinds, read in the same way, as the controller follows.
 *
 * @param nodeAddresses also ask the nodes which addresses they have beside those that the API knows
 */
export async function loadState(
  target: Target,
  { nodeAddresses = false }: { readonly nodeAddresses?: boolean } = {},
): Promise<ClusterState> {
  const objects = emptyObjects();
  const load = async (name: ResourceName): Promise<void> => {
    const map = objects[name] as Map<string, unknown>;
    for (const o of await list(target, RESOURCES[name])) {
      const { namespace, name: own } = o.metadata;
      const value = READERS[name](o);
      if (value !== undefined) map.set(namespace === undefined ? own : `${namespace}/${own}`, value);
    }
  };
  const names = (Object.keys(RESOURCES) as ResourceName[]).filter((n) => !CALLERS.includes(n));
  await Promise.all(names.map(load));
  const asked = [...objects.bulkheadConfigs.values(), ...[...objects.virtualNetworks.values()].map((n) => n.spec)];
  if (asked.some((s) => s?.apiServerAccess === 'Registered')) await Promise.all(CALLERS.map(load));
  const state = stateFromObjects(objects, target);
  const interfaces = new Map([...state.pods.values()].map((p) => [p.uid, readNetworkStatus(p)]));
  const nodes = nodeAddresses ? await withNodeAddresses(state, target) : state.nodes;
  return { ...state, nodes, interfaces };
}

/** What cannot be listed of a kind that a cluster may lack, or its user may not see, counts as none. */
async function list(target: Target, resource: KindOfObject): Promise<readonly KubeObject[]> {
  try {
    return (await target.list(resource)).items;
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    if (!resource.optional || (code !== 'NotFound' && code !== 'Forbidden')) throw error;
    if (code === 'Forbidden') warn(`warning: ${resource.plural} count as none: ${message}`);
    return [];
  }
}

async function withNodeAddresses(state: ClusterState, target: Target): Promise<ClusterState['nodes']> {
  if (!target.nodeAddresses) return state.nodes;
  try {
    const known = await target.nodeAddresses([...state.nodes.keys()]);
    return new Map([...state.nodes].map(([name, n]) => [name, withLinks(n, known.get(name) ?? [], state)]));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    warn(
      `warning: only addresses of nodes that the API knows count as nodes, since the agents could not be asked: ${why}`,
    );
    return state.nodes;
  }
}
