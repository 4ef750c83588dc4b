import jsonPatch from 'fast-json-patch';
import { ApiError, badRequest } from '../model/error.ts';

type Json = { [key: string]: unknown };

/**
 * Applies a patch by its content type. Throws 400, 415 or 422. `custom`: an object of a custom resource, whose lists are replaced as a
 * whole.
 */
export function applyPatch(contentType: string, object: object, patch: unknown, { custom = false } = {}): Json {
  const type = contentType.split(';')[0]?.trim();
  switch (type) {
    case 'application/json-patch+json':
      return applyJsonPatch(object, patch);
    case 'application/merge-patch+json':
      return mergePatch(object, asObject(patch)) as Json;
    case 'application/strategic-merge-patch+json':
      if (custom)
        throw new ApiError(
          415,
          'UnsupportedMediaType',
          'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml',
        );
      return strategicMerge(object as Json, asObject(patch), keysFor(object as Json));
    case 'application/apply-patch+yaml':
      return strategicMerge(object as Json, asObject(patch), custom ? {} : keysFor(object as Json));
    default:
      throw new ApiError(
        415,
        'UnsupportedMediaType',
        `patch type ${type} is not served; use JSON, merge, strategic merge or apply`,
      );
  }
}

function applyJsonPatch(object: object, patch: unknown): Json {
  if (!Array.isArray(patch)) throw badRequest('a JSON patch is a list of operations');
  try {
    return jsonPatch.applyPatch(structuredClone(object), patch as jsonPatch.Operation[], true).newDocument as Json;
  } catch (error) {
    throw new ApiError(422, 'Invalid', `the JSON patch cannot be applied: ${(error as Error).message.split('\n')[0]}`);
  }
}

/** RFC 7386 */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result: Json = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/** Keys by which lists of objects are merged. A list that is not named is replaced. */
type MergeKeys = Readonly<Record<string, readonly string[]>>;

/** From the API types' patchMergeKey tags. */
const MERGE_KEYS: MergeKeys = {
  containers: ['name'],
  initContainers: ['name'],
  ephemeralContainers: ['name'],
  env: ['name'],
  volumes: ['name'],
  volumeMounts: ['mountPath'],
  volumeDevices: ['devicePath'],
  imagePullSecrets: ['name'],
  hostAliases: ['ip'],
  conditions: ['type'],
  addresses: ['type'],
  ownerReferences: ['uid'],
  secrets: ['name'],
  topologySpreadConstraints: ['topologyKey'],
};
/** Ports are merged in a Service by their number, in a container by another; in slices and policies they are replaced. */
function keysFor({ kind }: Json): MergeKeys {
  switch (kind) {
    case 'Service':
      return { ...MERGE_KEYS, ports: ['port'] };
    case 'EndpointSlice':
    case 'Endpoints':
    case 'NetworkPolicy':
      return MERGE_KEYS;
    default:
      return { ...MERGE_KEYS, ports: ['containerPort'] };
  }
}

/** Lists of scalars that are merged as sets. */
const MERGED_SCALARS = new Set(['finalizers']);

function strategicMerge(target: Json, patch: Json, keys: MergeKeys): Json {
  if (patch['$patch'] === 'replace') return without(patch, '$patch');
  const retain = Array.isArray(patch['$retainKeys']) ? new Set(patch['$retainKeys'] as string[]) : undefined;
  const result: Json = retain
    ? Object.fromEntries(Object.entries(target).filter(([k]) => retain.has(k)))
    : { ...target };
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith('$setElementOrder/') || key === '$retainKeys') continue;
    if (key.startsWith('$deleteFromPrimitiveList/')) {
      const field = key.slice(key.indexOf('/') + 1);
      const gone = new Set(value as unknown[]);
      result[field] = ((result[field] as unknown[] | undefined) ?? []).filter((v) => !gone.has(v));
    } else if (value === null) delete result[key];
    else if (Array.isArray(value)) result[key] = mergeList(key, result[key], value, keys);
    else if (isObject(value)) result[key] = strategicMerge(isObject(result[key]) ? result[key] : {}, value, keys);
    else result[key] = value;
  }
  return result;
}

function mergeList(field: string, target: unknown, patch: readonly unknown[], keys: MergeKeys): unknown[] {
  if (MERGED_SCALARS.has(field)) return [...new Set([...((target as unknown[] | undefined) ?? []), ...patch])];
  const key = keys[field]?.find((k) => patch.every((p) => isObject(p) && (k in p || '$patch' in p)));
  if (key === undefined) return [...patch];
  if (patch.some((p) => isObject(p) && p['$patch'] === 'replace'))
    return patch.filter((p) => !(isObject(p) && '$patch' in p));
  const result: unknown[] = [...((target as unknown[] | undefined) ?? [])];
  for (const item of patch as Json[]) {
    // Ports may share a number and differ in protocol: then both must agree.
    const same = (o: unknown): boolean =>
      isObject(o) && o[key] === item[key] && (!('protocol' in item) || (o['protocol'] ?? 'TCP') === item['protocol']);
    const at = result.findIndex(same);
    if (item['$patch'] === 'delete') {
      if (at >= 0) result.splice(at, 1);
    } else if (at >= 0) result[at] = strategicMerge(result[at] as Json, item, keys);
    else result.push(item);
  }
  return result;
}

const isObject = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v);
function asObject(v: unknown): Json {
  if (!isObject(v)) throw badRequest('the patch is not an object');
  return v;
}
function without(o: Json, key: string): Json {
  const { [key]: _, ...rest } = o;
  return rest;
}
