import type { Resources, ResourceType } from './objects/resources.ts';

/** What a client asks first: which groups, versions and resources there are, and in what form they are patched. */

export function apiVersions(): object {
  return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
}

export function apiGroupList(resources: Resources): object {
  const versions = new Map<string, Set<string>>();
  for (const t of resources)
    if (t.group !== '') versions.set(t.group, (versions.get(t.group) ?? new Set()).add(t.version));
  return { kind: 'APIGroupList', apiVersion: 'v1', groups: [...versions].map(([name, vs]) => group(name, [...vs])) };
}

export function apiGroup(resources: Resources, name: string): object | undefined {
  const versions = [...resources].filter((t) => t.group === name).map((t) => t.version);
  return versions.length === 0
    ? undefined
    : { kind: 'APIGroup', apiVersion: 'v1', ...group(name, [...new Set(versions)]) };
}

export function apiResourceList(resources: Resources, groupName: string, version: string): object | undefined {
  const types = [...resources].filter((t) => t.group === groupName && t.version === version);
  if (types.length === 0) return undefined;
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: groupName === '' ? version : `${groupName}/${version}`,
    resources: types.flatMap(entries),
  };
}

/** OpenAPI v3, only as far as kubectl reads it before it applies: which kinds take which patches, and that fields are validated. */
export function openApiIndex(resources: Resources): object {
  const paths = new Set(
    [...resources].map((t) => (t.group === '' ? `api/${t.version}` : `apis/${t.group}/${t.version}`)),
  );
  return { paths: Object.fromEntries([...paths].map((p) => [p, { serverRelativeURL: `/openapi/v3/${p}?hash=lab` }])) };
}

export function openApiDocument(resources: Resources, groupName: string, version: string): object {
  const paths: Record<string, object> = {};
  for (const t of resources) {
    if (t.group !== groupName || t.version !== version) continue;
    const base = t.group === '' ? `/api/${t.version}` : `/apis/${t.group}/${t.version}`;
    paths[`${base}${t.namespaced ? '/namespaces/{namespace}' : ''}/${t.plural}/{name}`] = {
      patch: {
        'x-kubernetes-action': 'patch',
        'x-kubernetes-group-version-kind': { group: t.group, version: t.version, kind: t.kind },
        parameters: [
          { name: 'fieldValidation', in: 'query', schema: { type: 'string', uniqueItems: true } },
          { name: 'dryRun', in: 'query', schema: { type: 'string', uniqueItems: true } },
        ],
        responses: {},
      },
    };
  }
  return { openapi: '3.0.0', info: { title: 'bulkhead lab', version: 'v1' }, paths, components: { schemas: {} } };
}

/**
 * OpenAPI v2 without a definition. kubectl reads it, as protobuf, before it sends the items of a list; a kind that is not in it is
 * left to the server to check, and the server does.
 */
export function openApiV2(accept: string): { readonly contentType: string; readonly body: Buffer | object } {
  const info = { title: 'bulkhead lab', version: 'v1' };
  if (!accept.includes('protobuf'))
    return { contentType: 'application/json', body: { swagger: '2.0', info, paths: {} } };
  // openapi.v2.Document: swagger = 1, info = 2 (title = 1, version = 2)
  const text = (field: number, value: Buffer | string): Buffer => {
    const bytes = Buffer.from(value);
    return Buffer.concat([Buffer.from([(field << 3) | 2, bytes.length]), bytes]);
  };
  return {
    contentType: 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf',
    body: Buffer.concat([text(1, '2.0'), text(2, Buffer.concat([text(1, info.title), text(2, info.version)]))]),
  };
}

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

function entries(t: ResourceType): object[] {
  const base = {
    name: t.plural,
    singularName: t.singular,
    namespaced: t.namespaced,
    kind: t.kind,
    verbs: VERBS,
    shortNames: t.shortNames,
    categories: t.categories ?? [],
  };
  return [
    base,
    ...(t.status
      ? [
          {
            name: `${t.plural}/status`,
            singularName: '',
            namespaced: t.namespaced,
            kind: t.kind,
            verbs: ['get', 'patch', 'update'],
          },
        ]
      : []),
    ...(t.scalable
      ? [
          {
            name: `${t.plural}/scale`,
            singularName: '',
            namespaced: t.namespaced,
            group: 'autoscaling',
            version: 'v1',
            kind: 'Scale',
            verbs: ['get', 'patch', 'update'],
          },
        ]
      : []),
  ];
}

function group(name: string, versions: readonly string[]): object {
  const list = versions.map((version) => ({ groupVersion: `${name}/${version}`, version }));
  return { name, versions: list, preferredVersion: list[0] };
}
