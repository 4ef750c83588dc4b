import Fastify, { type FastifyInstance } from 'fastify';
import { metricsRoute } from '../../lib/http/metrics-route.ts';

export type HealthParts = {
  /** What is missing before pods can be attached; undefined when nothing is. */
  readonly missing: () => string | undefined;
};

/** `/healthz` and `/readyz` for the kubelet of the same node: plain text, on loopback only. */
export async function serveHealth(port: number, { missing }: HealthParts): Promise<FastifyInstance> {
  const server = Fastify({ forceCloseConnections: true });
  server.get('/healthz', () => 'ok');
  server.get('/readyz', async (_, reply) => {
    const text = missing();
    return await reply.code(text === undefined ? 200 : 503).send(text ?? 'ok');
  });
  await server.listen({ host: '127.0.0.1', port });
  return server;
}

export type MetricsParts = {
  readonly tls: { readonly cert: string; readonly key: string };
  readonly metrics: () => Promise<string>;
  readonly mayRead: (token: string) => Promise<boolean>;
};

/** `/metrics` for whoever may read it: TLS, on the node's addresses. */
export async function serveMetrics(
  { host, port }: { readonly host: string; readonly port: number },
  { tls, metrics, mayRead }: MetricsParts,
): Promise<FastifyInstance> {
  const server = Fastify({ https: tls, forceCloseConnections: true }) as unknown as FastifyInstance;
  metricsRoute(server, { metrics, mayRead });
  await server.listen({ host, port });
  return server;
}
