import type { FastifyInstance } from 'fastify';
import { metricsRoute } from '../../lib/http/metrics-route.ts';
import { limitedServer } from '../../lib/http/server.ts';

/** Few callers have anything to do here: the kubelet, and who reads metrics. */
const CONNECTIONS = { total: 64, perAddress: 16, opening: { burst: 32, perSecond: 8 } };
/** No route takes a body. */
const BODY_LIMIT = 1_024;

export type HealthParts = {
  /** What is missing before pods can be attached; undefined when nothing is. */
  readonly missing: () => string | undefined;
  /** Gets each internal error. */
  readonly onFault: (error: Error) => void;
};

/** `/healthz` and `/readyz` for the kubelet of the same node: plain text, on loopback only. */
export async function serveHealth(port: number, { missing, onFault }: HealthParts): Promise<FastifyInstance> {
  const { server } = limitedServer({ connections: CONNECTIONS, bodyLimit: BODY_LIMIT, onFault });
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
  readonly mayRead: (token: string, address: string) => Promise<boolean>;
  readonly onFault: (error: Error) => void;
};

/** `/metrics` for callers whose token may read it: TLS, on the node's addresses. */
export async function serveMetrics(
  { host, port }: { readonly host: string; readonly port: number },
  { tls, metrics, mayRead, onFault }: MetricsParts,
): Promise<FastifyInstance> {
  const { server } = limitedServer({ tls, connections: CONNECTIONS, bodyLimit: BODY_LIMIT, onFault });
  metricsRoute(server, { metrics, mayRead });
  await server.listen({ host, port });
  return server;
}
