import type { FastifyInstance } from 'fastify';
import type { ConnectionShare } from '../../lib/http/connection-share.ts';
import { metricsRoute } from '../../lib/http/metrics-route.ts';
import { limitedServer, type ServerTls } from '../../lib/http/server.ts';
import { type Admit, admissionRoute, type Caller } from './admission.ts';
import { type AgentApi, agentRoutes } from './agents.ts';

/** What the server asks of the rest of the controller. */
export type ServerParts = {
  /** Serves agents while this replica leads; undefined while it follows. */
  readonly agents: () => AgentApi | undefined;
  readonly nodeOf: (token: string, address: string) => Promise<string | undefined>;
  readonly admit: Admit;
  readonly isApiServer: (caller: Caller) => boolean;
  /** What is missing before this replica can be of use; undefined when nothing is. */
  readonly missing: () => string | undefined;
  readonly metrics: () => Promise<string>;
  readonly mayReadMetrics: (token: string, address: string) => Promise<boolean>;
  /** Gets each internal error. */
  readonly onFault: (error: Error) => void;
};

/** Callers that have not shown who they are: the API server, probes, and any others. */
const CONNECTIONS = { total: 4096, perAddress: 256, opening: { burst: 400, perSecond: 200 } };

/**
 * The one port of a replica, TLS only. `/v1/config` and `/v1/report` for agents, `/admit` for the API server, `/metrics` for who
 * may read them, `/healthz` and `/readyz`. Followers serve all but the first two.
 */
export function controllerServer(
  parts: ServerParts,
  tls: ServerTls,
): { readonly server: FastifyInstance; readonly connections: ConnectionShare } {
  const { server, connections } = limitedServer({ tls, connections: CONNECTIONS, onFault: parts.onFault });
  server.get('/healthz', () => 'ok');
  server.get('/readyz', async (_, reply) => {
    const missing = parts.missing();
    return await reply.code(missing === undefined ? 200 : 503).send(missing ?? 'ok');
  });
  metricsRoute(server, { metrics: parts.metrics, mayRead: parts.mayReadMetrics });
  admissionRoute(server, parts);
  agentRoutes(server, connections, parts);
  return { server, connections };
}
