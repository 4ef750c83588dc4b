import type { ClosedFrontend, ClosedNodePort } from '../../api/nodeconfig.ts';
import type { View } from '../view/view.ts';

/** Node ports that pods of other networks may not use, since the network of their Service says so. Sorted. */
export function closedNodePorts(view: View): ClosedNodePort[] {
  const closed: ClosedNodePort[] = [];
  for (const [network, services] of view.servicesByNetwork) {
    if (view.state.networks.get(network)?.spec?.services.nodePortAccess !== 'External') continue;
    for (const service of services)
      for (const { protocol, nodePort } of service.ports)
        if (nodePort !== undefined) closed.push({ protocol, port: nodePort, network });
  }
  return closed.sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

/** The same for external and load balancer addresses. */
export const closedFrontends = (view: View): ClosedFrontend[] =>
  frontendsOf(view, (network) => view.state.networks.get(network)?.spec?.services.nodePortAccess === 'External');

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
