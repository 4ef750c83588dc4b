import type { FastifyInstance } from 'fastify';
import { bearer } from './bearer.ts';
import { addressOf } from './connection-share.ts';

/** Adds `/metrics` in Prometheus' text form, for callers whose token may read it. */
export function metricsRoute(
  server: FastifyInstance,
  {
    metrics,
    mayRead,
  }: {
    readonly metrics: () => Promise<string>;
    readonly mayRead: (token: string, address: string) => Promise<boolean>;
  },
): void {
  server.get('/metrics', async (request, reply) => {
    const token = bearer(request.headers.authorization);
    if (token === undefined || !(await mayRead(token, addressOf(request.raw.socket))))
      return await reply
        .code(403)
        .send('needs a token of a user who may get /metrics (ClusterRole bulkhead-metrics-reader)');
    return await reply.type('text/plain; version=0.0.4').send(await metrics());
  });
}
