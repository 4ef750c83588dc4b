import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { isIP } from 'node:net';
import type { Server as TlsServer } from 'node:tls';
import { Command, Option } from 'commander';
import { PROGRAM_VERSION } from '../api/version.ts';
import { CONTROLLER_LEASE, LEADER_URL, SYSTEM_NAMESPACE, WEBHOOK_SERVICE } from '../api/names.ts';

import type { ConnectionShare } from '../lib/http/connection-share.ts';
import { installLastResort } from '../lib/process/last-resort.ts';
import { openLog, takeLogLevel } from '../lib/process/log.ts';
import { secureContext, type ServerTls } from '../lib/http/server.ts';
import { metricsAccess } from '../lib/kube/authorize.ts';
import { KubeClient } from '../lib/kube/client.ts';
import { loadAccess } from '../lib/kube/kubeconfig.ts';
import { acquireLease } from '../lib/kube/lease.ts';
import { systemClock } from '../lib/reconcile/clock.ts';
import { brief } from '../lib/error/brief.ts';
import { aborted } from '../lib/reconcile/aborted.ts';
import { Runner } from '../lib/reconcile/runner.ts';
import { isApiServer } from './admission/callers.ts';
import { Reviewer } from './admission/review.ts';
import { publishWebhookTrust } from './admission/trust.ts';
import { agentTokens } from './http/authenticate.ts';
import { controllerServer } from './http/server.ts';
import { Leader } from './leader.ts';
import { ControllerMetrics } from './metrics.ts';
import { ClusterSource } from './sources/cluster.ts';
import { ServingIdentity } from './tls/identity.ts';

const log = openLog('controller');

type Options = {
  kubeconfig?: string;
  listen: string;
  advertise?: string;
  podCidrs?: string;
  serviceCidrs?: string;
  identity: string;
  webhookClientCa?: string;
};

const program = new Command('bulkhead-controller')
  .description('Allocate networks and send every node what it needs.')
  .version(PROGRAM_VERSION)
  .option('--kubeconfig <file>', 'kubeconfig for the API server; default: the ServiceAccount of the pod')
  .option('--listen <host:port>', 'where agents connect to', '[::]:9443')
  .option('--advertise <host>', 'address at which agents reach this replica; default: the host name')
  .option('--pod-cidrs <list>', "pod ranges of the cluster, comma-separated; default: all nodes' pod CIDRs")
  .option('--service-cidrs <list>', 'Service ranges of the cluster, comma-separated')
  .option(
    '--webhook-client-ca <file>',
    'authority of the certificate that the API server shows to webhooks; default: identify the API server by its address',
  )
  .addOption(
    new Option('--identity <name>', 'name of this replica on the Lease').default(
      `${hostname()}-${process.pid}`,
      'host name and process id',
    ),
  );
takeLogLevel(program, log);

async function main(options: Options): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  await using client = new KubeClient(loadAccess(options.kubeconfig));
  let changed = (): void => undefined;
  await using source = new ClusterSource({
    client,
    podCIDRs: list(options.podCidrs),
    serviceCIDRs: list(options.serviceCidrs),
    onChange: () => changed(),
    onRefused: (refusal) => log.warn(refusal, 'an agent says what the API does not bear out: not taken for true'),
    onTrouble: ({ what, error, retryInMs }) =>
      log.warn({ err: brief(error), retryInMs }, `${what} failed, will be tried again`),
  });
  // Followers keep their copy warm: a fail-over costs one Lease, not a list of the cluster.
  let synced = false;
  const whenSynced = source.start().then(() => (synced = true));

  const [host, port] = splitHostPort(options.listen);
  const advertised = options.advertise ?? hostname();
  const identity = new ServingIdentity(client, servingNames(advertised));
  let leader: Leader | undefined;
  let connections: ConnectionShare | undefined;
  const metrics = new ControllerMetrics(() => ({
    leading: leader !== undefined,
    epoch: leader?.epoch ?? 0,
    revision: leader?.sessions.revision ?? 0,
    connected: leader?.sessions.nodes ?? [],
    networks: source.view().state.networks.size,
    reports: source.reports.values(),
    refused: source.refused,
    reflectors: source.stats,
    strangers: connections?.strangers ?? 0,
    cut: connections?.cut ?? 0,
  }));
  const tokens = agentTokens(client, () => source.view());
  const reviewer = new Reviewer(client, () => source.view());
  const access = metricsAccess(client);
  const clientCa = options.webhookClientCa === undefined ? undefined : readFileSync(options.webhookClientCa, 'utf8');
  const withClientCa = ({ cert, key }: ServerTls): ServerTls => ({
    cert,
    key,
    ...(clientCa === undefined ? {} : { clientCa }),
  });
  const first = await untilDone(() => identity.refresh(), 'certificate authority', stop.signal);
  if (!first) return;
  const serving = controllerServer(
    {
      agents: () => leader?.agents,
      nodeOf: (token, address) => tokens.of(token, address),
      admit: async (request, fromApiServer) => {
        const answer = await reviewer.review(request, fromApiServer);
        metrics.admissions.inc({ resource: knownResource(request.resource.resource), allowed: String(answer.allowed) });
        return answer;
      },
      missing: () => (synced ? undefined : `waits for the API server: ${source.waitingFor().join(', ')}`),
      metrics: () => metrics.text(),
      mayReadMetrics: async (token, address) => (await access.of(token, address)) === true,
      isApiServer: ({ address, certified }) =>
        clientCa === undefined ? isApiServer(source.view(), address) : certified,
      onFault: (error) => log.error({ err: error }, 'a request could not be served'),
    },
    withClientCa(first.tls),
  );
  const { server } = serving;
  connections = serving.connections;
  await server.listen({ host, port });
  log.info({ listen: options.listen, version: PROGRAM_VERSION }, 'serving');
  await using keeper = new Runner(
    async () => {
      const { tls, bundle } = await identity.refresh();
      (server.server as unknown as TlsServer).setSecureContext(secureContext(withClientCa(tls)));
      if (leader) await publishWebhookTrust(client, bundle);
    },
    {
      minIntervalMs: 1_000,
      maxIntervalMs: 600_000,
      onError: (error) => log.warn({ err: brief(error) }, 'certificate'),
    },
  ).start();

  // Who cannot see the cluster must not lead it: it would keep the Lease from one that can.
  await Promise.race([whenSynced, aborted(stop.signal)]);
  const url = `https://${isIP(advertised) === 6 ? `[${advertised}]` : advertised}:${port}`;
  const leadership = await acquireLease(
    {
      client,
      namespace: SYSTEM_NAMESPACE,
      name: CONTROLLER_LEASE,
      identity: options.identity,
      annotations: { [LEADER_URL]: url },
      onTrouble: (error) => log.warn({ err: brief(error) }, 'lease'),
    },
    stop.signal,
  );
  if (leadership) {
    log.info({ epoch: leadership.epoch, url }, 'leading');
    void leadership.lost.then((reason) => {
      if (stop.signal.aborted) return;
      log.error({ reason }, 'not the leader any more: leaving');
      process.exit(1); // at once: whatever is under way would be written by an old leader
    });
    if (!stop.signal.aborted) {
      await using mine = new Leader({ client, source, epoch: leadership.epoch, log, metrics });
      leader = mine;
      changed = () => mine.request();
      mine.request();
      keeper.request();
      await aborted(stop.signal);
      leader = undefined;
      changed = () => undefined;
    }
  }
  await server.close();
  await leadership?.release();
}

/** Tries until it works or the signal fires: what others must have set up first may come late. */
async function untilDone<T>(work: () => Promise<T>, what: string, signal: AbortSignal): Promise<T | undefined> {
  while (!signal.aborted) {
    try {
      return await work();
    } catch (error) {
      log.warn({ err: brief(error) }, `${what} is not to be had yet, will be tried again`);
      await systemClock.sleep(2_000, signal);
    }
  }
  return undefined;
}

/** Names that the serving certificate is for: as agents call this replica, and as the API server calls the Service. */
const servingNames = (advertised: string): string[] => [
  ...new Set([advertised, hostname(), `${WEBHOOK_SERVICE}.${SYSTEM_NAMESPACE}.svc`]),
];

const REVIEWED = ['pods', 'namespaces', 'virtualnetworks', 'virtualnetworkrouters'];
/** Requests about other things make no metric of their own. */
const knownResource = (name: string): string => (REVIEWED.includes(name) ? name : 'other');

const list = (text: string | undefined): string[] => (text === undefined || text === '' ? [] : text.split(','));
function splitHostPort(text: string): [string, number] {
  const at = text.lastIndexOf(':');
  return [text.slice(0, at).replace(/^\[|\]$/g, ''), Number(text.slice(at + 1))];
}

program.action(async (options: Options) => {
  installLastResort(log);
  try {
    await main(options);
    process.exit(0);
  } catch (error) {
    log.fatal({ err: error }, 'controller failed');
    process.exit(1);
  }
});
await program.parseAsync();
