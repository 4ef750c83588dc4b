import { GROUP, VERSION } from '../../api/names.ts';
import { BULKHEAD_READY, NETWORK_UNAVAILABLE } from '../../core/nodes/conditions.ts';
import { core, type KubeObject } from '../../lib/kube/client.ts';
import type { ClusterTarget } from '../target/target.ts';

/** What `bulkhead status` shows. */
export type ClusterStatus = {
  readonly cluster: string;
  readonly controller: { readonly leader: string; readonly epoch: number; readonly url: string };
  readonly components: readonly {
    readonly name: string;
    readonly node: string;
    readonly ready: boolean;
    readonly restarts: number;
  }[];
  readonly nodes: readonly {
    readonly name: string;
    readonly network: string;
    readonly ready: string;
    readonly reason: string;
    readonly message: string;
  }[];
  readonly networks: readonly {
    readonly name: string;
    readonly vni: number | undefined;
    readonly ready: string;
    readonly reason: string;
    readonly used: number;
    readonly free: number;
    readonly nodes: number;
  }[];
  readonly healthy: boolean;
};

type Conditions = {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}[];
const statusOf = (o: KubeObject): Record<string, unknown> => (o['status'] ?? {}) as Record<string, unknown>;
const conditionsOf = (o: KubeObject): Conditions => (statusOf(o)['conditions'] ?? []) as Conditions;

/** Gathers it from the API. */
export async function clusterStatus(target: ClusterTarget): Promise<ClusterStatus> {
  const [pods, nodes, networks, leases] = await Promise.all([
    target.list(core('pods')),
    target.list(core('nodes')),
    target.list({ group: GROUP, version: VERSION, plural: 'virtualnetworks' }),
    target.list({ group: 'coordination.k8s.io', version: 'v1', plural: 'leases' }),
  ]);
  const lease = leases.items.find((l) => l.metadata.name === 'bulkhead-controller');
  const spec = (lease?.['spec'] ?? {}) as { holderIdentity?: string; leaseTransitions?: number };
  const components = pods.items
    .filter((p) => p.metadata.labels?.['app.kubernetes.io/part-of'] === 'bulkhead')
    .map((p) => {
      const containers = (statusOf(p)['containerStatuses'] ?? []) as { ready: boolean; restartCount: number }[];
      return {
        name: p.metadata.name,
        node: (p['spec'] as { nodeName?: string }).nodeName ?? '',
        ready: containers.length > 0 && containers.every((c) => c.ready),
        restarts: containers.reduce((n, c) => n + c.restartCount, 0),
      };
    });
  const nodeRows = nodes.items.map((n) => {
    const find = (type: string) => conditionsOf(n).find((c) => c.type === type);
    const ready = find(BULKHEAD_READY);
    const unavailable = find(NETWORK_UNAVAILABLE);
    return {
      name: n.metadata.name,
      network: unavailable?.status === 'False' ? 'available' : unavailable ? 'unavailable' : 'unknown',
      ready: ready?.status ?? 'Unknown',
      reason: ready?.reason ?? '',
      message: ready?.message ?? 'its agent has not reported yet',
    };
  });
  const networkRows = networks.items.map((n) => {
    const status = statusOf(n) as { vni?: number; addressesUsed?: number; addressesFree?: number; nodes?: string[] };
    const ready = conditionsOf(n).find((c) => c.type === 'Ready');
    return {
      name: `${n.metadata.namespace}/${n.metadata.name}`,
      vni: status.vni,
      ready: ready?.status ?? 'Unknown',
      reason: ready?.reason ?? '',
      used: status.addressesUsed ?? 0,
      free: status.addressesFree ?? 0,
      nodes: status.nodes?.length ?? 0,
    };
  });
  return {
    cluster: target.name,
    controller: {
      leader: spec.holderIdentity ?? '',
      epoch: spec.leaseTransitions ?? 0,
      url: lease?.metadata.annotations?.['bulkhead.dev/url'] ?? '',
    },
    components,
    nodes: nodeRows,
    networks: networkRows,
    healthy:
      (spec.holderIdentity ?? '') !== '' &&
      components.every((c) => c.ready) &&
      nodeRows.every((n) => n.ready === 'True') &&
      networkRows.every((n) => n.ready === 'True'),
  };
}
