import type { Backend, ServiceItem, ServicePort } from '../../api/nodeconfig.ts';
import { usefulness } from '../../lib/servicenat/endpoints.ts';
import { keyOf, type Service } from '../cluster/state.ts';
import type { View } from '../view/view.ts';
import { servicesOverBudget } from './budget.ts';
import { endpointAddress, type Translator } from './endpoint-address.ts';

/** A view never changes, and neither do the items that are made of it: every node and every question gets the same ones. */
const made = new WeakMap<View, Map<string, ServiceItem>>();

/** A Service as nodes know it: its ports with all backends that any of them may choose. */
export function serviceItem(view: View, service: Service, network: string, by: Translator = 'instance'): ServiceItem {
  const items = made.get(view) ?? new Map<string, ServiceItem>();
  made.set(view, items);
  const key = `${keyOf(service)} ${network} ${by}`;
  const item = items.get(key) ?? makeItem(view, service, network, by);
  items.set(key, item);
  return item;
}

function makeItem(view: View, service: Service, network: string, by: Translator): ServiceItem {
  const served = service.clusterIPs.length > 0;
  const outer = service.type === 'NodePort' || service.type === 'LoadBalancer' || service.frontends.length > 0;
  return {
    namespace: service.namespace,
    name: service.name,
    network,
    clusterIPs: service.clusterIPs,
    ...(service.frontends.length > 0 ? { frontends: service.frontends } : {}),
    ...(service.affinitySeconds === undefined ? {} : { affinitySeconds: service.affinitySeconds }),
    internalTrafficPolicy: service.internalTrafficPolicy,
    exposed: served && outer,
    // Without ports it does not answer: its address is refused.
    ports: (servicesOverBudget(view).has(keyOf(service)) ? [] : service.ports).map(
      ({ name, protocol, port, nodePort }): ServicePort => ({
        name,
        protocol,
        port,
        ...(view.registered.get(keyOf(service))?.has(port) ? { registered: true as const } : {}),
        ...(nodePort === undefined ? {} : { nodePort }),
        backends: backendsOf(view, service, { network, by, portName: name, protocol }),
      }),
    ),
  };
}

type Wanted = {
  readonly network: string;
  readonly by: Translator;
  readonly portName: string;
  readonly protocol: string;
};

/**
 * The addresses behind one port, sorted. An endpoint whose pod is on another network is left out: the Service belongs to one
 * network, its own. A pod that is on it by another interface answers there. Of an address that two slices name, the ready one
 * counts.
 */
function backendsOf(view: View, service: Service, { network, by, portName, protocol }: Wanted): Backend[] {
  const found = new Map<string, Backend>();
  for (const slice of view.slicesByService.get(keyOf(service)) ?? []) {
    const port = slice.ports.find((p) => p.name === portName && p.protocol === protocol);
    if (!port || port.port === 0) continue;
    for (const endpoint of slice.endpoints) {
      const use = usefulness(endpoint);
      const ip = use && endpointAddress(view, slice, endpoint, { network, by });
      if (ip === undefined) continue;
      const key = `${ip} ${port.port}`;
      if (use === 'Ready' || !found.has(key))
        found.set(key, {
          ip,
          port: port.port,
          node: endpoint.node,
          ...(use === 'Ending' ? { ending: true } : {}),
          ...(endpoint.zones ? { zones: endpoint.zones } : {}),
          ...(endpoint.nodes ? { nodes: endpoint.nodes } : {}),
        });
    }
  }
  return [...found.values()].sort((a, b) => (a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : a.port - b.port));
}
