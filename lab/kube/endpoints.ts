import type { Operations } from '../apiserver/operations.ts';
import { arr, at, type Json, num, obj, str, strs } from '../apiserver/model/path.ts';
import type { StoredObject } from '../apiserver/objects/store.ts';
import { isDeleting, isFinished, isReady } from './pods.ts';
import { follow, keyOf, Queue, splitKey } from './queue.ts';

const LABEL = 'endpointslice.kubernetes.io/managed-by';
const OWNER = 'endpointslice-controller.bulkhead-lab';

/** Keeps the EndpointSlices of Services that have a selector: one per family. */
export function runEndpoints(ops: Operations, onError: (key: string, error: unknown) => void): void {
  const services = ops.resources.kind('Service', '');
  const queue = new Queue((key) => {
    const { namespace, name } = splitKey(key);
    const service = ops.store.get(services, namespace, name);
    if (service) reconcile(ops, service);
    else
      for (const slice of slicesOf(ops, namespace, name)) ops.store.remove(ops.resources.kind('EndpointSlice'), slice);
  }, onError);
  follow(ops, 'Service', '', (s) => queue.add(keyOf(s)));
  follow(ops, 'Pod', '', (pod) => {
    for (const s of ops.store.all(services)) if (s.metadata.namespace === pod.metadata.namespace) queue.add(keyOf(s));
  });
}

function reconcile(ops: Operations, service: StoredObject): void {
  const spec = obj(service['spec']);
  const selector = Object.entries(obj(spec['selector'])) as [string, string][];
  if (selector.length === 0) return; // another author writes its slices
  const type = ops.resources.kind('EndpointSlice');
  const { namespace = '', name } = service.metadata;
  const pods = [...ops.store.all(ops.resources.kind('Pod', ''))]
    .filter(
      (p) =>
        p.metadata.namespace === namespace &&
        !isFinished(p) &&
        selector.every(([k, v]) => p.metadata.labels?.[k] === v),
    )
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const existing = new Map(slicesOf(ops, namespace, name).map((s) => [s.metadata.name, s]));
  for (const family of strs(spec['ipFamilies'])) {
    // A named target port may be another number on each pod: then there is a slice for each set of numbers.
    const groups = new Map<string, { ports: Json[]; endpoints: Json[] }>();
    for (const pod of pods) {
      const ip = arr(at(pod, 'status', 'podIPs'))
        .map((p) => str(p['ip']))
        .find((a) => a.includes(':') === (family === 'IPv6'));
      if (ip === undefined || ip === '') continue;
      const ports = arr(spec['ports'])
        .map((p) => ({ name: str(p['name']), protocol: p['protocol'], port: targetPort(p, pod) }))
        .filter((p) => p.port !== 0);
      const group: { ports: Json[]; endpoints: Json[] } = groups.get(JSON.stringify(ports)) ?? { ports, endpoints: [] };
      groups.set(JSON.stringify(ports), group);
      group.endpoints.push(endpoint(service, pod, ip));
    }
    let n = 0;
    if (groups.size === 0) groups.set('', { ports: [], endpoints: [] });
    for (const { ports, endpoints } of groups.values()) {
      const sliceName = `${name}-${family.toLowerCase()}${n === 0 ? '' : `-${n}`}`;
      n++;
      const body = {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          name: sliceName,
          namespace,
          labels: { 'kubernetes.io/service-name': name, [LABEL]: OWNER },
          ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid: service.metadata.uid, controller: true }],
        },
        addressType: family,
        ports,
        endpoints,
      };
      const before = existing.get(sliceName);
      existing.delete(sliceName);
      if (before) ops.store.update(type, { ...before, ports, endpoints });
      else ops.create(type, namespace, body);
    }
  }
  for (const stale of existing.values()) ops.store.remove(type, stale);
}

function endpoint(service: StoredObject, pod: StoredObject, ip: string): Json {
  const ready = isReady(pod);
  const serving =
    ready || arr(at(pod, 'status', 'conditions')).some((c) => c['type'] === 'Ready' && c['status'] === 'True');
  const publish = at(service, 'spec', 'publishNotReadyAddresses') === true;
  const subdomain = str(at(pod, 'spec', 'subdomain'));
  const hostname = str(at(pod, 'spec', 'hostname'));
  return {
    addresses: [ip],
    conditions: { ready: ready || publish, serving: serving || publish, terminating: isDeleting(pod) },
    nodeName: at(pod, 'spec', 'nodeName'),
    ...(hostname !== '' && subdomain === service.metadata.name ? { hostname } : {}),
    targetRef: { kind: 'Pod', namespace: pod.metadata.namespace, name: pod.metadata.name, uid: pod.metadata.uid },
  };
}

/** The number behind a Service port on one pod; 0 when the pod has no port of that name. */
function targetPort(port: Json, pod: StoredObject): number {
  const target = port['targetPort'];
  if (typeof target === 'number') return target;
  const named = arr(at(pod, 'spec', 'containers'))
    .flatMap((c) => arr(c['ports']))
    .find((p) => p['name'] === target && p['protocol'] === port['protocol']);
  return num(named?.['containerPort']);
}

function slicesOf(ops: Operations, namespace: string, service: string): StoredObject[] {
  return [...ops.store.all(ops.resources.kind('EndpointSlice'))].filter(
    (s) =>
      s.metadata.namespace === namespace &&
      s.metadata.labels?.['kubernetes.io/service-name'] === service &&
      s.metadata.labels[LABEL] === OWNER,
  );
}
