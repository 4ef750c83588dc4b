import Fastify, { type FastifyInstance } from 'fastify';
import type { AdmissionRequest, AdmissionResponse } from '../../core/admission/review.ts';
import { metricsRoute } from '../../lib/http/metrics-route.ts';
import { agentRoutes, type AgentApi } from './agents.ts';

/** What the server asks of the rest of the controller. */
export type ServerParts = {
  /** Serves agents while this replica leads; undefined while it follows. */
  readonly agents: () => AgentApi | undefined;
  readonly nodeOf: (token: string) => Promise<string | undefined>;
  readonly admit: (request: AdmissionRequest) => AdmissionResponse;
  /** What is missing before this replica can be of use; undefined when nothing is. */
  readonly missing: () => string | undefined;
  readonly metrics: () => Promise<string>;
  readonly mayReadMetrics: (token: string) => Promise<boolean>;
};

/**
 * The one port of a replica, TLS only. `/v1/config` and `/v1/report` for agents, `/admit` for the API server, `/metrics` for who
 * may read them, `/healthz` and `/readyz`. Followers serve all but the first two.
 */
export function controllerServer(
  parts: ServerParts,
  tls: { readonly cert: string; readonly key: string },
): FastifyInstance {
  const server = Fastify({
    https: tls,
    bodyLimit: 16 << 20,
    forceCloseConnections: true,
  }) as unknown as FastifyInstance;

  server.get('/healthz', () => 'ok');
  server.get('/readyz', async (_, reply) => {
    const missing = parts.missing();
    return await reply.code(missing === undefined ? 200 : 503).send(missing ?? 'ok');
  });
  metricsRoute(server, { metrics: parts.metrics, mayRead: parts.mayReadMetrics });
  server.post('/admit', (request) => {
    const { request: asked } = request.body as { request: AdmissionRequest };
    return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: parts.admit(asked) };
  });
  agentRoutes(server, parts);
  return server;
}
