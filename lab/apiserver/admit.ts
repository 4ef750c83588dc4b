import { canonicalIp, familyOf, formatIp } from '../../lib/ip/address.ts';
import { mustPrefix, nth, sizeOf } from '../../lib/ip/prefix.ts';
import { checkPolicy } from './admission/policies.ts';
import { checkWebhooks } from './admission/webhooks.ts';
import { checkDefinition } from './crd.ts';
import { invalid } from './error.ts';
import { arr, at, isObject, type Json, num, obj, str, strs } from './path.ts';
import type { Resources, ResourceType } from './resources.ts';
import { matchesSelector } from './select.ts';
import type { Store } from './store.ts';

/** What the lab needs of the cluster to fill in addresses. */
export type AdmitOptions = { readonly serviceCIDRs: readonly string[]; readonly families: readonly (4 | 6)[] };

type Problem = { readonly field: string; readonly message: string };

/** Fills in what an API server fills in, and refuses what it refuses: enough of both for networks, no more. */
export function admit(
  type: ResourceType,
  object: Json,
  before: Json | undefined,
  world: { store: Store; resources: Resources } & AdmitOptions,
): Json {
  const problems = checkMeta(type, object);
  const defaulted = withDefaults(type, object, before, world);
  problems.push(...checkKind(type, defaulted, before));
  if (problems.length > 0)
    throw invalid(
      type.group === '' ? type.kind : `${type.kind}.${type.group}`,
      str(at(object, 'metadata', 'name')),
      problems,
    );
  return defaulted;
}

const LABEL_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** Kinds whose names become DNS labels. */
const SHORT_NAMED = new Set(['Namespace', 'Service', 'VirtualNetwork']);

function checkMeta(type: ResourceType, object: Json): Problem[] {
  const metadata = obj(object['metadata']);
  const name = metadata['name'] ?? (metadata['generateName'] === undefined ? undefined : 'generated');
  if (typeof name !== 'string' || name === '') return [{ field: 'metadata.name', message: 'a name is required' }];
  const problems: Problem[] = [];
  const rbac = type.group === 'rbac.authorization.k8s.io';
  if (SHORT_NAMED.has(type.kind)) {
    if (!LABEL_NAME.test(name))
      problems.push({
        field: 'metadata.name',
        message: `"${name}" must be at most 63 lower-case letters, digits and '-', and begin and end with a letter or digit`,
      });
  } else if (!rbac && (name.length > 253 || !SUBDOMAIN.test(name))) {
    problems.push({
      field: 'metadata.name',
      message: `"${name}" must be at most 253 lower-case letters, digits, '-' and '.'`,
    });
  }
  for (const field of ['labels', 'annotations']) {
    for (const [key, value] of Object.entries(obj(metadata[field]))) {
      const path = `metadata.${field}[${key}]`;
      if (typeof value !== 'string')
        problems.push({ field: path, message: `must be a string, not ${JSON.stringify(value)}: put quotes around it` });
      else if (field === 'labels' && !/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/.test(value))
        problems.push({ field: path, message: `"${value}" is no label value` });
      if (!/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(key))
        problems.push({
          field: path,
          message: `"${key}" is no key of at most 63 characters behind an optional prefix`,
        });
    }
  }
  return problems;
}

function withDefaults(
  type: ResourceType,
  object: Json,
  before: Json | undefined,
  world: { store: Store; resources: Resources } & AdmitOptions,
): Json {
  switch (type.kind) {
    case 'Namespace':
      return {
        ...object,
        metadata: {
          ...obj(object['metadata']),
          labels: {
            ...obj(at(object, 'metadata', 'labels')),
            'kubernetes.io/metadata.name': at(object, 'metadata', 'name'),
          },
        },
        status: object['status'] ?? { phase: 'Active' },
      };
    case 'Pod':
      return {
        ...object,
        spec: podDefaults(obj(object['spec'])),
        status: object['status'] ?? { phase: 'Pending', qosClass: 'BestEffort' },
      };
    case 'Service':
      return type.group === ''
        ? {
            ...object,
            spec: serviceDefaults(obj(object['spec']), obj(before?.['spec']), world),
            status: object['status'] ?? { loadBalancer: {} },
          }
        : object;
    case 'Deployment':
    case 'ReplicaSet':
    case 'StatefulSet':
      return { ...object, spec: { ...obj(object['spec']), replicas: at(object, 'spec', 'replicas') ?? 1 } };
    case 'EndpointSlice':
      return { ...object, endpoints: object['endpoints'] ?? [] };
    default:
      return object;
  }
}

const PROBE_DEFAULTS = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 };

function containerDefaults(c: Json): Json {
  const probes = ['startupProbe', 'readinessProbe', 'livenessProbe'].flatMap((p) =>
    c[p] === undefined ? [] : [[p, { ...PROBE_DEFAULTS, ...obj(c[p]) }]],
  );
  const ports = c['ports'] === undefined ? {} : { ports: arr(c['ports']).map((p) => ({ protocol: 'TCP', ...p })) };
  return { ...c, ...ports, ...Object.fromEntries(probes) };
}

function podDefaults(spec: Json): Json {
  const containers = Array.isArray(spec['containers'])
    ? arr(spec['containers']).map(containerDefaults)
    : spec['containers'];
  return {
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    serviceAccountName: 'default',
    terminationGracePeriodSeconds: 30,
    ...spec,
    containers,
  };
}

function serviceDefaults(spec: Json, before: Json, world: { store: Store; resources: Resources } & AdmitOptions): Json {
  const type = str(spec['type']) || 'ClusterIP';
  const ports = arr(spec['ports']).map((p) => ({ protocol: 'TCP', targetPort: p['port'], ...p }));
  if (type === 'ExternalName') return { ...spec, type };
  const services = [...world.store.all(world.resources.kind('Service', ''))];
  const policy = str(spec['ipFamilyPolicy']) || 'SingleStack';
  const wished = strs(spec['ipFamilies']).map((f): 4 | 6 => (f === 'IPv6' ? 6 : 4));
  const order = [...new Set([...wished, ...world.families])].filter((f) => world.families.includes(f));
  const families = policy === 'SingleStack' ? order.slice(0, 1) : order;
  const kept = strs(before['clusterIPs']);
  const given =
    strs(spec['clusterIPs']).length > 0
      ? strs(spec['clusterIPs'])
      : spec['clusterIP'] === undefined || spec['clusterIP'] === ''
        ? kept
        : [str(spec['clusterIP'])];
  const used = new Set(services.flatMap((s) => strs(at(s, 'spec', 'clusterIPs'))));
  const clusterIPs =
    given[0] === 'None'
      ? ['None']
      : families.map(
          (f) =>
            given.find((ip) => canonicalIp(ip) !== undefined && familyOf(ip) === f) ??
            freeClusterIp(f, used, world.serviceCIDRs),
        );
  const wantsNodePorts = type === 'NodePort' || type === 'LoadBalancer';
  const usedPorts = new Set(services.flatMap((s) => arr(at(s, 'spec', 'ports')).map((p) => p['nodePort'])));
  return {
    sessionAffinity: 'None',
    internalTrafficPolicy: 'Cluster',
    ...(wantsNodePorts ? { externalTrafficPolicy: 'Cluster' } : {}),
    ...spec,
    type,
    ipFamilyPolicy: policy,
    ipFamilies: families.map((f) => `IPv${f}`),
    clusterIP: clusterIPs[0],
    clusterIPs,
    ports: wantsNodePorts
      ? ports.map((p: Json) => ({
          ...p,
          nodePort:
            p['nodePort'] ??
            arr(before['ports']).find((b) => b['port'] === p['port'])?.['nodePort'] ??
            freeNodePort(usedPorts),
        }))
      : ports,
  };
}

function freeClusterIp(family: 4 | 6, used: Set<string>, cidrs: readonly string[]): string {
  const cidr = cidrs.map(mustPrefix).find((c) => c.family === family);
  if (!cidr) return '';
  // The first 256 are left for addresses that somebody asks for.
  for (let i = 256n; i < sizeOf(cidr) - 1n; i++) {
    const ip = formatIp(nth(cidr, i));
    if (used.has(ip)) continue;
    used.add(ip);
    return ip;
  }
  throw invalid('Service', '', [{ field: 'spec.clusterIPs', message: 'no address is left in the Service range' }]);
}

function freeNodePort(used: Set<unknown>): number {
  for (let port = 30_000; port < 32_768; port++) {
    if (used.has(port)) continue;
    used.add(port);
    return port;
  }
  throw invalid('Service', '', [{ field: 'spec.ports', message: 'no node port is left' }]);
}

function checkKind(type: ResourceType, object: Json, before: Json | undefined): Problem[] {
  const spec = obj(object['spec']);
  switch (type.kind) {
    case 'Pod':
      return [
        ...checkPodSpec(spec, 'spec'),
        ...(before && str(at(before, 'spec', 'nodeName')) !== '' && at(before, 'spec', 'nodeName') !== spec['nodeName']
          ? [{ field: 'spec.nodeName', message: 'a pod never changes its node' }]
          : []),
      ];
    case 'Service':
      return type.group === '' ? checkService(spec) : [];
    case 'Deployment':
    case 'ReplicaSet':
    case 'StatefulSet':
    case 'DaemonSet': {
      const labels = obj(at(spec, 'template', 'metadata', 'labels')) as Record<string, string>;
      const problems = checkPodSpec(obj(at(spec, 'template', 'spec')), 'spec.template.spec');
      if (!isObject(spec['selector'])) problems.push({ field: 'spec.selector', message: 'a selector is required' });
      else if (!matchesSelector(spec['selector'], labels))
        problems.push({ field: 'spec.template.metadata.labels', message: 'the selector does not match these labels' });
      return problems;
    }
    case 'Job':
      return checkPodSpec(obj(at(spec, 'template', 'spec')), 'spec.template.spec');
    case 'CustomResourceDefinition':
      return [...checkDefinition(object)];
    case 'ValidatingAdmissionPolicy':
      return [...checkPolicy(object)];
    case 'ValidatingWebhookConfiguration':
    case 'MutatingWebhookConfiguration':
      return [...checkWebhooks(object)];
    default:
      return [];
  }
}

function checkPodSpec(spec: Json, path: string): Problem[] {
  const containers = arr(spec['containers']);
  if (containers.length === 0) return [{ field: `${path}.containers`, message: 'at least one container is required' }];
  return containers.flatMap((c, i) => {
    const problems: Problem[] = [];
    if (str(c['name']) === '') problems.push({ field: `${path}.containers[${i}].name`, message: 'a name is required' });
    for (const [j, p] of arr(c['ports']).entries()) {
      if (!isPort(p['containerPort']))
        problems.push({
          field: `${path}.containers[${i}].ports[${j}].containerPort`,
          message: `${JSON.stringify(p['containerPort'])} is no port from 1 to 65535`,
        });
      problems.push(...checkProtocol(p, `${path}.containers[${i}].ports[${j}].protocol`));
    }
    return problems;
  });
}

function checkService(spec: Json): Problem[] {
  const ports = arr(spec['ports']);
  if (ports.length === 0 && spec['clusterIP'] !== 'None' && spec['type'] !== 'ExternalName')
    return [{ field: 'spec.ports', message: 'at least one port is required' }];
  return ports.flatMap((p, i) => [
    ...(isPort(p['port'])
      ? []
      : [{ field: `spec.ports[${i}].port`, message: `${JSON.stringify(p['port'])} is no port from 1 to 65535` }]),
    ...(ports.length > 1 && str(p['name']) === ''
      ? [{ field: `spec.ports[${i}].name`, message: 'a name is required when there are several ports' }]
      : []),
    ...checkProtocol(p, `spec.ports[${i}].protocol`),
  ]);
}

const isPort = (v: unknown): boolean => Number.isInteger(v) && num(v) >= 1 && num(v) <= 65_535;
const checkProtocol = (p: Json, field: string): Problem[] =>
  p['protocol'] === undefined || ['TCP', 'UDP', 'SCTP'].includes(str(p['protocol']))
    ? []
    : [{ field, message: `${JSON.stringify(p['protocol'])} is not TCP, UDP or SCTP` }];
