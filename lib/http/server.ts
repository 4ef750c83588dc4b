import Fastify, { type FastifyInstance } from 'fastify';
import { type ConnectionLimits, ConnectionShare } from './connection-share.ts';
import { DepthError, isDeepText, MOST_DEPTH } from '../text/json.ts';

/** `clientCa`: certificates of the authority whose clients are asked for a certificate of their own; none need have one. */
export type ServerTls = { readonly cert: string; readonly key: string; readonly clientCa?: string };

/** The same as Node takes it, for the server and for each renewal. */
export const secureContext = ({ cert, key, clientCa }: ServerTls): { cert: string; key: string; ca?: string } => ({
  cert,
  key,
  ...(clientCa === undefined ? {} : { ca: clientCa }),
});

/** What a server serves with, and how much of it callers may have. */
export type ServerOptions = {
  /** Absent: plain text. */
  readonly tls?: ServerTls;
  readonly connections: ConnectionLimits;
  /** Bytes of a body, where a route says nothing else. */
  readonly bodyLimit?: number;
  /** Gets the error: the caller learns only that there was one. */
  readonly onFault: (error: Error) => void;
};

/** A server, and its connections. */
export type LimitedServer = { readonly server: FastifyInstance; readonly connections: ConnectionShare };

/** A handshake, the headers, the whole request: the server cuts off a client that takes longer. */
const HANDSHAKE_MS = 5_000;
const HEADERS_MS = 5_000;
const REQUEST_MS = 10_000;
/** Without a byte in either direction. */
const SILENCE_MS = 120_000;
/** Longer than the 90 s after which the API server closes an idle connection to a webhook: it must be the one that closes. */
const IDLE_MS = 100_000;
const CHECK_MS = 1_000;
const MAX_HEADER_BYTES = 16 << 10;
const MAX_HEADERS = 64;

/** The one way to make an HTTP server: no caller can hold it up, by connections, by time or by size. */
export function limitedServer({ tls, connections, bodyLimit = 64 << 10, onFault }: ServerOptions): LimitedServer {
  const http = {
    headersTimeout: HEADERS_MS,
    connectionsCheckingInterval: CHECK_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
  };
  const options = {
    bodyLimit,
    requestTimeout: REQUEST_MS,
    connectionTimeout: SILENCE_MS,
    keepAliveTimeout: IDLE_MS,
    forceCloseConnections: true as const,
    ...(tls
      ? {
          https: {
            ...secureContext(tls),
            ...http,
            ...(tls.clientCa === undefined ? {} : { requestCert: true, rejectUnauthorized: false }),
            handshakeTimeout: HANDSHAKE_MS,
            minVersion: 'TLSv1.2' as const,
          },
        }
      : { http }),
  };
  const server = Fastify(options as object) as unknown as FastifyInstance;
  server.server.maxHeadersCount = MAX_HEADERS;
  // Above the strangers' share there is room for all that have shown who they are.
  server.server.maxConnections = connections.total + MOST_RECOGNIZED;
  const parse = server.getDefaultJsonParser('error', 'error');
  server.removeContentTypeParser('application/json');
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (isDeepText(body as string)) {
      const error = new Error(`the body cannot be read: ${new DepthError(MOST_DEPTH).message}`);
      done(Object.assign(error, { statusCode: 400 }));
    } else void parse(request, body as string, done);
  });
  server.setErrorHandler(async (error: Error & { statusCode?: number }, _request, reply) => {
    const code = error.statusCode ?? 500;
    if (code < 500) return await reply.code(code).send({ message: error.message });
    onFault(error);
    return await reply.code(500).send({ message: 'the request could not be served; the log of this program says why' });
  });
  return { server, connections: new ConnectionShare(server.server, connections) };
}

/** One stream and one report per node, of more nodes than Kubernetes has in a cluster. */
const MOST_RECOGNIZED = 20_000;
