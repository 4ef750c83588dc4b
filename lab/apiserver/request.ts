import { ApiError, notFound, notServed } from './model/error.ts';
import type { Resources, ResourceType } from './objects/resources.ts';

/** What a path asks for. */
export type Target = {
  readonly type: ResourceType;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
};

/** Reads "/apis/apps/v1/namespaces/x/deployments/y/scale". Throws 404 or 501. */
export function parseTarget(path: string, resources: Resources): Target {
  const parts = path
    .split('/')
    .filter((p) => p !== '')
    .map(decodeURIComponent);
  const [root, ...rest] = parts;
  const [group, version, ...tail] = root === 'api' ? ['', ...rest] : rest;
  if ((root !== 'api' && root !== 'apis') || group === undefined || version === undefined || tail.length === 0) {
    throw new ApiError(404, 'NotFound', `the server could not find the requested resource (${path})`);
  }
  if (tail[0] === 'watch') throw notServed('paths below /watch; add ?watch=true');
  const scoped =
    tail[0] === 'namespaces' &&
    tail.length > 2 &&
    !(tail.length === 3 && ['status', 'finalize'].includes(tail[2] ?? ''));
  const [plural = '', name, subresource] = scoped ? tail.slice(2) : tail;
  const type = resources.find(group, version, plural);
  if (!type)
    throw new ApiError(
      404,
      'NotFound',
      `the server could not find the requested resource: ${plural}.${version}.${group === '' ? 'core' : group}`,
    );
  if (scoped && !type.namespaced) throw notFound('the requested resource', path);
  if (subresource !== undefined) refuseUnserved(type, subresource);
  return {
    type,
    ...(scoped ? { namespace: tail[1] ?? '' } : {}),
    ...(name === undefined ? {} : { name }),
    ...(subresource === undefined ? {} : { subresource }),
  };
}

function refuseUnserved(type: ResourceType, subresource: string): void {
  if (subresource === 'status' && type.status) return;
  if (subresource === 'scale' && type.scalable) return;
  if (type.kind === 'Namespace' && subresource === 'finalize') return;
  switch (subresource) {
    case 'log':
    case 'exec':
    case 'attach':
    case 'portforward':
    case 'proxy':
      throw notServed(
        `${type.plural}/${subresource}: no container runs here. To run a program in a pod's network: bulkhead lab exec NAMESPACE/POD -- COMMAND`,
      );
    default:
      throw notServed(`subresource ${type.plural}/${subresource}`);
  }
}
