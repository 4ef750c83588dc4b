import jsonPatch from 'fast-json-patch';
import { ApiError, badRequest } from './error.ts';

type Json = { [key: string]: unknown };

/** Applies a patch by its content type. Throws 400, 415 or 422. */
export function applyPatch(contentType: string, object: object, patch: unknown): Json {
  const type = contentType.split(';')[0]?.trim();
  switch (type) {
    case 'application/json-patch+json':
      return applyJsonPatch(object, patch);
    case 'application/merge-patch+json':
      return mergePatch(object, asObject(patch)) as Json;
    case 'application/strategic-merge-patch+json':
    case 'application/apply-patch+yaml':
      return strategicMerge(object as Json, asObject(patch));
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

/**
 * Keys by which lists of objects are merged, from the API types' patchMergeKey tags. A list that is not named here is replaced.
 * "ports" has two: a container's by containerPort, a Service's by port.
 */
const MERGE_KEYS: Readonly<Record<string, readonly string[]>> = {
  containers: ['name'],
  initContainers: ['name'],
  ephemeralContainers: ['name'],
  ports: ['containerPort', 'port'],
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
/** Lists of scalars that are merged as sets. */
const MERGED_SCALARS = new Set(['finalizers']);

function strategicMerge(target: Json, patch: Json): Json {
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
    else if (Array.isArray(value)) result[key] = mergeList(key, result[key], value);
    else if (isObject(value)) result[key] = strategicMerge(isObject(result[key]) ? result[key] : {}, value);
    else result[key] = value;
  }
  return result;
}

function mergeList(field: string, target: unknown, patch: readonly unknown[]): unknown[] {
  if (MERGED_SCALARS.has(field)) return [...new Set([...((target as unknown[] | undefined) ?? []), ...patch])];
  const key = MERGE_KEYS[field]?.find((k) => patch.every((p) => isObject(p) && (k in p || '$patch' in p)));
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
    } else if (at >= 0) result[at] = strategicMerge(result[at] as Json, item);
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
