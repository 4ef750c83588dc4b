import type { ClosedFrontend, ClosedItem, ClosedNodePort, NetworkKey } from '../../api/nodeconfig.ts';
import type { View } from '../view/view.ts';
import { serviceItem } from './backends.ts';

/** Node ports that pods of other networks may not use, since the network of their Service says so. Sorted. */
export function closedNodePorts(view: View): ClosedNodePort[] {
  const closed: ClosedNodePort[] = [];
  for (const [network, services] of view.servicesByNetwork) {
    if (!isClosed(view, network)) continue;
    for (const service of services)
      for (const { protocol, nodePort } of service.ports)
        if (nodePort !== undefined) closed.push({ protocol, port: nodePort, network });
  }
  return closed.sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

/** The same for external and load balancer addresses. */
export const closedFrontends = (view: View): ClosedFrontend[] =>
  frontendsOf(view, (network) => isClosed(view, network));

/** The backends behind these ports and addresses, by network. A view never changes, so every node gets the same items. */
export function closedBackends(view: View): ReadonlyMap<NetworkKey, ClosedItem> {
  const known = made.get(view) ?? new Map<NetworkKey, ClosedItem>();
  if (made.has(view)) return known;
  made.set(view, known);
  for (const [network, services] of view.servicesByNetwork) {
    if (!isClosed(view, network)) continue;
    const found = new Map<string, ClosedFrontend>();
    for (const { exposed, ports } of services.map((s) => serviceItem(view, s, network)))
      for (const { protocol, backends } of exposed ? ports : [])
        for (const { ip, port } of backends) found.set(`${ip} ${protocol} ${port}`, { ip, protocol, port });
    if (found.size > 0)
      known.set(network, { backends: [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, b]) => b) });
  }
  return known;
}

const made = new WeakMap<View, Map<NetworkKey, ClosedItem>>();

const isClosed = (view: View, network: NetworkKey): boolean =>
  view.state.networks.get(network)?.spec?.services.nodePortAccess === 'External';

/** External and load balancer addresses of the Services of all networks, or of some. Sorted. */
export function frontendsOf(view: View, of: (network: string) => boolean = () => true): ClosedFrontend[] {
  const found: ClosedFrontend[] = [];
  for (const [network, services] of view.servicesByNetwork) {
    if (!of(network)) continue;
    for (const { frontends, ports } of services)
      for (const { ip } of frontends) for (const { protocol, port } of ports) found.push({ ip, protocol, port });
  }
  return found.sort((a, b) => (a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : a.port - b.port));
}
