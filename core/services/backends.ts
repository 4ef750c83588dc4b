import type { Backend, ServiceItem, ServicePort } from '../../api/nodeconfig.ts';
import { FLAT_NETWORK } from '../../api/names.ts';
import { keyOf, type Service, type SliceEndpoint } from '../cluster/state.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { networkOf, type View } from '../cluster/view.ts';

/** A Service as a node programs it: its ports with the backends that may answer. */
export function serviceItem(view: View, service: Service, network: string, node?: string): ServiceItem {
  const exposed = service.type === 'NodePort' || service.type === 'LoadBalancer' || service.frontends.length > 0;
  return {
    namespace: service.namespace,
    name: service.name,
    network,
    clusterIPs: service.clusterIPs,
    ...(service.frontends.length > 0 ? { frontends: service.frontends } : {}),
    ...(service.affinitySeconds === undefined ? {} : { affinitySeconds: service.affinitySeconds }),
    internalTrafficPolicy: service.internalTrafficPolicy,
    exposed,
    ports: service.ports.map(
      ({ name, protocol, port }): ServicePort => ({
        name,
        protocol,
        port,
        ...(view.registered.get(keyOf(service))?.has(port) ? { registered: true as const } : {}),
        backends: backendsOf(view, service, { network, portName: name, protocol, zone: zoneOf(view, node) }),
      }),
    ),
  };
}

type Wanted = {
  readonly network: string;
  readonly portName: string;
  readonly protocol: string;
  readonly zone: string;
};
type Found = Backend & { readonly zones: readonly string[] | undefined };

/**
 * The addresses behind one port, sorted. Ready ones; with none ready, those that still serve while terminating (KEP-1669).
 * An endpoint whose pod is on another network is left out: the Service belongs to one network, its own. A pod that is on it by
 * another interface answers there.
 */
function backendsOf(view: View, service: Service, { network, portName, protocol, zone }: Wanted): Backend[] {
  const ready: Found[] = [];
  const serving: Found[] = [];
  for (const slice of view.slicesByService.get(keyOf(service)) ?? []) {
    const port = slice.ports.find((p) => p.name === portName && p.protocol === protocol);
    if (!port) continue;
    for (const endpoint of slice.endpoints) {
      const ip = addressOn(view, endpoint, network);
      if (ip === undefined) continue;
      const backend = { ip, port: port.port, node: endpoint.node, zones: endpoint.zones };
      if (endpoint.ready) ready.push(backend);
      else if (endpoint.serving && endpoint.terminating) serving.push(backend);
    }
  }
  return near(ready.length > 0 ? ready : serving, zone)
    .map(({ ip, port, node }) => ({ ip, port, node }))
    .sort((a, b) => (a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : a.port - b.port));
}

/** Hints count only when every endpoint has one and the zone has some (KEP-2433): else a zone could be left with none. */
function near(found: readonly Found[], zone: string): readonly Found[] {
  if (zone === '' || found.some((b) => b.zones === undefined)) return found;
  const mine = found.filter((b) => b.zones?.includes(zone));
  return mine.length > 0 ? mine : found;
}

const zoneOf = (view: View, node: string | undefined): string =>
  node === undefined ? '' : (view.state.nodes.get(node)?.zone ?? '');

/** Where an endpoint answers on a network; undefined when it does not. */
function addressOn(view: View, endpoint: SliceEndpoint, network: string): string | undefined {
  const [namespace = '', name = ''] = endpoint.pod.split('/');
  const pod = endpoint.pod === '' ? view.podByIp.get(endpoint.ip) : view.state.pods.get(`${namespace}/${name}`);
  if (!pod) return endpoint.ip; // an address outside: the gate decides
  if (pod.hostNetwork) return network === FLAT_NETWORK ? endpoint.ip : undefined;
  if (networkOf(view, pod) === network) return endpoint.ip;
  const extra = view.state.interfaces?.get(pod.uid)?.find((i) => i.network === network);
  return extra?.ips.find((ip) => familyOf(ip) === familyOf(endpoint.ip));
}
