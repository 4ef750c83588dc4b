import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { parse } from 'yaml';
import { DepthError, isDeepValue, MOST_DEPTH, parseJson } from '../../lib/text/json.ts';
import {
  apiGroup,
  apiGroupList,
  apiResourceList,
  apiVersions,
  openApiDocument,
  openApiIndex,
  openApiV2,
} from './discovery.ts';
import { bearer } from '../../lib/http/bearer.ts';
import { Admission } from './admission/admission.ts';
import { warningHeader } from './admission/warning.ts';
import type { CallWebhook } from './admission/webhooks.ts';
import { ApiError, badRequest, notServed, statusOf } from './model/error.ts';
import { type DeleteOptions, type Operations, scaleOf } from './operations.ts';
import { isObject, type Json } from './model/path.ts';
import { parseTarget, type Target } from './request.ts';
import { type Asking, Requests } from './requests.ts';
import type { User } from './model/user.ts';
import { apiVersion, type StoredObject } from './objects/store.ts';
import { table } from './objects/table.ts';
import { watch } from './watch.ts';

const ANONYMOUS: User = { username: 'system:anonymous', groups: ['system:unauthenticated'] };
const noWebhooks: CallWebhook = () => Promise.reject(new Error('this API server calls no webhooks'));

type Query = Readonly<Record<string, string | undefined>>;

/** The HTTP side. Listens nowhere by itself: `routing` is given to as many listeners as the lab has. */
export function apiServer(
  ops: Operations,
  users: ReadonlyMap<string, User>,
  admission: Admission = new Admission(ops.store, ops.resources, noWebhooks),
): FastifyInstance {
  const requests = new Requests(ops, admission);
  const userOf = (request: FastifyRequest): User | undefined => users.get(bearer(request.headers.authorization) ?? '');
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
    if (!userOf(request)) throw new ApiError(401, 'Unauthorized', 'Unauthorized');
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
  server.get('/openapi/v2', (request, reply) => {
    const { contentType, body } = openApiV2(request.headers.accept ?? '');
    return reply.header('content-type', contentType).send(body);
  });
  server.post('/apis/authentication.k8s.io/v1/tokenreviews', (r) => reviewToken(users, r.body as Json));
  server.post('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', (r, reply) =>
    reply.code(201).send({ ...(r.body as Json), status: { allowed: true, reason: 'the lab does not enforce RBAC' } }),
  );
  server.post('/apis/authorization.k8s.io/v1/subjectaccessreviews', (r, reply) =>
    reply.code(201).send({ ...(r.body as Json), status: reviewAccess(r.body as Json) }),
  );
  server.route({
    method: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    url: '/*',
    handler: (request, reply) => serveResource(ops, requests, userOf(request) ?? ANONYMOUS, request, reply),
  });
  return server;
}

async function serveResource(
  ops: Operations,
  requests: Requests,
  user: User,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const target = parseTarget(request.url.split('?')[0] ?? '', ops.resources);
  const query = request.query as Query;
  const { type, namespace, name, subresource } = target;
  const ref = { type, ...(namespace === undefined ? {} : { namespace }), name: name ?? '' };
  const warnings: string[] = [];
  const asking: Asking = {
    user,
    warnings,
    dryRun: query['dryRun'] !== undefined,
    ...(subresource === undefined ? {} : { subresource }),
  };
  const asTable = (request.headers.accept ?? '').includes('as=Table');
  const show = (o: StoredObject): object => (asTable ? table(type, [o], o.metadata.resourceVersion) : o);
  if (request.method === 'GET') {
    if (name !== undefined) {
      const found = ops.store.must(type, namespace, name);
      return subresource === 'scale' ? scaleOf(found) : show(found);
    }
    if (query['watch'] === 'true' || query['watch'] === '1') {
      const start = watch(ops, target, query, asTable);
      reply.hijack();
      start(reply.raw);
      return reply;
    }
    return list(ops, target, query, asTable);
  }
  try {
    switch (request.method) {
      case 'POST': {
        if (name !== undefined) throw notServed(`POST to ${type.plural}/${name}`);
        const created = await requests.create(type, namespace, request.body as Json, asking);
        return await answer(reply.code(201), warnings).send(show(created));
      }
      case 'PUT': {
        const updated = await requests.update(ref, request.body as Json, asking);
        return await answer(reply, warnings).send(show(updated));
      }
      case 'PATCH': {
        const contentType = request.headers['content-type'] ?? '';
        const { object, created } = await requests.patch(ref, contentType, request.body, asking);
        return await answer(reply.code(created ? 201 : 200), warnings).send(show(object));
      }
      default: {
        const removed = await remove(ops, requests, target, query, request.body ?? {}, asking);
        return await answer(reply, warnings).send(removed);
      }
    }
  } catch (error) {
    answer(reply, warnings);
    throw error;
  }
}

/** Adds what admission warns of, as kubectl shows it. */
function answer(reply: FastifyReply, warnings: readonly string[]): FastifyReply {
  if (warnings.length > 0) void reply.header('warning', [...new Set(warnings)].map(warningHeader));
  return reply;
}

async function remove(
  ops: Operations,
  requests: Requests,
  { type, namespace, name }: Target,
  query: Query,
  body: DeleteOptions,
  asking: Asking,
): Promise<object> {
  const grace = query['gracePeriodSeconds'];
  const options: DeleteOptions = {
    ...(grace === undefined ? {} : { gracePeriodSeconds: Number(grace) }),
    ...(query['propagationPolicy'] === undefined ? {} : { propagationPolicy: query['propagationPolicy'] }),
    ...(isObject(body) ? body : {}),
  };
  const bodyDryRun =
    Array.isArray((options as Json)['dryRun']) && ((options as Json)['dryRun'] as unknown[]).length > 0;
  const how = { ...asking, dryRun: asking.dryRun === true || bodyDryRun };
  const inNamespace = (o: StoredObject) =>
    o.metadata.namespace === undefined ? {} : { namespace: o.metadata.namespace };
  if (name !== undefined)
    return await requests.delete({ type, name, ...(namespace === undefined ? {} : { namespace }) }, options, how);
  const items: StoredObject[] = [];
  for (const o of ops.list(type, namespace, query))
    items.push(await requests.delete({ type, name: o.metadata.name, ...inNamespace(o) }, options, how));
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

function reviewToken(users: ReadonlyMap<string, User>, body: Json): object {
  const spec = (body['spec'] ?? {}) as { token?: string; audiences?: string[] };
  const user = users.get(spec.token ?? '');
  const audiences = spec.audiences?.filter((a) => user?.audiences?.includes(a) ?? false);
  const authenticated = user !== undefined && (spec.audiences === undefined || (audiences?.length ?? 0) > 0);
  return { ...body, status: authenticated ? { authenticated, user, audiences } : { authenticated: false } };
}

/** The lab evaluates no roles. Administrators may do everything; of others it says no, so that no one is told too much. */
function reviewAccess(body: Json): object {
  const { groups } = (body['spec'] ?? {}) as { groups?: unknown };
  const allowed = Array.isArray(groups) && groups.includes('system:masters');
  return { allowed, reason: 'the lab allows everything to system:masters, and evaluates no roles' };
}

function readBody(contentType: string, body: string): unknown {
  if (body === '') return undefined;
  if (contentType.includes('protobuf'))
    throw new Error(
      'protobuf is not served, JSON and YAML are; instead of "kubectl create KIND …" write "kubectl create KIND … --dry-run=client -o yaml | kubectl apply -f -"',
    );
  if (!contentType.includes('yaml')) return parseJson(body);
  const value: unknown = parse(body); // out of stack it is an error like any other
  if (isDeepValue(value)) throw new DepthError(MOST_DEPTH);
  return value;
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
