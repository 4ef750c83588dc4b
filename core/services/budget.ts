import { overBudget } from '../../api/budgets.ts';
import { type EndpointSlice, keyOf, type Service } from '../cluster/state.ts';
import type { View } from '../view/view.ts';

/** Why a Service is not programmed, by its key: it asks for too much, or its namespace has too many before it. */
export function servicesOverBudget(view: View): ReadonlyMap<string, string> {
  const known = worked.get(view) ?? workOut(view);
  worked.set(view, known);
  return known;
}

const worked = new WeakMap<View, ReadonlyMap<string, string>>();

function workOut(view: View): Map<string, string> {
  const over = new Map<string, string>();
  for (const [namespace, services] of Map.groupBy(view.state.services.values(), (s) => s.namespace)) {
    let count = 0;
    let [elements, ports, affinity] = [0, 0, 0];
    for (const service of [...services].sort(byAge)) {
      const key = keyOf(service);
      const own = elementsOf(service, view.slicesByService.get(key) ?? []);
      const remembered = service.affinitySeconds === undefined ? 0 : own;
      const alone =
        overBudget('servicePorts', service.ports.length, 'ports') ??
        overBudget('serviceElements', own, 'elements (ports × endpoints × addresses)');
      const together =
        overBudget('namespaceServices', count + 1, 'Services, up to this one') ??
        overBudget('namespaceServicePorts', ports + service.ports.length, 'ports of Services, up to this one') ??
        overBudget(
          'namespaceAffinityElements',
          affinity + remembered,
          'elements of Services with session affinity, up to this one',
        ) ??
        overBudget(
          'namespaceServiceElements',
          elements + own,
          'elements (ports × endpoints × addresses of Services, up to this one)',
        );
      if (alone !== undefined) over.set(key, `Service ${key} ${alone}`);
      else if (together !== undefined) over.set(key, `Service ${key}: namespace ${namespace} ${together}`);
      else {
        count++;
        elements += own;
        ports += service.ports.length;
        affinity += remembered;
      }
    }
  }
  return over;
}

/** Elements of kernel maps, from above. A slice costs something itself: each port of the Service is looked for in it. */
function elementsOf({ ports, clusterIPs, frontends }: Service, slices: readonly EndpointSlice[]): number {
  let elements = frontends.reduce((n, f) => n + (f.sources?.length ?? 0), 0) * ports.length;
  for (const family of [4, 6] as const) {
    const addresses = [...clusterIPs, ...frontends.map((f) => f.ip)].filter(
      (ip) => ip.includes(':') === (family === 6),
    );
    for (const slice of slices)
      if (slice.family === family)
        elements +=
          ports.length *
          (slice.endpoints.length * Math.max(1, addresses.length) + Math.ceil(slice.ports.length / PORTS_PER_ELEMENT));
  }
  return elements;
}

const PORTS_PER_ELEMENT = 16;

const byAge = (a: Service, b: Service): number => a.created - b.created || (keyOf(a) < keyOf(b) ? -1 : 1);
