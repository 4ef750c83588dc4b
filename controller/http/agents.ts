import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { nodeReport, type NodeReport } from '../../api/report.ts';
import { bearer } from '../../lib/http/bearer.ts';
import { addressOf, type ConnectionShare } from '../../lib/http/connection-share.ts';
import { TokenBuckets } from '../../lib/http/token-bucket.ts';
import type { Sink } from '../distribute/sessions.ts';

/** What a leader does for agents. */
export type AgentApi = {
  /** Begins a node's stream; returns how to end it. */
  readonly open: (node: string, sink: Sink) => () => void;
  readonly report: (report: NodeReport) => void;
};

/** What the routes for agents need. */
export type AgentRouteParts = {
  readonly agents: () => AgentApi | undefined;
  /** The node that a token speaks for; undefined when it is no agent's. */
  readonly nodeOf: (token: string, address: string) => Promise<string | undefined>;
};

/** Bytes that may wait for a slow agent before it is cut off. */
const MAX_BACKLOG = 64 << 20;
/** A report of 500 pods is about 150 kB. */
const MAX_REPORT = 4 << 20;
/** Connections of one agent: its stream, its reports, and what is left of those before a change of leader. */
const PER_AGENT = 8;
/** Twice what an agent sends in a burst. */
const REPORTS = { burst: 200, perSecond: 100 };
const NOT_LEADING = { message: 'this replica does not lead; the Lease bulkhead-controller says who does' };

/** `GET /v1/config`: the NDJSON stream of the caller's node. `POST /v1/report`: its report. The token is looked at before the body. */
export function agentRoutes(
  server: FastifyInstance,
  connections: ConnectionShare,
  { agents, nodeOf }: AgentRouteParts,
): void {
  const callers = new WeakMap<FastifyRequest, string>();
  const reports = new TokenBuckets(REPORTS);

  const onRequest = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const token = bearer(request.headers.authorization);
    const { socket } = request.raw;
    const node = token === undefined ? undefined : await nodeOf(token, addressOf(socket));
    if (node === undefined)
      return await reply
        .code(401)
        .header('connection', 'close') // a body that is under way is not waited for
        .send({ message: 'a token of a bulkhead agent, bound to a node, is needed' });
    connections.recognize(socket, `agent ${node}`, PER_AGENT);
    callers.set(request, node);
    return undefined;
  };

  server.get('/v1/config', { onRequest }, async (request, reply) => {
    const api = agents();
    if (!api) return await reply.code(503).send(NOT_LEADING);
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
    const close = api.open(callers.get(request) ?? '', {
      write: (text) => raw.write(text) || raw.writableLength < MAX_BACKLOG,
      end: () => raw.destroy(),
    });
    raw.on('close', close);
    return reply;
  });

  const oneMore = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
    reports.take(callers.get(request) ?? '')
      ? undefined
      : await reply
          .code(429)
          .header('retry-after', '1')
          .header('connection', 'close')
          .send({ message: 'too many reports of this node' });

  server.post('/v1/report', { onRequest: [onRequest, oneMore], bodyLimit: MAX_REPORT }, async (request, reply) => {
    const node = callers.get(request) ?? '';
    const parsed = nodeReport.safeParse(request.body);
    if (!parsed.success)
      return await reply
        .code(400)
        .send({ message: `the report cannot be read: ${parsed.error.message.slice(0, 2_000)}` });
    if (node !== parsed.data.node)
      return await reply.code(403).send({ message: `the token does not speak for node ${parsed.data.node}` });
    const api = agents();
    if (!api) return await reply.code(503).send(NOT_LEADING);
    api.report(parsed.data);
    return {};
  });
}
