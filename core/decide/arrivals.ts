import { FLAT_NETWORK } from '../../api/names.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { apiServerHosts } from '../api-server/hosts.ts';
import type { Pod, Service } from '../cluster/state.ts';
import { nodeAddress, probeSource } from '../nodes/addresses.ts';
import type { End, PolicyFlow } from '../policy/evaluate.ts';
import { serviceAtNodePort, usableBackends } from '../services/usable.ts';
import { networkOf, podAt, type View } from '../view/view.ts';
import { ipsOf } from './by-networks.ts';
import type { Target } from './decision.ts';
import { type HostPort, hostPortAt } from './host-port.ts';

/** A connection as it comes to the node that translates it, in the network namespace of the node. */
export type Arrival = {
  /** The node whose kube-proxy and host ports translate. */
  readonly node: string;
  /** As whom it comes: a pod, a node, a client outside. */
  readonly from: End;
  /** The sender is a pod of this node, a process of it, or comes from outside of it. */
  readonly by: 'pod' | 'process' | 'outside';
};

/** Where a connection may end up, and as whom the receiver sees the sender. */
export type Landing = Pick<PolicyFlow, 'to' | 'port' | 'seenAs'> & {
  /** The network of the receiver; undefined for a host. */
  readonly network: string | undefined;
};

/** What of a node translates a port: a host port of a pod, or a node port of a Service. */
export type NodeTranslation =
  | ({ readonly kind: 'HostPort' } & HostPort)
  | { readonly kind: 'NodePort'; readonly service: Service; readonly network: string };

/** What a port of a node leads to: a host port goes before a node port. Undefined: whatever listens on the host. */
export function translationAt(view: View, node: string, target: Target): NodeTranslation | undefined {
  const host = hostPortAt(view, node, target);
  if (host) return { kind: 'HostPort', ...host };
  for (const network of view.servicesByNetwork.keys()) {
    const service = serviceAtNodePort(view, network, target);
    if (service) return { kind: 'NodePort', service, network };
  }
  return undefined;
}

/** Where what arrives at a node's own address goes. Empty: nothing translates it, or nothing is ready behind it. */
export function landingsAtNode(view: View, arrival: Arrival, target: Target): Landing[] {
  const translation = translationAt(view, arrival.node, target);
  if (!translation) return [];
  // A pod's connection by a node's address comes back through that node, so it is masqueraded in any case.
  if (translation.kind === 'HostPort')
    return [landing(view, arrival, translation, { masked: arrival.by === 'pod', target })];
  return serviceLandings(view, arrival, translation, target, arrival.by === 'pod');
}

/** Where kube-proxy of a node leads a connection to an address of a Service, or to its node port. */
export function serviceLandings(
  view: View,
  arrival: Arrival,
  { service, network }: { readonly service: Service; readonly network: string },
  target: Target,
  always = false,
): Landing[] {
  const inside = arrival.by !== 'outside';
  const cluster = service.clusterIPs.includes(target.address);
  const backends = usableBackends(view, { service, network }, target, {
    node: arrival.node,
    from: inside ? 'inside' : 'outside',
    by: 'kube-proxy',
  });
  const keeps = service.externalTrafficPolicy === 'Local';
  const masked = always || (cluster ? arrival.by !== 'pod' : keeps ? arrival.by === 'process' : true);
  return backends.map((b) => landing(view, arrival, b, { masked, target }));
}

function landing(
  view: View,
  { node, from, by }: Arrival,
  { ip, port }: { readonly ip: string; readonly port: number },
  { masked, target }: { readonly masked: boolean; readonly target: Target },
): Landing {
  const to = endAt(view, ip);
  const network = to.pod && networkOf(view, to.pod);
  // A pod of the flat network on the same node is judged in front of the node's masquerade.
  const near = to.pod?.node === node && network === FLAT_NETWORK;
  const own = by === 'process' ? ownSource(view, node, to, familyOf(target.address)) : undefined;
  const seen = near && by !== 'process' ? undefined : (own ?? (masked ? masqueradeOf(view, node, target) : undefined));
  // A process that dials a host port of its node keeps the node's address, and the gate takes it for any client's.
  const gated = by === 'process' && seen === undefined && network !== undefined && network !== FLAT_NETWORK;
  const seenAs = { ip: seen ?? from.ip, pod: undefined, ...(gated ? { gated: true as const } : {}) };
  return {
    to,
    port,
    network: to.pod === undefined ? undefined : network,
    ...(gated || (seen !== undefined && seen !== from.ip) ? { seenAs } : {}),
  };
}

/** As whom a node's own process comes to a receiver behind kube-proxy. */
function ownSource(view: View, node: string, { pod }: End, family: 4 | 6): string | undefined {
  if (pod && pod.node === node && networkOf(view, pod) === FLAT_NETWORK) return processAddress(view, node, family);
  return isApiServerNode(view, node) ? processAddress(view, node, family) : undefined;
}

const cidrOf = (view: View, node: string, family: 4 | 6): string | undefined =>
  view.state.nodes.get(node)?.podCIDRs.find((c) => familyOf(c) === family);

/** `.1` of a node's pod CIDR: as whom its processes come to its own pods. */
export function processAddress(view: View, node: string, family: 4 | 6): string | undefined {
  const cidr = cidrOf(view, node, family);
  return cidr === undefined ? undefined : probeSource(cidr);
}

/** `.0`: as whom a node masquerades towards pods. */
export function masqueradeAddress(view: View, node: string, family: 4 | 6): string | undefined {
  const cidr = cidrOf(view, node, family);
  return cidr === undefined ? undefined : nodeAddress(cidr);
}

const masqueradeOf = (view: View, node: string, { address }: Target): string | undefined =>
  masqueradeAddress(view, node, familyOf(address));

export const isApiServerNode = (view: View, node: string): boolean => apiServerHosts(view.state).nodes.includes(node);

/** The end that an address is. A pod that has no network is none. */
export function endAt(view: View, ip: string): End {
  const pod = podAt(view, ip);
  return { ip, pod: pod && networkOf(view, pod) !== undefined ? pod : undefined };
}

/** The end that a pod is when it sends to an address. */
export const senderEnd = (view: View, pod: Pod, address: string): End => ({
  ip: ipsOf(view, pod).find((ip) => familyOf(ip) === familyOf(address)) ?? '',
  pod,
});
