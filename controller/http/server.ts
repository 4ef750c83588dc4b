import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { nodeReport, type NodeReport } from '../../api/report.ts';
import type { Sink } from '../distribute/sessions.ts';

/** What the server asks of the rest of the controller. */
export type AgentApi = {
  readonly nodeOf: (token: string) => Promise<string | undefined>;
  /** Begins a node's stream; returns how to end it. */
  readonly open: (node: string, sink: Sink) => () => void;
  readonly report: (report: NodeReport) => void;
};

/** Bytes that may wait for a slow agent before it is cut off. */
const MAX_BACKLOG = 64 << 20;

/** `GET /v1/config`: the NDJSON stream of the caller's node. `POST /v1/report`: its report. `/healthz`. TLS only. */
export function agentServer(api: AgentApi, tls: { readonly cert: string; readonly key: string }): FastifyInstance {
  const server = Fastify({
    https: tls,
    bodyLimit: 16 << 20,
    forceCloseConnections: true,
  }) as unknown as FastifyInstance;

  server.get('/healthz', () => 'ok');

  server.get('/v1/config', async (request, reply) => {
    const node = await authenticate(api, request);
    if (node === undefined)
      return await reply.code(401).send({ message: 'a token of a bulkhead agent, bound to a node, is needed' });
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
    const close = api.open(node, {
      write: (text) => raw.write(text) || raw.writableLength < MAX_BACKLOG,
      end: () => raw.destroy(),
    });
    raw.on('close', close);
    return reply;
  });

  server.post('/v1/report', async (request, reply) => {
    const node = await authenticate(api, request);
    const parsed = nodeReport.safeParse(request.body);
    if (!parsed.success) return await reply.code(400).send({ message: parsed.error.message });
    if (node === undefined || node !== parsed.data.node) {
      return await reply.code(403).send({ message: `the token does not speak for node ${parsed.data.node}` });
    }
    api.report(parsed.data);
    return {};
  });

  return server;
}

async function authenticate(api: AgentApi, request: FastifyRequest): Promise<string | undefined> {
  const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
  return token === undefined ? undefined : await api.nodeOf(token);
}
