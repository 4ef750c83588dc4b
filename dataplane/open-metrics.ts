import type { FastifyInstance } from 'fastify';
import { brief } from '../lib/error/brief.ts';
import { metricsAccess } from '../lib/kube/authorize.ts';
import { issueServer, makeAuthority } from '../lib/pki/certificates.ts';
import type { AgentWork } from './agent-work.ts';
import { serveMetrics } from './http/server.ts';
import { AgentMetrics } from './metrics.ts';

/** Metrics that read the agent at each scrape. */
export const observeAgent = (work: AgentWork): AgentMetrics =>
  new AgentMetrics(async () => {
    const { pods, link, status, node, dataplane } = work;
    return {
      blocks: pods?.addresses.blocks ?? [],
      podsByNetwork: countBy([...(pods?.attachments.all ?? [])], (a) => a.network),
      connected: link.connected,
      epoch: link.epoch,
      received: status.received,
      realised: status.realised,
      faults: status.faults,
      problems: node.problems(),
      shares: dataplane.shares.status(),
      denialsLeft: dataplane.denialLogs.left,
      ...(await dataplane.counters()),
    };
  });

/** Metrics by TLS, with a certificate of the agent's own: who may read is told by the caller's token. A port in use costs the metrics only. */
export async function openMetrics(
  { host, port }: { readonly host: string; readonly port: number },
  { settings, client, log }: AgentWork,
  metrics: AgentMetrics,
  onFault: (error: Error) => void,
): Promise<FastifyInstance | undefined> {
  const access = metricsAccess(client);
  try {
    const tls = await issueServer(await makeAuthority('bulkhead-agent'), 'bulkhead-agent', [settings.node]);
    return await serveMetrics(
      { host, port },
      {
        tls,
        metrics: () => metrics.text(),
        mayRead: async (token, address) => (await access.of(token, address)) === true,
        onFault,
      },
    );
  } catch (error) {
    log.error({ err: brief(error) }, 'no metrics');
    return undefined;
  }
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}
