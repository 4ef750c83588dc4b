import { API_VERSION } from '../../api/kinds/crds.ts';
import {
  DEFAULT_NETWORK_NAME,
  IN_USE_FINALIZER,
  ISOLATED,
  ISOLATED_BY,
  MANAGED_BY,
  NETWORK_STATUS,
} from '../../api/names.ts';
import type { Condition } from '../../api/kinds/condition.ts';
import type { VirtualNetworkRouterStatus } from '../../api/kinds/virtual-network-router.ts';
import type { VirtualNetworkStatus } from '../../api/kinds/virtual-network.ts';
import { keyOf } from '../../core/cluster/state.ts';
import { BULKHEAD_READY } from '../../core/nodes/conditions.ts';
import { core, type KubeClient, type KubeObject, STRATEGIC_MERGE_PATCH, timestamp } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import { policyKey } from '../../core/cluster/policy.ts';
import type { RouterState } from '../../core/routers/connect.ts';
import type { EventRecorder } from '../../lib/kube/events.ts';
import { RESOURCES } from '../../api/kinds/resources.ts';
import type { ApiWrite, NetworkCondition } from './plan.ts';

/** Pairs of a router that its status spells out; the numbers count all. */
const MAX_PAIRS = 128;

/** Applies writes to the API. Each is idempotent: what another program did meanwhile is no error. */
export class ApiWriter {
  readonly #client: KubeClient;
  readonly #events: EventRecorder;
  /** Last status written, by uid: reading before each write would cost more than the write. */
  readonly #written = new Map<string, string>();

  constructor(client: KubeClient, events: EventRecorder) {
    this.#client = client;
    this.#events = events;
  }

  async apply(write: ApiWrite): Promise<void> {
    switch (write.do) {
      case 'create-network':
        return await this.#ignoring('AlreadyExists', () =>
          this.#client.create(RESOURCES.virtualNetworks, isolatedNetwork(write.namespace, write.egress)),
        );
      case 'isolate-namespace':
        return await this.#ignoring('NotFound', () =>
          this.#client.patch(core('namespaces'), write.namespace, undefined, {
            metadata: {
              uid: write.uid,
              labels: { [ISOLATED.key]: 'true' },
              annotations: { [ISOLATED_BY]: 'BulkheadConfig/default' },
            },
          }),
        );
      case 'isolating-since':
        return await this.#ignoring('NotFound', () => this.#isolatingSince(write.since));
      case 'delete-network':
        return await this.#ignoring('NotFound', () =>
          this.#client.delete(
            RESOURCES.virtualNetworks,
            write.network.name,
            write.network.namespace,
            preconditions(write.network.uid),
          ),
        );
      case 'release-network':
        return await this.#ignoring('NotFound', () => this.#setFinalizer(write.network, false));
      case 'network-status':
        return await this.#ignoring('NotFound', () => this.#status(write));
      case 'router-status':
        return await this.#ignoring('NotFound', () => this.#routerStatus(write));
      case 'pod-interfaces':
        return await this.#ignoring('NotFound', () =>
          this.#client.patch(core('pods'), write.pod.name, write.pod.namespace, {
            metadata: { uid: write.pod.uid, annotations: { [NETWORK_STATUS]: write.value } },
          }),
        );
      case 'create-block':
        return await this.#createBlock(write);
      case 'delete-block':
        return await this.#ignoring('NotFound', () => this.#client.delete(RESOURCES.addressBlocks, write.objectName));
      case 'pod-problem': {
        const { namespace, name, uid } = write.pod;
        return await this.#events.record(
          { apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
          'Warning',
          write.problem.code,
          write.problem.message,
        );
      }
      case 'policy-status':
        return await this.#ignoring('NotFound', () => this.#policyStatus(write));
      case 'policy-problem': {
        const { namespace, name, uid } = write.policy;
        const about = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', namespace, name, uid };
        return await this.#events.record(about, 'Warning', write.reason, write.message);
      }
      case 'service-problem': {
        const { namespace, name, uid } = write.service;
        const about = { apiVersion: 'v1', kind: 'Service', namespace, name, uid };
        return await this.#events.record(about, 'Warning', write.problem.code, write.problem.message);
      }
      case 'node-conditions':
        return await this.#ignoring('NotFound', () => this.#nodeConditions(write));
      case 'namespace-problem':
        return await this.#events.record(
          { apiVersion: 'v1', kind: 'Namespace', name: write.namespace, uid: write.uid },
          'Warning',
          write.problem.code,
          write.problem.message,
        );
    }
  }

  async #status(write: ApiWrite & { do: 'network-status' }): Promise<void> {
    const { network, vni, condition, nodes, used, free, egressNode } = write;
    const text = JSON.stringify([
      network.generation,
      network.vni,
      vni,
      condition,
      nodes,
      used,
      free,
      egressNode,
      write.hold,
    ]);
    if (this.#written.get(network.uid) === text) return;
    let current = await this.#client.get(RESOURCES.virtualNetworks, network.name, network.namespace);
    // The patch makes a new version; writing the status on the old one would only be refused.
    if (write.hold && !current.metadata.finalizers?.includes(IN_USE_FINALIZER))
      current = await this.#setFinalizer(network, true);
    const before = current['status'] as VirtualNetworkStatus | undefined;
    const old = before?.conditions?.find((c) => c.type === 'Ready');
    // A VNI in the API wins over the one that was planned: it may be in kernels already.
    const status: VirtualNetworkStatus = {
      ...withVni(before?.vni ?? vni),
      nodes: [...nodes],
      ...(egressNode === undefined ? {} : { egressNode }),
      addressesUsed: used,
      addressesFree: free,
      conditions: [readyCondition(condition, network.generation, old)],
    };
    await this.#client.replace(RESOURCES.virtualNetworks, { ...current, status }, 'status');
    this.#written.set(network.uid, text);
    await this.#tellTurn('VirtualNetwork', network, condition, old);
  }

  async #routerStatus({ router, state, condition }: ApiWrite & { do: 'router-status' }): Promise<void> {
    const status = statusOf(state);
    const text = JSON.stringify([router.generation, status, condition]);
    if (this.#written.get(router.uid) === text) return;
    const current = await this.#client.get(RESOURCES.virtualNetworkRouters, router.name, router.namespace);
    const before = current['status'] as VirtualNetworkRouterStatus | undefined;
    const old = before?.conditions?.find((c) => c.type === 'Ready');
    const conditions = [readyCondition(condition, router.generation, old)];
    await this.#client.replace(
      RESOURCES.virtualNetworkRouters,
      { ...current, status: { ...status, conditions } },
      'status',
    );
    this.#written.set(router.uid, text);
    await this.#tellTurn('VirtualNetworkRouter', router, condition, old);
  }

  /** One condition among those that other programs may write: the list is merged by type. */
  async #policyStatus({ policy, condition }: ApiWrite & { do: 'policy-status' }): Promise<void> {
    const { name, uid, generation } = policy;
    const text = JSON.stringify([generation, condition]);
    if (this.#written.get(uid) === text) return;
    const current = await this.#client.get(RESOURCES.clusterNetworkPolicies, name);
    const before = (current['status'] as { conditions?: Condition[] } | undefined)?.conditions ?? [];
    const old = before.find((c) => c.type === POLICY_CONDITION);
    const lastTransitionTime = old?.status === condition.status ? old.lastTransitionTime : timestamp();
    const mine: Condition = {
      type: POLICY_CONDITION,
      ...condition,
      observedGeneration: generation,
      lastTransitionTime,
    };
    const conditions = [...before.filter((c) => c.type !== POLICY_CONDITION), mine];
    const fields = ['status', 'reason', 'message', 'observedGeneration'] as const;
    if (!old || fields.some((f) => mine[f] !== old[f]))
      await this.#client.replace(RESOURCES.clusterNetworkPolicies, { ...current, status: { conditions } }, 'status');
    this.#written.set(uid, text);
    if (old?.status === condition.status && old.reason === condition.reason) return;
    if (condition.status === 'True' && condition.reason === 'Accepted') return; // nothing to say
    const about = {
      apiVersion: `${RESOURCES.clusterNetworkPolicies.group}/${RESOURCES.clusterNetworkPolicies.version}`,
      kind: 'ClusterNetworkPolicy',
      name,
      uid,
    };
    await this.#events.record(about, 'Warning', condition.reason, condition.message);
  }

  /** An event when a condition has another status or reason than before. */
  async #tellTurn(
    kind: string,
    { namespace, name, uid }: { readonly namespace: string; readonly name: string; readonly uid: string },
    { status, reason, message }: NetworkCondition,
    old: Condition | undefined,
  ): Promise<void> {
    if (old?.status === status && old.reason === reason) return;
    const about = { apiVersion: API_VERSION, kind, namespace, name, uid };
    await this.#events.record(about, status === 'True' ? 'Normal' : 'Warning', reason, message);
  }

  async #isolatingSince(isolating: boolean): Promise<void> {
    const isolatingSince = isolating ? timestamp(Date.now() + 999) : null;
    await this.#client.patch(
      RESOURCES.bulkheadConfigs,
      'default',
      undefined,
      { status: { isolatingSince } },
      { subresource: 'status' },
    );
  }

  /** Merged by type, so that kubelet's own conditions stay as they are. */
  async #nodeConditions(write: ApiWrite & { do: 'node-conditions' }): Promise<void> {
    const conditions = write.conditions.map((c) => ({
      ...c,
      lastHeartbeatTime: timestamp(),
      ...(write.turned.includes(c.type) ? { lastTransitionTime: timestamp() } : {}),
    }));
    await this.#client.patch(
      core('nodes'),
      write.node,
      undefined,
      { status: { conditions } },
      { subresource: 'status', contentType: STRATEGIC_MERGE_PATCH },
    );
    const about = { apiVersion: 'v1', kind: 'Node', name: write.node, uid: write.uid };
    for (const c of write.conditions) {
      if (c.type !== BULKHEAD_READY) continue;
      await this.#events.record(about, c.status === 'True' ? 'Normal' : 'Warning', c.reason, c.message);
    }
  }

  async #setFinalizer(
    network: { readonly namespace: string; readonly name: string },
    present: boolean,
  ): Promise<KubeObject> {
    const current = await this.#client.get(RESOURCES.virtualNetworks, network.name, network.namespace);
    const others = (current.metadata.finalizers ?? []).filter((f) => f !== IN_USE_FINALIZER);
    const finalizers = present ? [...others, IN_USE_FINALIZER] : others;
    const { resourceVersion } = current.metadata;
    return await this.#client.patch(RESOURCES.virtualNetworks, network.name, network.namespace, {
      metadata: { finalizers, resourceVersion },
    });
  }

  async #createBlock({ block }: ApiWrite & { do: 'create-block' }): Promise<void> {
    const [namespace, name] = block.network.includes('/') ? block.network.split('/') : ['', block.network];
    // An assigned block outlives its node's object while pods of it may: the controller deletes it, not the garbage collector.
    const node = block.given ? undefined : await this.#client.get(core('nodes'), block.node);
    const object: KubeObject = {
      apiVersion: API_VERSION,
      kind: 'AddressBlock',
      metadata: {
        name: `b-${block.cidr.replaceAll(/[:/]/g, '-')}`,
        labels: { [MANAGED_BY.key]: MANAGED_BY.value },
        ...(node
          ? { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: block.node, uid: node.metadata.uid }] }
          : {}),
      },
      spec: {
        cidr: block.cidr,
        node: block.node,
        source: block.given ? 'Subnet' : 'NodePodCIDR',
        network: { namespace, name },
      },
    };
    try {
      await this.#client.create(RESOURCES.addressBlocks, object);
    } catch (error) {
      if (!isKube(error, 'AlreadyExists')) throw error;
    }
  }

  async #ignoring(code: 'AlreadyExists' | 'NotFound', work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!isKube(error, code)) throw error;
    }
  }
}

/** Which of a ClusterNetworkPolicy's conditions is ours. */
const POLICY_CONDITION = 'bulkhead.dev/Accepted';

/** What a write is called in logs. */
export function describeWrite(write: ApiWrite): string {
  switch (write.do) {
    case 'isolating-since':
      return write.do;
    case 'create-network':
    case 'isolate-namespace':
    case 'namespace-problem':
      return `${write.do} ${write.namespace}`;
    case 'delete-network':
    case 'release-network':
    case 'network-status':
      return `${write.do} ${keyOf(write.network)}`;
    case 'router-status':
      return `${write.do} ${keyOf(write.router)}`;
    case 'create-block':
      return `${write.do} ${write.block.cidr}`;
    case 'delete-block':
      return `${write.do} ${write.cidr}`;
    case 'node-conditions':
      return `${write.do} ${write.node}`;
    case 'policy-status':
    case 'policy-problem':
      return `${write.do} ${policyKey(write.policy)}`;
    case 'service-problem':
      return `${write.do} ${keyOf(write.service)}`;
    case 'pod-interfaces':
    case 'pod-problem':
      return `${write.do} ${keyOf(write.pod)}`;
  }
}

function isolatedNetwork(namespace: string, mode: string): KubeObject {
  return {
    apiVersion: API_VERSION,
    kind: 'VirtualNetwork',
    metadata: {
      namespace,
      name: DEFAULT_NETWORK_NAME,
      labels: { [MANAGED_BY.key]: MANAGED_BY.value },
      finalizers: [IN_USE_FINALIZER],
    },
    spec: { egress: { mode } },
  };
}

function readyCondition(condition: NetworkCondition, generation: number, old: Condition | undefined): Condition {
  const lastTransitionTime = old?.status === condition.status ? old.lastTransitionTime : timestamp();
  return { type: 'Ready', ...condition, observedGeneration: generation, lastTransitionTime };
}

const preconditions = (uid: string) => ({ apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid } });
const withVni = (vni: number | undefined) => (vni === undefined ? {} : { vni });

/** What the status of a router spells out: the numbers count all pairs, the list has the first. */
function statusOf({ members, pairs, missing }: RouterState): Omit<VirtualNetworkRouterStatus, 'conditions'> {
  const open = pairs.filter((p) => p.state === 'Open').length;
  return {
    members: [...members],
    open,
    waiting: pairs.length - open + missing.length,
    pairs: pairs.slice(0, MAX_PAIRS).map((p) => ({ ...p, networks: [...p.networks] })),
  };
}
