import type { Backend, ServiceItem, ServicePort } from '../../api/nodeconfig.ts';
import { FLAT_NETWORK } from '../../api/names.ts';
import { keyOf, type Service, type SliceEndpoint } from '../cluster/state.ts';
import { networkOf, type View } from '../cluster/view.ts';

/** A Service as a node programs it: its ports with the backends that may answer. */
export function serviceItem(view: View, service: Service, network: string): ServiceItem {
  return {
    namespace: service.namespace,
    name: service.name,
    network,
    clusterIPs: service.clusterIPs,
    ...(service.affinitySeconds === undefined ? {} : { affinitySeconds: service.affinitySeconds }),
    internalTrafficPolicy: service.internalTrafficPolicy,
    exposed: service.type === 'NodePort' || service.type === 'LoadBalancer',
    ports: service.ports.map(
      ({ name, protocol, port }): ServicePort => ({
        name,
        protocol,
        port,
        backends: backendsOf(view, service, network, name, protocol),
      }),
    ),
  };
}

/**
 * The addresses behind one port, sorted. Ready ones; with none ready, those that still serve while terminating (KEP-1669).
 * An endpoint whose pod is on another network is left out: the Service belongs to one network, its own.
 */
function backendsOf(view: View, service: Service, network: string, portName: string, protocol: string): Backend[] {
  const ready: Backend[] = [];
  const serving: Backend[] = [];
  for (const slice of view.slicesByService.get(keyOf(service)) ?? []) {
    const port = slice.ports.find((p) => p.name === portName && p.protocol === protocol);
    if (!port) continue;
    for (const endpoint of slice.endpoints) {
      if (!belongs(view, endpoint, network)) continue;
      const backend = { ip: endpoint.ip, port: port.port, node: endpoint.node };
      if (endpoint.ready) ready.push(backend);
      else if (endpoint.serving && endpoint.terminating) serving.push(backend);
    }
  }
  const chosen = ready.length > 0 ? ready : serving;
  return chosen.sort((a, b) => (a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : a.port - b.port));
}

function belongs(view: View, endpoint: SliceEndpoint, network: string): boolean {
  const [namespace = '', name = ''] = endpoint.pod.split('/');
  const pod = endpoint.pod === '' ? view.podByIp.get(endpoint.ip) : view.state.pods.get(`${namespace}/${name}`);
  if (!pod) return true; // an address outside: the gate decides
  if (pod.hostNetwork) return network === FLAT_NETWORK;
  return networkOf(view, pod) === network;
}
