import { arr, at, type Json, num, obj, str, strs } from '../model/path.ts';
import type { Column, ResourceType } from './resources.ts';

/** What `kubectl get` shows. Kinds that are not named here show their name and age. */

const NAME: Column = { name: 'Name', value: (o) => at(o, 'metadata', 'name') };
const AGE: Column = { name: 'Age', value: (o) => age(str(at(o, 'metadata', 'creationTimestamp'))) };

/** The columns of a kind, name first. */
export function columnsOf(type: ResourceType): readonly Column[] {
  const own = type.columns ?? BUILT_IN[type.kind];
  return own ? [NAME, ...own] : [NAME, AGE];
}

const BUILT_IN: Readonly<Record<string, readonly Column[]>> = {
  Namespace: [
    { name: 'Status', value: (o) => (at(o, 'metadata', 'deletionTimestamp') === undefined ? 'Active' : 'Terminating') },
    AGE,
  ],
  Node: [
    { name: 'Status', value: (o) => (condition(o, 'Ready') === 'True' ? 'Ready' : 'NotReady') },
    { name: 'Roles', value: () => '<none>' },
    AGE,
    { name: 'Version', value: (o) => at(o, 'status', 'nodeInfo', 'kubeletVersion') },
    {
      name: 'Internal-IP',
      wide: true,
      value: (o) => str(arr(at(o, 'status', 'addresses')).find((a) => a['type'] === 'InternalIP')?.['address']),
    },
  ],
  Pod: [
    {
      name: 'Ready',
      value: (o) =>
        `${containers(o).filter((c) => c['ready'] === true).length}/${arr(at(o, 'spec', 'containers')).length}`,
    },
    { name: 'Status', value: podStatus },
    { name: 'Restarts', value: (o) => String(containers(o).reduce((n, c) => n + num(c['restartCount']), 0)) },
    AGE,
    { name: 'IP', wide: true, value: (o) => str(at(o, 'status', 'podIP')) || '<none>' },
    { name: 'Node', wide: true, value: (o) => str(at(o, 'spec', 'nodeName')) || '<none>' },
  ],
  Service: [
    { name: 'Type', value: (o) => at(o, 'spec', 'type') },
    { name: 'Cluster-IP', value: (o) => str(at(o, 'spec', 'clusterIP')) || '<none>' },
    {
      name: 'External-IP',
      value: (o) =>
        arr(at(o, 'status', 'loadBalancer', 'ingress'))
          .map((i) => str(i['ip']))
          .join(',') || '<none>',
    },
    {
      name: 'Port(s)',
      value: (o) =>
        arr(at(o, 'spec', 'ports'))
          .map(
            (p) =>
              `${num(p['port'])}${p['nodePort'] === undefined ? '' : `:${num(p['nodePort'])}`}/${str(p['protocol'])}`,
          )
          .join(',') || '<none>',
    },
    AGE,
    {
      name: 'Selector',
      wide: true,
      value: (o) =>
        Object.entries(obj(at(o, 'spec', 'selector')))
          .map(([k, v]) => `${k}=${str(v)}`)
          .join(',') || '<none>',
    },
  ],
  Deployment: [
    { name: 'Ready', value: (o) => `${num(at(o, 'status', 'readyReplicas'))}/${num(at(o, 'spec', 'replicas'))}` },
    { name: 'Up-to-date', value: (o) => num(at(o, 'status', 'updatedReplicas')) },
    { name: 'Available', value: (o) => num(at(o, 'status', 'availableReplicas')) },
    AGE,
  ],
  ReplicaSet: [
    { name: 'Desired', value: (o) => num(at(o, 'spec', 'replicas')) },
    { name: 'Current', value: (o) => num(at(o, 'status', 'replicas')) },
    { name: 'Ready', value: (o) => num(at(o, 'status', 'readyReplicas')) },
    AGE,
  ],
  StatefulSet: [
    { name: 'Ready', value: (o) => `${num(at(o, 'status', 'readyReplicas'))}/${num(at(o, 'spec', 'replicas'))}` },
    AGE,
  ],
  DaemonSet: [
    { name: 'Desired', value: (o) => num(at(o, 'status', 'desiredNumberScheduled')) },
    { name: 'Current', value: (o) => num(at(o, 'status', 'currentNumberScheduled')) },
    { name: 'Ready', value: (o) => num(at(o, 'status', 'numberReady')) },
    AGE,
  ],
  Job: [
    {
      name: 'Completions',
      value: (o) => `${num(at(o, 'status', 'succeeded'))}/${num(at(o, 'spec', 'completions')) || 1}`,
    },
    AGE,
  ],
  EndpointSlice: [
    { name: 'AddressType', value: (o) => o['addressType'] },
    {
      name: 'Ports',
      value: (o) =>
        arr(o['ports'])
          .map((p) => num(p['port']))
          .join(',') || '<unset>',
    },
    {
      name: 'Endpoints',
      value: (o) =>
        arr(o['endpoints'])
          .flatMap((e) => strs(e['addresses']))
          .join(',') || '<unset>',
    },
    AGE,
  ],
  ConfigMap: [{ name: 'Data', value: (o) => Object.keys(obj(o['data'])).length }, AGE],
  Secret: [
    { name: 'Type', value: (o) => o['type'] ?? 'Opaque' },
    { name: 'Data', value: (o) => Object.keys(obj(o['data'])).length },
    AGE,
  ],
  Lease: [{ name: 'Holder', value: (o) => at(o, 'spec', 'holderIdentity') }, AGE],
  Event: [
    { name: 'Last Seen', value: (o) => age(str(o['lastTimestamp'])) },
    { name: 'Type', value: (o) => o['type'] },
    { name: 'Reason', value: (o) => o['reason'] },
    {
      name: 'Object',
      value: (o) => `${str(at(o, 'involvedObject', 'kind')).toLowerCase()}/${str(at(o, 'involvedObject', 'name'))}`,
    },
    { name: 'Message', value: (o) => o['message'] },
  ],
  CustomResourceDefinition: [{ name: 'Created At', value: (o) => at(o, 'metadata', 'creationTimestamp') }],
};

/** "5s", "3m12s", "4h", "2d": as kubectl shows an age. */
export function age(time: string, now = Date.now()): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(time)) / 1000));
  if (!Number.isFinite(seconds)) return '<unknown>';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}

/** A column of a CRD, by its simple JSON path: ".a.b", with one filter "[?(@.type=='X')]" or an index. */
export function crdColumn(c: Json): Column {
  const steps = [
    ...str(c['jsonPath']).matchAll(/\.([A-Za-z0-9_-]+)|\[\?\(@\.([A-Za-z0-9_-]+)=='([^']*)'\)\]|\[(\d+)\]/g),
  ];
  const read = (o: Json): unknown => {
    let found: unknown = o;
    for (const [, field, key, value, index] of steps) {
      if (field !== undefined) found = obj(found)[field];
      else if (key !== undefined) found = arr(found).find((x) => x[key] === value);
      else found = Array.isArray(found) ? found[Number(index)] : undefined;
    }
    return found;
  };
  const date = c['type'] === 'date';
  return { name: str(c['name']), wide: num(c['priority']) > 0, value: (o) => (date ? age(str(read(o))) : read(o)) };
}

function podStatus(o: Json): string {
  if (at(o, 'metadata', 'deletionTimestamp') !== undefined) return 'Terminating';
  for (const c of containers(o)) {
    const waiting = str(at(c, 'state', 'waiting', 'reason'));
    if (waiting !== '') return waiting;
  }
  const phase = str(at(o, 'status', 'phase'));
  return phase === 'Succeeded' ? 'Completed' : phase;
}

const containers = (o: Json): readonly Json[] => arr(at(o, 'status', 'containerStatuses'));
const condition = (o: Json, type: string): string =>
  str(arr(at(o, 'status', 'conditions')).find((c) => c['type'] === type)?.['status']);
