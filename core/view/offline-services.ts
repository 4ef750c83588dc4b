import { PROTOCOLS, type Protocol } from '../../api/nodeconfig.ts';
import { matches } from '../cluster/selector.ts';
import { type EndpointSlice, keyOf, type Pod } from '../cluster/state.ts';
import type { Raw } from '../read/objects.ts';
import { objectOf } from '../read/problems.ts';
import { withoutNulls } from '../read/without-nulls.ts';
import { familyOf } from '../../lib/ip/address.ts';

/**
 * The EndpointSlices that the cluster would make for a Service with a selector, from the pods that are known.
 *
 * @param pods those of its namespace
 * @param waiting pods that say themselves that they are not ready
 */
export function slicesOfService(raw: Raw, pods: readonly Pod[], waiting: ReadonlySet<Pod>): EndpointSlice[] {
  const { namespace, name } = objectOf(raw['metadata']) as { namespace: string; name: string };
  const spec = withoutNulls(objectOf(raw['spec']));
  const selector = objectOf(spec['selector']) as Readonly<Record<string, string>>;
  if (Object.keys(selector).length === 0 || spec['type'] === 'ExternalName') return [];
  const early = spec['publishNotReadyAddresses'] === true;
  const ports = (Array.isArray(spec['ports']) ? spec['ports'] : []).map(objectOf);
  const behind = pods.filter((p) => !p.finished && matches({ matchLabels: selector }, p.labels));
  // Pods differ in the number behind a port's name.
  const groups = Map.groupBy(behind, (pod) => JSON.stringify(portsAt(ports, pod)));
  return [...groups].flatMap(([text, members], i) =>
    ([4, 6] as const).flatMap((family): EndpointSlice[] => {
      const endpoints = members.flatMap((pod) => {
        const ip = pod.ips.find((a) => familyOf(a) === family);
        const ready = early || !waiting.has(pod);
        return ip === undefined
          ? []
          : [{ ip, node: pod.node, ready, serving: ready, terminating: false, pod: keyOf(pod) }];
      });
      if (endpoints.length === 0) return [];
      const own = JSON.parse(text) as EndpointSlice['ports'];
      return [{ namespace, name: `${name}-${i + 1}-ipv${family}`, service: name, family, ports: own, endpoints }];
    }),
  );
}

/** The ports of a Service, by number, as a pod has them. One whose name no container has is left out. */
function portsAt(ports: readonly Raw[], pod: Pod): EndpointSlice['ports'] {
  return ports.flatMap((p) => {
    const protocol: Protocol = PROTOCOLS.find((known) => known === p['protocol']) ?? 'TCP';
    const target = p['targetPort'] ?? p['port'];
    const port =
      typeof target === 'string' ? pod.ports.find((c) => c.name === target && c.protocol === protocol)?.port : target;
    const name = typeof p['name'] === 'string' ? p['name'] : '';
    return typeof port === 'number' ? [{ name, protocol, port }] : [];
  });
}
