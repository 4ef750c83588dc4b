import { connect as tlsConnect, type ConnectionOptions } from 'node:tls';
import type { Socket } from 'node:net';
import { Agent, request } from 'undici';
import type { CallWebhook } from '../apiserver/admission/webhooks.ts';
import { type Json, num, obj, str } from '../apiserver/model/path.ts';

/** Where a Service is answered, and how to get there. Rejects when there is no way. */
export type DialService = (namespace: string, name: string, port: number, timeoutMs: number) => Promise<Socket>;

/**
 * Calls webhooks as an API server does: HTTPS, and the certificate must be of the Service's name and of the authority in caBundle.
 * A URL must be of this machine: nothing leads out of a lab.
 */
export function webhookCaller(dial: DialService): CallWebhook {
  const agents = new Map<string, Agent>();
  return async (clientConfig, review, timeoutMs) => {
    const target = targetOf(clientConfig);
    const ca = Buffer.from(str(clientConfig['caBundle']), 'base64').toString();
    const agent = agentFor(agents, target, ca, dial);
    try {
      return await post(agent, `${target.url}?timeout=${timeoutMs / 1000}s`, review, timeoutMs);
    } catch (error) {
      throw new Error(`Post "${target.url}?timeout=${timeoutMs / 1000}s": ${reasonOf(error)}`, { cause: error });
    }
  };
}

type Target = {
  readonly url: string;
  readonly service?: { readonly namespace: string; readonly name: string; readonly port: number };
};

function targetOf(clientConfig: Json): Target {
  if (clientConfig['url'] !== undefined) {
    const url = new URL(str(clientConfig['url']));
    if (url.protocol !== 'https:') throw new Error(`webhook URL ${url.href}: must be https`);
    if (!['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname))
      throw new Error(`webhook URL ${url.href}: the lab reaches webhooks of this machine only, by a loopback address`);
    return { url: url.href };
  }
  const service = obj(clientConfig['service']);
  const [namespace, name, port] = [str(service['namespace']), str(service['name']), num(service['port']) || 443];
  return { url: `https://${name}.${namespace}.svc:${port}${str(service['path'])}`, service: { namespace, name, port } };
}

/** One for each authority: connections are kept open, and those of a replaced authority are not used again. */
function agentFor(agents: Map<string, Agent>, { url, service }: Target, ca: string, dial: DialService): Agent {
  const { host } = new URL(url);
  const key = `${host} ${ca}`;
  let agent = agents.get(key);
  if (agent) return agent;
  for (const [old, stale] of agents) {
    if (!old.startsWith(`${host} `)) continue;
    agents.delete(old);
    void stale.close();
  }
  agent = new Agent({
    allowH2: false,
    keepAliveTimeout: 10_000,
    connect: service ? connector(service, ca, dial) : { ca, timeout: 5_000 },
  });
  agents.set(key, agent);
  return agent;
}

type Connector = Extract<NonNullable<ConstructorParameters<typeof Agent>[0]>['connect'], (...a: never[]) => void>;

function connector(service: NonNullable<Target['service']>, ca: string, dial: DialService): Connector {
  const servername = `${service.name}.${service.namespace}.svc`;
  return (_options, callback) => {
    const options: ConnectionOptions = { servername, ALPNProtocols: ['http/1.1'], ...(ca === '' ? {} : { ca }) };
    dial(service.namespace, service.name, service.port, 2_000).then(
      (socket) => {
        const tls = tlsConnect({ ...options, socket });
        tls.once('secureConnect', () => callback(null, tls));
        tls.once('error', (error) => callback(error, null));
      },
      (error: unknown) => callback(error as Error, null),
    );
  };
}

async function post(agent: Agent, url: string, review: Json, timeoutMs: number): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs);
  for (let tried = 1; ; tried++) {
    try {
      const { statusCode, body } = await request(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify(review),
        dispatcher: agent,
        signal,
      });
      const text = await body.text();
      if (statusCode !== 200) throw new Error(`the server answered ${statusCode}: ${text.slice(0, 500)}`);
      return JSON.parse(text) as unknown;
    } catch (error) {
      // A connection that was kept open may have been closed by the other side a moment ago.
      if ((error as { code?: string }).code !== 'UND_ERR_SOCKET' || tried > 1) throw error;
    }
  }
}

const reasonOf = (error: unknown): string =>
  error instanceof Error && error.name === 'TimeoutError' ? 'context deadline exceeded' : (error as Error).message;
