import type { FastifyInstance } from 'fastify';
import { nodeReport, type NodeReport } from '../../api/report.ts';
import type { Sink } from '../distribute/sessions.ts';
import { bearer } from '../../lib/http/bearer.ts';

/** What a leader does for agents. */
export type AgentApi = {
  /** Begins a node's stream; returns how to end it. */
  readonly open: (node: string, sink: Sink) => () => void;
  readonly report: (report: NodeReport) => void;
};

/** Bytes that may wait for a slow agent before it is cut off. */
const MAX_BACKLOG = 64 << 20;
const NOT_LEADING = { message: 'this replica does not lead; the Lease bulkhead-controller says who does' };

/** `GET /v1/config`: the NDJSON stream of the caller's node. `POST /v1/report`: its report. */
export function agentRoutes(
  server: FastifyInstance,
  {
    agents,
    nodeOf,
  }: {
    readonly agents: () => AgentApi | undefined;
    readonly nodeOf: (token: string) => Promise<string | undefined>;
  },
): void {
  const caller = async (header: string | undefined): Promise<string | undefined> => {
    const token = bearer(header);
    return token === undefined ? undefined : await nodeOf(token);
  };

  server.get('/v1/config', async (request, reply) => {
    const node = await caller(request.headers.authorization);
    if (node === undefined)
      return await reply.code(401).send({ message: 'a token of a bulkhead agent, bound to a node, is needed' });
    const api = agents();
    if (!api) return await reply.code(503).send(NOT_LEADING);
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
    const node = await caller(request.headers.authorization);
    const parsed = nodeReport.safeParse(request.body);
    if (!parsed.success) return await reply.code(400).send({ message: parsed.error.message });
    if (node === undefined || node !== parsed.data.node) {
      return await reply.code(403).send({ message: `the token does not speak for node ${parsed.data.node}` });
    }
    const api = agents();
    if (!api) return await reply.code(503).send(NOT_LEADING);
    api.report(parsed.data);
    return {};
  });
}
