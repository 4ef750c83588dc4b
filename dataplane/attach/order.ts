import { CNI_ERRORS, type CniRequest, type PortMapping } from '../../api/cni.ts';
import { FLAT_NETWORK, NETWORKS } from '../../api/names.ts';
import type { InterfaceItem, NodeConfig, NodeItem, PodItem } from '../../api/nodeconfig.ts';
import { AttachError } from './error.ts';
import type { Attachment } from './attachment.ts';

/** What a pod is to get. */
export type Order = Pick<PodItem, 'assignment' | 'ips' | 'mac' | 'interfaces'>;

/** One interface to make. */
export type WantedInterface = Pick<InterfaceItem, 'ifname' | 'ips' | 'mac'> & {
  readonly network: string;
  readonly details: Pick<Attachment, 'ports' | 'extra' | 'table'>;
};

/** What is asked to know what a pod is to get. */
export type OrderSeams = {
  readonly config: NodeConfig;
  /** This node; undefined until the controller has described it. */
  readonly self: () => NodeItem | undefined;
  /** Asks the API server for a pod that the controller has not sent yet. Undefined: it does not know either. */
  readonly lookUpPod: (namespace: string, name: string, uid: string) => Promise<Order | undefined>;
  /** Resolves when the config has changed, or after a short while. */
  readonly nextConfig: (ms: number) => Promise<void>;
  /** Whether Multus makes the further interfaces on this node, by calls of its own. */
  readonly multus: () => boolean;
  /** Wall-clock milliseconds. */
  readonly now: () => number;
};

/** How long ADD waits for a network that the controller is about to tell of. Event-driven, not polled. */
export const PATIENCE_MS = 8_000;
/** How long it waits when the controller says that there is no such network, or none yet. */
const SOON_MS = 1_500;
const SOON = new Set(['NetworkNotFound', 'NetworkNotReady']);

/** Routing table of the first interface of a pod with several; those of the next follow. */
const FIRST_TABLE = 100;

/** Which network and what else it asks for, waiting a while for the controller's word. Throws the reason why the pod must wait. */
export async function waitForOrder(
  seams: OrderSeams,
  { namespace, pod, uid }: { readonly namespace: string; readonly pod: string; readonly uid: string },
  deadline: number,
): Promise<Order & { readonly network: string }> {
  let waited = false;
  for (;;) {
    const item = seams.config.pod.get(`${namespace}/${pod}`);
    const told = item && (uid === '' || item.uid === uid) ? item : undefined;
    const order = told ?? (waited ? await seams.lookUpPod(namespace, pod, uid) : undefined);
    const assignment = order?.assignment;
    const left = deadline - seams.now();
    // A network that is just being made is worth a moment: the runtime's next attempt would be seconds away.
    const maybeSoon =
      assignment && 'problem' in assignment && SOON.has(assignment.problem.code) && left > PATIENCE_MS - SOON_MS;
    if (assignment && 'problem' in assignment && !maybeSoon && (told || left <= 0)) {
      throw new AttachError(CNI_ERRORS.NetworkRefused, assignment.problem.message, {
        details: assignment.problem.code,
      });
    }
    if (assignment && 'network' in assignment) {
      const { network } = assignment;
      const networks = [
        network,
        ...(order?.interfaces ?? []).flatMap(({ assignment: a }) => ('network' in a ? a.network : [])),
      ];
      if (order && seams.self() && networks.every((n) => n === FLAT_NETWORK || seams.config.network.has(n)))
        return { ...order, network };
    }
    if (left <= 0) {
      throw new AttachError(
        CNI_ERRORS.TryAgainLater,
        `pod ${namespace}/${pod}: the controller has not told this node of ${assignment && 'network' in assignment ? `network ${assignment.network}` : 'the pod'} yet`,
      );
    }
    await seams.nextConfig(waited ? Math.min(left, 1000) : 150);
    waited = true;
  }
}

/**
 * What this call is to make. The runtime asks for the first interface, and the others come with it; Multus asks for each of the
 * others by itself, naming the network in the configuration.
 */
export function interfacesFor(
  request: CniRequest,
  order: Order & { readonly network: string },
  ports: readonly PortMapping[],
  { config, multus }: Pick<OrderSeams, 'config' | 'multus'>,
): WantedInterface[] {
  const others = (order.interfaces ?? []).flatMap((item, i): WantedInterface[] => {
    if (!('network' in item.assignment)) return [];
    const { network } = item.assignment;
    const earlier = (order.interfaces ?? []).slice(0, i).map((x) => x.assignment);
    // The default route leads to the first network already, and one interface to each of the others is enough.
    const known = [order.assignment, ...earlier].some((x) => 'network' in x && x.network === network);
    const prefixes = known ? [] : (config.network.get(network)?.subnets ?? []);
    return [{ ...item, network, details: { extra: { prefixes, first: [] }, table: FIRST_TABLE + 1 + i } }];
  });
  const first: WantedInterface = {
    ...order,
    ifname: request.ifname,
    details: { ...(ports.length > 0 ? { ports } : {}), ...(others.length > 0 ? { table: FIRST_TABLE } : {}) },
  };
  if (request.config['network'] === undefined) return multus() ? [first] : [first, ...others];
  const asked = others.find((o) => o.ifname === request.ifname);
  if (asked) return [asked];
  throw new AttachError(
    CNI_ERRORS.NetworkRefused,
    `interface ${request.ifname}: the pod's annotation ${NETWORKS} asks for no network of Bulkhead by that name`,
  );
}
