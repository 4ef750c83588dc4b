import type { output, ZodError, ZodSafeParseResult, ZodType } from 'zod';
import { bulkheadConfigSpec, type BulkheadConfigSpec } from '../../api/kinds/bulkhead-config.ts';
import { virtualNetworkRouterSpec } from '../../api/kinds/virtual-network-router.ts';
import { virtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import { MANAGED_BY, type Name, NETWORK } from '../../api/names.ts';
import { type Frontend, PROTOCOLS, type Protocol } from '../../api/nodeconfig.ts';
import { canonicalIp } from '../../lib/ip/address.ts';
import { formatPrefix, parsePrefix } from '../../lib/ip/prefix.ts';
import { ownAnnotations } from './annotations.ts';
import { networkProblems } from './network-problems.ts';
import { BULKHEAD_READY, NETWORK_UNAVAILABLE } from '../nodes/conditions.ts';
import type {
  ContainerPort,
  EndpointSlice,
  Namespace,
  Network,
  Node,
  Pod,
  Router,
  Service,
  Settings,
  Strings,
  Workload,
} from '../cluster/state.ts';
import { withoutNulls } from './without-nulls.ts';

/**
 * From API objects to slim ones. Whatever the API server lets through must be survived: a missing or odd field becomes
 * its default, an unreadable address is left out.
 */

/** Any JSON object as it came from the API. */
export type Raw = { readonly [key: string]: unknown };

export function readNamespace(raw: Raw): Namespace {
  const meta = readMeta(raw);
  return {
    name: meta.name,
    uid: meta.uid,
    labels: meta.labels,
    annotations: ownAnnotations(meta.annotations),
    deleting: meta.deleting,
    created: meta.created,
  };
}

export function readNode(raw: Raw): Node {
  const spec = object(raw['spec']);
  const all = list(object(raw['status'])['addresses']);
  const internal = ips(all.filter((a) => a['type'] === 'InternalIP').map((a) => text(a['address'])));
  // ExternalIP, and names that are addresses: a kubelet whose node has no name of its own writes its address as Hostname.
  const others = ips(all.map((a) => text(a['address'])));
  const cidrs = strings(spec['podCIDRs']);
  const single = text(spec['podCIDR']);
  return {
    ...pick(readMeta(raw), 'name', 'uid'),
    addresses: internal,
    further: [...new Set(others)].filter((a) => !internal.includes(a)),
    routes: [],
    labels: readMeta(raw).labels,
    zone: readMeta(raw).labels['topology.kubernetes.io/zone'] ?? '',
    podCIDRs: prefixes(cidrs.length > 0 ? cidrs : single ? [single] : []),
    conditions: list(object(raw['status'])['conditions'])
      .filter((c) => c['type'] === NETWORK_UNAVAILABLE || c['type'] === BULKHEAD_READY)
      .map((c) => ({
        type: text(c['type']),
        status: c['status'] === 'True' || c['status'] === 'False' ? c['status'] : 'Unknown',
        reason: text(c['reason']),
        message: text(c['message']),
      })),
  };
}

export function readPod(raw: Raw): Pod {
  const meta = readMeta(raw);
  const spec = object(raw['spec']);
  const status = object(raw['status']);
  const podIPs = list(status['podIPs']).map((p) => text(p['ip']));
  const phase = text(status['phase']);
  return {
    namespace: meta.namespace,
    name: meta.name,
    uid: meta.uid,
    node: text(spec['nodeName']),
    hostNetwork: spec['hostNetwork'] === true,
    ips: ips(podIPs.length > 0 ? podIPs : [text(status['podIP'])]),
    labels: meta.labels,
    // The API server writes it; manifests alone need not.
    serviceAccount: text(spec['serviceAccountName']) || 'default',
    annotations: ownAnnotations(meta.annotations),
    finished: phase === 'Succeeded' || phase === 'Failed',
    created: meta.created,
    ready: list(status['conditions']).some((c) => c['type'] === 'Ready' && c['status'] === 'True'),
    // Sidecars are init containers that go on running.
    ports: [
      ...list(spec['containers']),
      ...list(spec['initContainers']).filter((c) => c['restartPolicy'] === 'Always'),
    ].flatMap((c) => list(c['ports']).map((p) => ({ ...readPort(p, 'containerPort'), ...hostPortOf(p) }))),
    ...workloadOf(meta.labels, list(object(raw['metadata'])['ownerReferences'])),
  };
}

function hostPortOf(port: Raw): Pick<ContainerPort, 'hostPort' | 'hostIP'> {
  const hostPort = number(port['hostPort']);
  if (hostPort === 0) return {};
  const hostIP = canonicalIp(text(port['hostIP']));
  // An unspecified address means all of them.
  return { hostPort, ...(hostIP === undefined || hostIP === '0.0.0.0' || hostIP === '::' ? {} : { hostIP }) };
}

/** What made a pod. A Deployment stands behind its ReplicaSet, a CronJob behind its Job: their names begin with its own. */
function workloadOf(labels: Strings, owners: readonly Raw[]): { readonly workload?: Workload } {
  const owner = owners.find((o) => o['controller'] === true) ?? owners[0];
  const [kind, name] = [text(owner?.['kind']), text(owner?.['name'])];
  if (name === '') return {};
  const hash = labels['pod-template-hash'];
  if (kind === 'ReplicaSet' && hash !== undefined && name.endsWith(`-${hash}`))
    return { workload: { kind: 'Deployment', name: name.slice(0, -hash.length - 1) } };
  const [, cron] = /^(.+)-\d{8,}$/.exec(name) ?? [];
  if (kind === 'Job' && cron !== undefined) return { workload: { kind: 'CronJob', name: cron } };
  return { workload: { kind, name } };
}

export function readNetwork(raw: Raw): Network {
  const meta = readMeta(raw);
  const parsed = parseSpec(virtualNetworkSpec, raw['spec']);
  const problems = parsed.success ? networkProblems(parsed.data) : describeIssues(parsed.error);
  const vni = object(raw['status'])['vni'];
  const egressNode = text(object(raw['status'])['egressNode']);
  return {
    ...pick(meta, 'namespace', 'name', 'uid', 'deleting', 'labels', 'created'),
    generation: number(object(raw['metadata'])['generation']),
    managed: meta.labels[MANAGED_BY.key] === MANAGED_BY.value,
    spec: parsed.success && problems.length === 0 ? parsed.data : undefined,
    problems,
    vni: typeof vni === 'number' ? vni : undefined,
    ...(egressNode === '' ? {} : { egressNode }),
  };
}

export function readRouter(raw: Raw): Router {
  const meta = readMeta(raw);
  const parsed = parseSpec(virtualNetworkRouterSpec, raw['spec']);
  return {
    ...pick(meta, 'namespace', 'name', 'uid', 'deleting', 'labels', 'created'),
    generation: number(object(raw['metadata'])['generation']),
    spec: parsed.success ? parsed.data : undefined,
    problems: parsed.success ? [] : describeIssues(parsed.error),
  };
}

const describeIssues = (error: ZodError): string[] =>
  error.issues.map(
    (i) => `spec${i.path.map((p) => (typeof p === 'number' ? `[${p}]` : `.${String(p)}`)).join('')}: ${i.message}`,
  );

/**
 * What a BulkheadConfig says. A part that this version cannot read, such as a value of a newer one, counts as the least that it could
 * say: an administrator's ceiling never goes away because a program is older than the object.
 */
export function readSettings(raw: Raw): Settings {
  const since = Date.parse(text(object(raw['status'])['isolatingSince']));
  const parsed = parseSpec(bulkheadConfigSpec, raw['spec']);
  const unreadable = parsed.success ? [] : describeIssues(parsed.error);
  const spec = parsed.success
    ? parsed.data
    : withClosedParts(withoutNulls(object(raw['spec'])), parsed.error, !Number.isNaN(since));
  const { isolation, egress, subnets, services, apiServerAccess } = spec;
  return {
    isolateNew: isolation.newNamespaces === 'Isolated',
    since: Number.isNaN(since) ? undefined : since,
    exceptNames: isolation.except.names,
    exceptLabels: isolation.except.matchLabels,
    egress: egress.defaultMode,
    ...(apiServerAccess === 'All' ? {} : { apiServerAccess }),
    ceilings: { subnets, egress, services },
    ...(unreadable.length > 0 ? { unreadable } : {}),
  };
}

function withClosedParts(spec: Raw, error: ZodError, isolating: boolean): BulkheadConfigSpec {
  const closed: Raw = {
    // Namespaces go on as before: whether new ones were isolated stands in the status.
    isolation: { newNamespaces: isolating ? 'Isolated' : 'Flat' },
    subnets: { pools: [] },
    egress: { limits: [{ modes: ['None'] }] },
    services: { limits: [{ allow: [] }] },
    apiServerAccess: 'None',
  };
  const broken = new Set(error.issues.map((i) => String(i.path[0] ?? '')));
  if (broken.has('')) return bulkheadConfigSpec.parse(closed); // no object at all
  const known = parseSpec(bulkheadConfigSpec, {
    ...Object.fromEntries(Object.entries(spec).filter(([part]) => part in closed && !broken.has(part))),
    ...Object.fromEntries(Object.entries(closed).filter(([part]) => broken.has(part))),
  });
  return known.success ? known.data : bulkheadConfigSpec.parse(closed);
}

/**
 * A field that this version does not know is passed over, as Kubernetes clients do: during an upgrade the API server may
 * have the newer kind already. Users' own mistakes are refused by the API server, before they are stored.
 */
function parseSpec<S extends ZodType>(schema: S, spec: unknown): ZodSafeParseResult<output<S>> {
  const raw = withoutNulls(spec ?? {});
  const parsed = schema.safeParse(raw);
  const unknown = parsed.success ? [] : parsed.error.issues.filter((i) => i.code === 'unrecognized_keys');
  if (unknown.length === 0) return parsed;
  const known = structuredClone(raw) as Raw;
  for (const issue of unknown) {
    const parent = issue.path.reduce<unknown>((at, step) => (at as Raw)[step as string], known) as Record<
      string,
      unknown
    >;
    for (const key of issue.keys) delete parent[key];
  }
  return schema.safeParse(known);
}

/** With either label kube-proxy passes a Service over: another proxy may serve it, or none does. */
const OTHER_PROXY = ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless'];
const EXPOSED = ['NodePort', 'LoadBalancer'];

export function readService(raw: Raw): Service {
  const meta = readMeta(raw);
  const spec = object(raw['spec']);
  const clusterIPs = strings(spec['clusterIPs']);
  const type = text(spec['type']) || 'ClusterIP';
  const addresses = ips(clusterIPs.length > 0 ? clusterIPs : [text(spec['clusterIP'])]);
  // The others are passed over whole, with external addresses and node ports that may have been left in the object.
  const served = type !== 'ExternalName' && addresses.length > 0 && !OTHER_PROXY.some((label) => label in meta.labels);
  const timeout = object(object(spec['sessionAffinityConfig'])['clientIP'])['timeoutSeconds'];
  return {
    ...pick(meta, 'namespace', 'name', 'uid', 'created'),
    type,
    clusterIPs: served ? addresses : [],
    frontends: served ? readFrontends(spec, object(raw['status'])) : [],
    externalIPs: served ? ips(strings(spec['externalIPs'])).length : 0,
    annotations: pickAnnotations(ownAnnotations(meta.annotations), NETWORK),
    affinitySeconds:
      spec['sessionAffinity'] === 'ClientIP' ? (typeof timeout === 'number' ? timeout : 10_800) : undefined,
    internalTrafficPolicy: spec['internalTrafficPolicy'] === 'Local' ? 'Local' : 'Cluster',
    externalTrafficPolicy: spec['externalTrafficPolicy'] === 'Local' ? 'Local' : 'Cluster',
    ports: list(spec['ports']).map((p) => ({
      ...readPort(p, 'port'),
      ...(served && EXPOSED.includes(type) && number(p['nodePort']) > 0 ? { nodePort: number(p['nodePort']) } : {}),
    })),
  };
}

/** External addresses, and those that a load balancer says it has, with the ranges that may use them. */
function readFrontends(spec: Raw, status: Raw): Frontend[] {
  const ranges = prefixes(strings(spec['loadBalancerSourceRanges']));
  const balanced = list(object(status['loadBalancer'])['ingress'])
    // Proxy: packets must pass the load balancer (KEP-1860).
    .filter((i) => i['ipMode'] !== 'Proxy')
    .flatMap((i) => ips([text(i['ip'])]));
  return [
    ...ips(strings(spec['externalIPs'])).map((ip) => ({ ip })),
    ...balanced.map((ip) => ({ ip, ...(ranges.length > 0 ? { sources: ranges } : {}) })),
  ];
}

const pickAnnotations = (annotations: Strings, name: Name): Strings =>
  Object.fromEntries(Object.entries(annotations).filter(([key]) => key === name.key || name.aliases.includes(key)));

export function readEndpointSlice(raw: Raw): EndpointSlice {
  const meta = readMeta(raw);
  const endpoints = list(raw['endpoints']).flatMap((e) => {
    const conditions = object(e['conditions']);
    const target = object(e['targetRef']);
    const ready = conditions['ready'] !== false; // nil means ready (EndpointSlice API)
    return ips(strings(e['addresses']).slice(0, 1)).map((ip) => ({
      ip,
      node: text(e['nodeName']),
      ready,
      serving: typeof conditions['serving'] === 'boolean' ? conditions['serving'] : ready,
      terminating: conditions['terminating'] === true,
      ...hintsOf(e),
      pod: target['kind'] === 'Pod' ? `${text(target['namespace']) || meta.namespace}/${text(target['name'])}` : '',
    }));
  });
  return {
    ...pick(meta, 'namespace', 'name'),
    service: meta.labels['kubernetes.io/service-name'] ?? '',
    family: raw['addressType'] === 'IPv6' ? 6 : 4,
    ports: list(raw['ports']).map((p) => readPort(p, 'port')),
    endpoints: raw['addressType'] === 'FQDN' ? [] : endpoints,
  };
}

function hintsOf(endpoint: Raw): { readonly zones?: readonly string[]; readonly nodes?: readonly string[] } {
  const hints = object(endpoint['hints']);
  const names = (field: string): string[] =>
    list(hints[field]).flatMap((h) => (text(h['name']) === '' ? [] : [text(h['name'])]));
  const [zones, nodes] = [names('forZones'), names('forNodes')];
  return { ...(zones.length > 0 ? { zones } : {}), ...(nodes.length > 0 ? { nodes } : {}) };
}

function readMeta(raw: Raw) {
  const meta = object(raw['metadata']);
  return {
    namespace: text(meta['namespace']),
    name: text(meta['name']),
    uid: text(meta['uid']),
    labels: stringMap(meta['labels']),
    annotations: stringMap(meta['annotations']),
    deleting: typeof meta['deletionTimestamp'] === 'string',
    created: Date.parse(text(meta['creationTimestamp'])) || 0,
  };
}

function readPort(raw: Raw, field: 'port' | 'containerPort'): ContainerPort {
  const protocol = PROTOCOLS.find((p) => p === raw['protocol']) ?? ('TCP' satisfies Protocol);
  return { name: text(raw['name']), protocol, port: number(raw[field]) };
}

const isObject = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v);
const object = (v: unknown): Raw => (isObject(v) ? v : {});
const list = (v: unknown): Raw[] => (Array.isArray(v) ? v.filter(isObject) : []);
const text = (v: unknown): string => (typeof v === 'string' ? v : '');
const number = (v: unknown): number => (typeof v === 'number' ? v : 0);
const strings = (v: unknown): string[] => (Array.isArray(v) ? v.filter((s) => typeof s === 'string') : []);
const stringMap = (v: unknown): Strings =>
  Object.fromEntries(
    Object.entries(object(v)).flatMap(([key, value]): [string, string][] =>
      // Kubernetes reads null as "" here: a map's entry is no field that could be absent.
      value === null ? [[key, '']] : typeof value === 'string' ? [[key, value]] : [],
    ),
  );
const ips = (texts: readonly string[]): string[] => texts.flatMap((t) => canonicalIp(t) ?? []);
const prefixes = (texts: readonly string[]): string[] =>
  texts.flatMap((t) => {
    const p = parsePrefix(t, { loose: true });
    return p ? [formatPrefix(p)] : [];
  });
function pick<T, K extends keyof T>(from: T, ...keys: K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((k) => [k, from[k]])) as Pick<T, K>;
}
