import type { ClosedNodePort } from '../../api/nodeconfig.ts';
import type { View } from '../cluster/view.ts';

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
