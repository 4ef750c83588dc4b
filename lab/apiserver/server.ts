import type { ServerResponse } from 'node:http';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { parse } from 'yaml';
import { columnsOf } from './columns.ts';
import { apiGroup, apiGroupList, apiResourceList, apiVersions, openApiDocument, openApiIndex } from './discovery.ts';
import { ApiError, badRequest, notServed, statusOf } from './error.ts';
import { type DeleteOptions, type Operations, scaleOf } from './operations.ts';
import { isObject, type Json } from './path.ts';
import { parseTarget, type Target } from './request.ts';
import type { ResourceType } from './resources.ts';
import { fieldSelector, labelSelector } from './select.ts';
import { apiVersion, type StoredObject, type StoreEvent } from './store.ts';

/** Who a bearer token is. */
export type User = {
  readonly username: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
  readonly audiences?: readonly string[];
};

type Query = Readonly<Record<string, string | undefined>>;

/** The HTTP side. Listens nowhere by itself: `routing` is given to as many listeners as the lab has. */
export function apiServer(ops: Operations, users: ReadonlyMap<string, User>): FastifyInstance {
  const server = Fastify({ bodyLimit: 16 << 20, exposeHeadRoutes: false });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'string' }, (request, body, done) => {
    try {
      done(null, readBody(request.headers['content-type'] ?? '', body as string));
    } catch (error) {
      done(badRequest(`the body cannot be read: ${(error as Error).message}`));
    }
  });
  server.setErrorHandler((error, _request, reply) => {
    const known =
      error instanceof ApiError
        ? error
        : new ApiError((error as { statusCode?: number }).statusCode ?? 500, 'InternalError', (error as Error).message);
    void reply.code(known.status).send(statusOf(known));
  });

  for (const path of ['/healthz', '/livez', '/readyz']) server.get(path, () => 'ok');
  server.addHook('onRequest', async (request) => {
    if (/^\/(healthz|livez|readyz|version)/.test(request.url)) return;
    const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
    if (token === undefined || !users.has(token)) throw new ApiError(401, 'Unauthorized', 'Unauthorized');
  });
  server.get('/version', () => ({
    major: '1',
    minor: '34',
    gitVersion: 'v1.34.0-bulkhead-lab',
    platform: 'linux/amd64',
  }));
  server.get('/api', () => apiVersions());
  server.get('/apis', () => apiGroupList(ops.resources));
  server.get('/api/v1', () => apiResourceList(ops.resources, '', 'v1'));
  server.get<{ Params: { group: string } }>(
    '/apis/:group',
    (r) => apiGroup(ops.resources, r.params.group) ?? missing(r.url),
  );
  server.get<{ Params: { group: string; version: string } }>(
    '/apis/:group/:version',
    (r) => apiResourceList(ops.resources, r.params.group, r.params.version) ?? missing(r.url),
  );
  server.get('/openapi/v3', () => openApiIndex(ops.resources));
  server.get<{ Params: { '*': string } }>('/openapi/v3/*', (r) => {
    const parts = r.params['*'].split('/');
    return openApiDocument(ops.resources, parts[0] === 'api' ? '' : (parts[1] ?? ''), parts.at(-1) ?? '');
  });
  server.get('/openapi/v2', () => {
    throw new ApiError(404, 'NotFound', 'OpenAPI v2 is not served; v3 is');
  });
  server.post('/apis/authentication.k8s.io/v1/tokenreviews', (r) => reviewToken(users, r.body as Json));
  server.post('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', (r, reply) =>
    reply.code(201).send({ ...(r.body as Json), status: { allowed: true, reason: 'the lab does not enforce RBAC' } }),
  );
  server.route({
    method: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    url: '/*',
    handler: (request, reply) => serveResource(ops, request, reply),
  });
  return server;
}

async function serveResource(ops: Operations, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const target = parseTarget(request.url.split('?')[0] ?? '', ops.resources);
  const query = request.query as Query;
  const dryRun = query['dryRun'] !== undefined;
  const { type, namespace, name, subresource } = target;
  const ref = { type, ...(namespace === undefined ? {} : { namespace }), name: name ?? '' };
  const options = { dryRun, ...(subresource === undefined ? {} : { subresource }) };
  const asTable = (request.headers.accept ?? '').includes('as=Table');
  const show = (o: StoredObject): object => (asTable ? table(type, [o], o.metadata.resourceVersion) : o);
  switch (request.method) {
    case 'GET': {
      if (name !== undefined) {
        const found = ops.store.must(type, namespace, name);
        return subresource === 'scale' ? scaleOf(found) : show(found);
      }
      if (query['watch'] === 'true' || query['watch'] === '1') return await watch(ops, target, query, asTable, reply);
      return list(ops, target, query, asTable);
    }
    case 'POST':
      if (name !== undefined) throw notServed(`POST to ${type.plural}/${name}`);
      return await reply.code(201).send(show(ops.create(type, namespace, request.body as Json, options)));
    case 'PUT':
      return show(ops.update(ref, request.body as Json, options));
    case 'PATCH': {
      const { object, created } = ops.patch(ref, request.headers['content-type'] ?? '', request.body, options);
      return await reply.code(created ? 201 : 200).send(show(object));
    }
    default:
      return remove(ops, target, query, request.body ?? {}, dryRun);
  }
}

function remove(
  ops: Operations,
  { type, namespace, name }: Target,
  query: Query,
  body: DeleteOptions,
  dryRun: boolean,
): object {
  const grace = query['gracePeriodSeconds'];
  const options: DeleteOptions = {
    ...(grace === undefined ? {} : { gracePeriodSeconds: Number(grace) }),
    ...(query['propagationPolicy'] === undefined ? {} : { propagationPolicy: query['propagationPolicy'] }),
    ...(isObject(body) ? body : {}),
  };
  const inNamespace = (o: StoredObject) =>
    o.metadata.namespace === undefined ? {} : { namespace: o.metadata.namespace };
  if (name !== undefined)
    return ops.delete({ type, name, ...(namespace === undefined ? {} : { namespace }) }, options, { dryRun });
  const items = ops
    .list(type, namespace, query)
    .map((o) => ops.delete({ type, name: o.metadata.name, ...inNamespace(o) }, options, { dryRun }));
  return { kind: `${type.kind}List`, apiVersion: apiVersion(type), metadata: {}, items };
}

function list(ops: Operations, { type, namespace }: Target, query: Query, asTable: boolean): object {
  const all = ops.list(type, namespace, query);
  const limit = Number(query['limit'] ?? 0);
  const after =
    query['continue'] === undefined || query['continue'] === '' ? undefined : decodeContinue(query['continue']);
  const rest = after ? all.filter((o) => pageKey(o) > after.key) : all;
  const page = limit > 0 ? rest.slice(0, limit) : rest;
  const last = page.at(-1);
  const resourceVersion = after?.version ?? String(ops.store.version);
  const more =
    limit > 0 && rest.length > page.length && last
      ? { continue: encodeContinue(pageKey(last), resourceVersion), remainingItemCount: rest.length - page.length }
      : {};
  if (asTable) return table(type, page, resourceVersion, more);
  return {
    kind: `${type.kind}List`,
    apiVersion: apiVersion(type),
    metadata: { resourceVersion, ...more },
    items: page,
  };
}

/** Streams changes as lines of JSON until the client goes or its time is over. */
async function watch(
  ops: Operations,
  { type, namespace }: Target,
  query: Query,
  asTable: boolean,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const labels = labelSelector(query['labelSelector']);
  const fields = fieldSelector(query['fieldSelector']);
  const selected = (o: StoredObject): boolean =>
    (namespace === undefined || o.metadata.namespace === namespace) && labels(o.metadata.labels ?? {}) && fields(o);
  reply.hijack();
  const { raw } = reply;
  let columnsSent = false;
  const send = (kind: string, object: StoredObject): void => {
    const shown =
      asTable && kind !== 'BOOKMARK' ? table(type, [object], object.metadata.resourceVersion, {}, columnsSent) : object;
    if (asTable && kind !== 'BOOKMARK') columnsSent = true;
    raw.write(`${JSON.stringify({ type: kind, object: shown })}\n`);
  };
  // An object that stops matching the selector is told as deleted, one that begins to match as added.
  const shown = new Set<string>();
  const onEvent = ({ type: kind, object }: StoreEvent): void => {
    const { uid } = object.metadata;
    if (kind !== 'DELETED' && selected(object)) {
      send(shown.has(uid) ? 'MODIFIED' : 'ADDED', object);
      shown.add(uid);
    } else if (shown.delete(uid) || (kind === 'DELETED' && selected(object))) send('DELETED', object);
  };
  const since = query['resourceVersion'];
  const fromNow = since === undefined || since === '' || since === '0';
  raw.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' });
  raw.flushHeaders();
  if (fromNow) {
    for (const o of ops.list(type, namespace, query)) {
      send('ADDED', o);
      shown.add(o.metadata.uid);
    }
  }
  // A watch from a version follows a list by the same client: what was there then is known to it.
  else
    for (const o of ops.store.all(type))
      if (Number(o.metadata.resourceVersion) <= Number(since) && selected(o)) shown.add(o.metadata.uid);
  let stop: () => void;
  try {
    stop = ops.store.watch(type, fromNow ? ops.store.version : Number(since), onEvent);
  } catch (error) {
    raw.end(`${JSON.stringify({ type: 'ERROR', object: statusOf(error as ApiError) })}\n`);
    return reply;
  }
  const bookmark = (): void =>
    send('BOOKMARK', {
      kind: type.kind,
      apiVersion: apiVersion(type),
      metadata: { resourceVersion: String(ops.store.version), creationTimestamp: null },
    } as unknown as StoredObject);
  const bookmarks = query['allowWatchBookmarks'] === 'true' ? setInterval(bookmark, 15_000) : undefined;
  const seconds = Number(query['timeoutSeconds'] ?? 1800);
  const end = setTimeout(() => raw.end(), seconds * 1000);
  await closed(raw);
  stop();
  clearInterval(bookmarks);
  clearTimeout(end);
  return reply;
}

const closed = (raw: ServerResponse): Promise<void> => new Promise((resolve) => raw.on('close', () => resolve()));

function table(
  type: ResourceType,
  objects: readonly StoredObject[],
  resourceVersion: string,
  more: object = {},
  withoutColumns = false,
): object {
  const columns = columnsOf(type);
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: { resourceVersion, ...more },
    columnDefinitions: withoutColumns
      ? null
      : columns.map((c) => ({
          name: c.name,
          type: c.type ?? 'string',
          format: c.name === 'Name' ? 'name' : '',
          description: '',
          priority: c.wide ? 1 : 0,
        })),
    rows: objects.map((o) => ({
      cells: columns.map((c) => c.value(o) ?? ''),
      object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: o.metadata },
    })),
  };
}

function reviewToken(users: ReadonlyMap<string, User>, body: Json): object {
  const spec = (body['spec'] ?? {}) as { token?: string; audiences?: string[] };
  const user = users.get(spec.token ?? '');
  const audiences = spec.audiences?.filter((a) => user?.audiences?.includes(a) ?? false);
  const authenticated = user !== undefined && (spec.audiences === undefined || (audiences?.length ?? 0) > 0);
  return { ...body, status: authenticated ? { authenticated, user, audiences } : { authenticated: false } };
}

function readBody(contentType: string, body: string): unknown {
  if (body === '') return undefined;
  if (contentType.includes('protobuf'))
    throw new Error(
      'protobuf is not served, JSON and YAML are; instead of "kubectl create KIND …" write "kubectl create KIND … --dry-run=client -o yaml | kubectl apply -f -"',
    );
  return contentType.includes('yaml') ? parse(body) : JSON.parse(body);
}

const pageKey = (o: StoredObject): string => `${o.metadata.namespace ?? ''}/${o.metadata.name}`;
const encodeContinue = (key: string, version: string): string =>
  Buffer.from(JSON.stringify({ key, version })).toString('base64url');
function decodeContinue(text: string): { key: string; version: string } {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString()) as { key: string; version: string };
  } catch {
    throw new ApiError(410, 'Expired', 'the continue token is not one of this server: list anew');
  }
}
const missing = (url: string): never => {
  throw new ApiError(404, 'NotFound', `the server could not find the requested resource (${url})`);
};
