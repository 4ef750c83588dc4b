import { FLAT_NETWORK } from '../../api/names.ts';
import type { Backend, Protocol, ServiceItem, ServicePort } from '../../api/nodeconfig.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { endpointsAt, policyFor } from '../../lib/servicenat/endpoints.ts';
import type { Pod, Service } from '../cluster/state.ts';
import type { View } from '../view/view.ts';
import { serviceItem } from './backends.ts';
import type { Translator } from './endpoint-address.ts';

/** What a client dials. */
type Dialled = { readonly address: string; readonly port: number; readonly protocol: Protocol | 'ICMP' };

/** Where a Service is dialled, and by whom: a pod or process of that node, or a packet from outside of it. */
export type Dialling = { readonly node: string; readonly from: 'inside' | 'outside'; readonly by: Translator };

/** Who translates for a pod of a network. */
export const translatorOf = (network: string | undefined): Translator =>
  network === FLAT_NETWORK ? 'kube-proxy' : 'instance';

/** The port of a Service that an address and a number lead to: a cluster IP or outer address by its port, any other by its node port. */
export function dialledPort(service: Service, item: ServiceItem, dialled: Dialled): ServicePort | undefined {
  const own = service.clusterIPs.includes(dialled.address) || service.frontends.some((f) => f.ip === dialled.address);
  return item.ports.find(
    (p) => p.protocol === dialled.protocol && (own ? p.port : p.nodePort) === dialled.port && dialled.port !== 0,
  );
}

/** The backends of a Service that may answer, as the node decides that translates. */
export function usableBackends(
  view: View,
  { service, network }: { readonly service: Service; readonly network: string },
  dialled: Dialled,
  { node, from, by }: Dialling,
): Backend[] {
  const family = familyOf(dialled.address);
  const port = dialledPort(service, serviceItem(view, service, network, by), dialled);
  if (!port || !service.clusterIPs.some((ip) => familyOf(ip) === family)) return [];
  const inside = service.clusterIPs.includes(dialled.address);
  const policy = policyFor(service, inside ? 'ClusterIP' : 'NodePort', from);
  const mine = port.backends.filter((b) => familyOf(b.ip) === family);
  return endpointsAt(mine, policy, { node, zone: view.state.nodes.get(node)?.zone ?? '' });
}

/** The Service of a network that has a node port. */
export function serviceAtNodePort(
  view: View,
  network: string,
  { port, protocol }: Pick<Dialled, 'port' | 'protocol'>,
): Service | undefined {
  return view.servicesByNetwork
    .get(network)
    ?.find((s) => s.ports.some((p) => p.nodePort === port && p.protocol === protocol));
}

/** Whether kube-proxy of a pod's node takes it for one of its own: by its address, which must be of the node's pod CIDR. */
export function dialsFromInside(view: View, pod: Pod, family: 4 | 6): boolean {
  const cidrs = view.state.nodes.get(pod.node)?.podCIDRs ?? [];
  return pod.ips.some((ip) => familyOf(ip) === family && cidrs.some((c) => contains(mustPrefix(c), mustIp(ip))));
}
