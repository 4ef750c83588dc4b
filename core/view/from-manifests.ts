import { DEFAULT_NETWORK_NAME } from '../../api/names.ts';
import { formatIp } from '../../lib/ip/address.ts';
import { policyKey } from '../cluster/policy.ts';
import { isolation } from '../networks/assign.ts';
import { translateAdminNetworkPolicy } from '../read/admin-network-policy.ts';
import { readDefinition } from '../read/definition.ts';
import {
  groupOf,
  isAdminNetworkPolicy,
  isForeignPolicy,
  isNamespaced,
  type ReadKind,
  readKindOf,
} from '../read/kinds.ts';
import {
  type Raw,
  readEndpointSlice,
  readNamespace,
  readNetwork,
  readNode,
  readPod,
  readRouter,
  readService,
  readSettings,
} from '../read/objects.ts';
import { parsePolicy } from '../read/policy.ts';
import { objectOf } from '../read/problems.ts';
import {
  type ClusterState,
  emptyClusterState,
  keyOf,
  type Namespace,
  type Network,
  type Pod,
} from '../cluster/state.ts';
import { slicesOfService } from './offline-services.ts';
import { hasTemplate, podsOfManifests, templatesIn } from './workloads.ts';

/** An object, and the place in a file where it stands. */
export type ManifestObject = { readonly object: Raw; readonly at: string };

/** The same with its namespace and name, and what it was before. */
type Named<T> = ManifestObject & { readonly written: T };

/** Policies of one kind that Bulkhead does not judge. */
export type NotJudged = { readonly apiVersion: string; readonly kind: string; readonly places: readonly string[] };

/** What manifests say. */
export type Manifests<T> = {
  /** The cluster that they describe: see {@link fromManifests}. */
  readonly state: ClusterState;
  /** The objects that count, as they were taken: with namespace and name, translated, and with the pods of workloads. */
  readonly taken: readonly Raw[];
  /** What each policy, by policyKey, was written as. */
  readonly policies: ReadonlyMap<string, T>;
  /** Policies that have no say in any answer. */
  readonly notJudged: readonly NotJudged[];
  /** What was read in another way than it is written, each with its place. */
  readonly notes: readonly string[];
  /** Why the manifests mean nothing: no name, or two objects of one. */
  readonly problems: readonly string[];
};

/**
 * A cluster as manifests alone describe it: bare pods, one for each workload, and behind each Service the pods that it selects. An
 * address that no manifest gives is one of 0.0.0.0/8 and of ::/96, which only the prefix of everything holds.
 *
 * @param options.namespace of objects that name none
 */
export function fromManifests<T extends ManifestObject>(
  objects: readonly T[],
  { namespace = 'default' }: { readonly namespace?: string } = {},
): Manifests<T> {
  const { named, problems: nameless } = withNames(objects, namespace);
  const { translated, notJudged, notes } = translate(named);
  const problems = [...nameless, ...duplicates(translated)];
  const raws = translated.map((o) => o.object);
  const taken = [
    ...raws.filter((o) => readKindOf(o) !== undefined && readKindOf(o) !== 'Pod'),
    ...podsOfManifests(raws),
  ];
  const policies = new Map(
    translated.flatMap(({ object, written }) => {
      const policy = parsePolicy(object);
      return policy ? [[policyKey(policy), written] as const] : [];
    }),
  );
  return { state: stateOf(taken), taken, policies, notJudged, notes: [...notes, ...oddities(named)], problems };
}

/** The state of {@link fromManifests}. Throws an Error with all problems. */
export function stateOfManifests(objects: readonly Raw[]): ClusterState {
  const { state, problems } = fromManifests(objects.map((object, i) => ({ object, at: `object ${i + 1}` })));
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return state;
}

function stateOf(objects: readonly Raw[]): ClusterState {
  const byKind = Map.groupBy(objects, readKindOf);
  const of = (kind: ReadKind): readonly Raw[] => byKind.get(kind) ?? [];
  const rawServices = of('Service');
  const read = of('Pod').map(readPod);
  const pods = read.map(withAddresses);
  const waiting = new Set(pods.filter((_, i) => isWaiting(of('Pod')[i] ?? {})));
  const services = rawServices.map((raw, i) => readService(withClusterIPs(raw, pods.length + i)));
  const networks = of('VirtualNetwork').map(readNetwork);
  const namespaces = new Map(of('Namespace').map((raw) => [nameOf(raw), readNamespace(raw)]));
  for (const { namespace } of [...pods, ...services, ...networks])
    if (!namespaces.has(namespace)) namespaces.set(namespace, plainNamespace(namespace));
  const written = of('EndpointSlice').map(readEndpointSlice);
  const sliced = new Set(written.map((s) => `${s.namespace}/${s.service}`));
  const podsByNamespace = Map.groupBy(pods, (p) => p.namespace);
  const slices = rawServices.flatMap((raw, i) => {
    const service = services[i];
    if (!service || sliced.has(keyOf(service))) return [];
    return slicesOfService(raw, podsByNamespace.get(service.namespace) ?? [], waiting);
  });
  const policies = [...of('NetworkPolicy'), ...of('ClusterNetworkPolicy')].flatMap((raw) => parsePolicy(raw) ?? []);
  const definitions = of('NetworkAttachmentDefinition').map(readDefinition);
  const settings = of('BulkheadConfig').map(readSettings)[0];
  return {
    ...emptyClusterState,
    ...(settings ? { settings } : {}),
    ...(definitions.length > 0 ? { definitions: byKey(definitions) } : {}),
    namespaces,
    nodes: new Map(of('Node').map((raw) => [nameOf(raw), readNode(raw)])),
    pods: byKey(pods),
    networks: numbered([...networks, ...ownNetworks(namespaces.values(), networks)]),
    routers: byKey(of('VirtualNetworkRouter').map(readRouter)),
    services: byKey(services),
    slices: byKey([...written, ...slices]),
    policies: new Map(policies.map((p) => [policyKey(p), p])),
    podCIDRs: [],
  };
}

/** Whether an address stands for one that no manifest tells. */
export const isUnknownAddress = (ip: string): boolean =>
  ip.startsWith('0.') || /^::[0-9a-f]{1,4}:[0-9a-f]{1,4}$/.test(ip);

/** Gives each object its namespace, its name and a uid. What has no name and means nothing to a network is left out. */
function withNames<T extends ManifestObject>(
  objects: readonly T[],
  namespace: string,
): { readonly named: Named<T>[]; readonly problems: string[] } {
  const problems: string[] = [];
  const generated = new Map<string, number>();
  const named = objects.flatMap((written): Named<T>[] => {
    const { object, at } = written;
    const kind = readKindOf(object);
    const meta = objectOf(object['metadata']);
    const place = isNamespaced(kind) ? { namespace: text(meta['namespace']) || namespace } : {};
    let name = text(meta['name']);
    const prefix = text(meta['generateName']);
    if (name === '' && prefix !== '') {
      const series = `${String(object['kind'])} ${place.namespace} ${prefix}`;
      generated.set(series, (generated.get(series) ?? 0) + 1);
      name = `${prefix}${generated.get(series)}`;
    }
    if (name === '') {
      if (kind !== undefined || isForeignPolicy(object) || hasTemplate(object))
        problems.push(`${at}: a ${String(object['kind'])} without metadata.name${noText(meta['name'])}`);
      return [];
    }
    const uid = text(meta['uid']) || `${String(object['kind'])} ${place.namespace ?? ''}/${name}`;
    return [{ object: { ...object, metadata: { ...meta, ...place, name, uid } }, at, written }];
  });
  return { named, problems };
}

/** Says of policies which are translated, and which are not judged. */
function translate<T>(objects: readonly Named<T>[]): {
  readonly translated: Named<T>[];
  readonly notJudged: NotJudged[];
  readonly notes: string[];
} {
  const others: Named<T>[] = [];
  const notes: string[] = [];
  const translated = objects.flatMap((o): Named<T>[] => {
    if (!isAdminNetworkPolicy(o.object)) {
      if (isForeignPolicy(o.object)) others.push(o);
      return [o];
    }
    const name = `${String(o.object['kind'])} ${nameOf(o.object)}`;
    const { policies, notes: own, problems } = translateAdminNetworkPolicy(o.object);
    for (const text of [...problems, ...own]) notes.push(`${o.at}: ${name}: ${text}`);
    if (problems.length > 0) {
      others.push(o);
      return [];
    }
    notes.push(`${o.at}: ${name} is read as a ClusterNetworkPolicy: Bulkhead enforces it once it is converted`);
    return policies.map((object) => ({ object, at: `${o.at} (from ${name})`, written: o.written }));
  });
  const byKind = Map.groupBy(others, ({ object }) => `${String(object['apiVersion'])} ${String(object['kind'])}`);
  const notJudged = [...byKind.values()].map((same): NotJudged => {
    const { apiVersion, kind } = same[0]?.object ?? {};
    return { apiVersion: String(apiVersion), kind: String(kind), places: same.map(({ at }) => at) };
  });
  return { translated, notJudged, notes };
}

/** What the API server would refuse or not know in objects that count: it is read in some other way here. */
function oddities(objects: readonly ManifestObject[]): string[] {
  return objects.flatMap(({ object, at }) => {
    const what = `${at}: ${String(object['kind'])} ${nameOf(object)}`;
    if (object['kind'] === 'Template' && Array.isArray(object['objects']))
      return [`${what}: its objects are not read: give what "oc process" makes of it`];
    if (readKindOf(object) === undefined && !hasTemplate(object)) return [];
    const labels = [object, ...templatesIn(object)].flatMap((o) =>
      Object.entries(objectOf(objectOf(o['metadata'])['labels'])),
    );
    return labels
      .filter(([, value]) => value !== null && typeof value !== 'string')
      .map(
        ([key, value]) => `${what}: label ${key} is ignored: ${JSON.stringify(value)} is no string, put it in quotes`,
      );
  });
}

/** Objects of one group, kind, namespace and name: which of them counts would be a guess. */
function duplicates(objects: readonly ManifestObject[]): string[] {
  const places = new Map<string, string>();
  return objects.flatMap(({ object, at }) => {
    const { namespace, name } = objectOf(object['metadata']);
    const where = isNamespaced(readKindOf(object)) ? `${String(namespace)}/` : '';
    const key = `${groupOf(object)} ${String(object['kind'])} ${where}${String(name)}`;
    const before = places.get(key);
    places.set(key, before ?? at);
    return before === undefined
      ? []
      : [`${String(object['kind'])} ${where}${String(name)} is there twice: ${before} and ${at}`];
  });
}

const nameOf = (raw: Raw): string => text(objectOf(raw['metadata'])['name']);
/** YAML reads some names as other things: n, no, on, 1e3. */
const noText = (name: unknown): string =>
  typeof name === 'boolean' || typeof name === 'number'
    ? ` (it is read as ${String(name)}, which is no text: put it in quotes)`
    : '';

const text = (v: unknown): string => (typeof v === 'string' ? v : '');

/** Whether a pod says itself that it is not ready. One that says nothing, as in manifests, counts as ready. */
function isWaiting(raw: Raw): boolean {
  const { conditions } = objectOf(raw['status']);
  return (
    Array.isArray(conditions) && !conditions.map(objectOf).some((c) => c['type'] === 'Ready' && c['status'] === 'True')
  );
}

/** The addresses that a cluster would give a Service; ExternalName and headless ones have none. */
function withClusterIPs(raw: Raw, i: number): Raw {
  const spec = objectOf(raw['spec']);
  const none = spec['type'] === 'ExternalName' || (spec['clusterIP'] ?? '') !== '' || Array.isArray(spec['clusterIPs']);
  return none ? raw : { ...raw, spec: { ...spec, clusterIPs: unknownAddresses(i) } };
}

const withAddresses = (pod: Pod, i: number): Pod => (pod.ips.length > 0 ? pod : { ...pod, ips: unknownAddresses(i) });

function unknownAddresses(i: number): string[] {
  const value = BigInt(i + 1) + 0x10000n; // "::1" is loopback
  return [formatIp({ family: 4, value }), formatIp({ family: 6, value })];
}

const plainNamespace = (name: string): Namespace => readNamespace({ metadata: { name, uid: name } });

/** The network of each isolated namespace, which the controller would make. */
function ownNetworks(namespaces: Iterable<Namespace>, known: readonly Network[]): Network[] {
  return [...namespaces].flatMap((n) => {
    const isolated = isolation(n);
    const there = known.some((k) => k.namespace === n.name && k.name === DEFAULT_NETWORK_NAME);
    if (there || !('isolated' in isolated) || !isolated.isolated) return [];
    return [
      readNetwork({ metadata: { namespace: n.name, name: DEFAULT_NETWORK_NAME, uid: `${n.name}/default` }, spec: {} }),
    ];
  });
}

const byKey = <T extends { readonly namespace: string; readonly name: string }>(all: readonly T[]): Map<string, T> =>
  new Map(all.map((o) => [keyOf(o), o]));

const numbered = (networks: readonly Network[]): Map<string, Network> =>
  new Map(networks.map((n, i) => [keyOf(n), { ...n, vni: n.vni ?? i + 2 }]));
