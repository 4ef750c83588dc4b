import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { Server as TlsServer } from 'node:tls';
import type { Logger } from 'pino';
import { CONTROLLER_LEASE, LEADER_URL, SYSTEM_NAMESPACE, WEBHOOK_SERVICE } from '../api/names.ts';
import { PROGRAM_VERSION } from '../api/version.ts';
import { brief } from '../lib/error/brief.ts';
import type { ConnectionShare } from '../lib/http/connection-share.ts';
import { secureContext, type ServerTls } from '../lib/http/server.ts';
import { metricsAccess } from '../lib/kube/authorize.ts';
import { KubeClient } from '../lib/kube/client.ts';
import type { KubeAccess } from '../lib/kube/kubeconfig.ts';
import { acquireLease, type Leadership } from '../lib/kube/lease.ts';
import { aborted } from '../lib/reconcile/aborted.ts';
import { systemClock } from '../lib/reconcile/clock.ts';
import { Loops } from '../lib/reconcile/loops.ts';
import { isApiServer } from './admission/callers.ts';
import { Reviewer } from './admission/review.ts';
import { publishWebhookTrust } from './admission/trust.ts';
import { agentTokens } from './http/authenticate.ts';
import { controllerServer } from './http/server.ts';
import { Leader } from './leader.ts';
import { REPLICA_LOOPS, type ReplicaLoop } from './loops.ts';
import { ControllerMetrics } from './metrics.ts';
import { ClusterSource } from './sources/cluster.ts';
import { ServingIdentity } from './tls/identity.ts';

export type ReplicaSettings = {
  readonly access: KubeAccess;
  /** Where agents connect to. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Address of this replica, as agents reach it. */
  readonly advertised: string;
  /** Empty: the pod CIDRs of all nodes. */
  readonly podCIDRs: readonly string[];
  /** Empty: what the API server says. */
  readonly serviceCIDRs: readonly string[];
  /** Name of this replica on the Lease. */
  readonly identity: string;
  /** Authority of the certificate that the API server shows to webhooks; undefined: it is known by its address. */
  readonly clientCa: string | undefined;
};

/** One replica of the controller: `serve`, then `lead` when it has the Lease; then `stop`. */
export class Replica {
  readonly #settings: ReplicaSettings;
  readonly #log: Logger;
  readonly #client: KubeClient;
  readonly #source: ClusterSource;
  readonly #identity: ServingIdentity;
  readonly #metrics: ControllerMetrics;
  /** What is open, let go in reverse. */
  readonly #open = new AsyncDisposableStack();
  readonly #whenSynced: Promise<void>;
  #synced = false;
  #loops: Loops<ReplicaLoop> | undefined;
  #connections: ConnectionShare | undefined;
  #leader: Leader | undefined;

  constructor(settings: ReplicaSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    this.#client = this.#open.use(new KubeClient(settings.access));
    this.#source = this.#open.use(
      new ClusterSource({
        client: this.#client,
        podCIDRs: settings.podCIDRs,
        serviceCIDRs: settings.serviceCIDRs,
        onChange: () => this.#leader?.request(),
        onRefused: (refusal) => log.warn(refusal, 'an agent says what the API does not bear out: not taken for true'),
        onTrouble: ({ what, error, retryInMs }) =>
          log.warn({ err: brief(error), retryInMs }, `${what} failed; retrying`),
      }),
    );
    this.#identity = new ServingIdentity(this.#client, servingNames(settings.advertised));
    this.#metrics = new ControllerMetrics(() => this.#observe());
    // Followers keep their copy warm: a fail-over costs one Lease, not a list of the cluster.
    this.#whenSynced = this.#source.start().then(() => void (this.#synced = true));
  }

  /** Answers agents, webhooks and health checks, leader or not. */
  async serve(signal: AbortSignal): Promise<'stay' | 'go on'> {
    const { clientCa, listen } = this.#settings;
    const first = await this.#firstIdentity(signal);
    if (!first) return 'stay';
    const withClientCa = ({ cert, key }: ServerTls): ServerTls => ({
      cert,
      key,
      ...(clientCa === undefined ? {} : { clientCa }),
    });
    const { server, connections } = this.#serverWith(withClientCa(first.tls));
    this.#connections = connections;
    await server.listen(listen);
    this.#open.defer(() => server.close());
    this.#log.info({ listen: `${listen.host}:${listen.port}`, version: PROGRAM_VERSION }, 'serving');
    const renew = async (): Promise<void> => {
      const { tls, bundle } = await this.#identity.refresh();
      (server.server as unknown as TlsServer).setSecureContext(secureContext(withClientCa(tls)));
      if (this.#leader) await publishWebhookTrust(this.#client, bundle);
    };
    const onTrouble = ({ what }: { readonly what: string }, error: unknown): void =>
      this.#log.warn({ err: brief(error) }, what);
    this.#loops = this.#open.use(new Loops(REPLICA_LOOPS, { certificate: renew }, { onTrouble })).start('certificate');
    return 'go on';
  }

  /** Waits for the Lease, and leads as long as it has it. Lost, the process ends at once. */
  async lead(signal: AbortSignal): Promise<'go on'> {
    // A replica that cannot see the cluster must not lead it: it would keep the Lease from one that can.
    await Promise.race([this.#whenSynced, aborted(signal)]);
    const leadership = await this.#acquire(signal);
    if (!leadership) return 'go on';
    this.#open.defer(() => leadership.release());
    void leadership.lost.then((reason) => {
      if (signal.aborted) return;
      this.#log.error({ reason }, 'not the leader any more: leaving');
      process.exit(1); // at once: whatever is under way would be written by an old leader
    });
    if (signal.aborted) return 'go on';
    const { epoch } = leadership;
    const parts = { client: this.#client, source: this.#source, epoch, log: this.#log, metrics: this.#metrics };
    this.#leader = this.#open.use(new Leader(parts));
    this.#open.defer(() => (this.#leader = undefined));
    this.#leader.request();
    this.#loops?.request('certificate');
    return 'go on';
  }

  async stop(): Promise<void> {
    await this.#open[Symbol.asyncDispose]();
  }

  #acquire(signal: AbortSignal): Promise<Leadership | undefined> {
    const { advertised, identity, listen } = this.#settings;
    const url = `https://${isIP(advertised) === 6 ? `[${advertised}]` : advertised}:${listen.port}`;
    const options = {
      client: this.#client,
      namespace: SYSTEM_NAMESPACE,
      name: CONTROLLER_LEASE,
      identity,
      annotations: { [LEADER_URL]: url },
      onTrouble: (error: unknown) => this.#log.warn({ err: brief(error) }, 'lease'),
    };
    return acquireLease(options, signal).then((leadership) => {
      if (leadership) this.#log.info({ epoch: leadership.epoch, url }, 'leading');
      return leadership;
    });
  }

  #serverWith(tls: ServerTls): ReturnType<typeof controllerServer> {
    const { clientCa } = this.#settings;
    const view = (): ReturnType<ClusterSource['view']> => this.#source.view();
    const tokens = agentTokens(this.#client, view);
    const reviewer = new Reviewer(this.#client, view);
    const access = metricsAccess(this.#client);
    return controllerServer(
      {
        agents: () => this.#leader?.agents,
        nodeOf: (token, address) => tokens.of(token, address),
        admit: async (request, fromApiServer) => {
          const answer = await reviewer.review(request, fromApiServer);
          const resource = knownResource(request.resource.resource);
          this.#metrics.admissions.inc({ resource, allowed: String(answer.allowed) });
          return answer;
        },
        missing: () => (this.#synced ? undefined : `waits for the API server: ${this.#source.waitingFor().join(', ')}`),
        metrics: () => this.#metrics.text(),
        mayReadMetrics: async (token, address) => (await access.of(token, address)) === true,
        isApiServer: ({ address, certified }) => (clientCa === undefined ? isApiServer(view(), address) : certified),
        onFault: (error) => this.#log.error({ err: error }, 'a request could not be served'),
      },
      tls,
    );
  }

  /** Tries until the certificate authority is there or the signal fires: what others must have set up first may come late. */
  async #firstIdentity(signal: AbortSignal): Promise<Awaited<ReturnType<ServingIdentity['refresh']>> | undefined> {
    while (!signal.aborted) {
      try {
        return await this.#identity.refresh();
      } catch (error) {
        this.#log.warn({ err: brief(error) }, 'certificate authority is not available yet; retrying');
        await systemClock.sleep(2_000, signal);
      }
    }
    return undefined;
  }

  #observe(): ReturnType<ConstructorParameters<typeof ControllerMetrics>[0]> {
    const { reports, agents, stats } = this.#source;
    return {
      leading: this.#leader !== undefined,
      epoch: this.#leader?.epoch ?? 0,
      revision: this.#leader?.sessions.revision ?? 0,
      connected: this.#leader?.sessions.nodes ?? [],
      networks: this.#source.view().state.networks.size,
      reports: reports.values(),
      refused: agents.refused,
      reflectors: stats,
      strangers: this.#connections?.strangers ?? 0,
      cut: this.#connections?.cut ?? 0,
    };
  }
}

/** Names that the serving certificate is for: as agents call this replica, and as the API server calls the Service. */
const servingNames = (advertised: string): string[] => [
  ...new Set([advertised, hostname(), `${WEBHOOK_SERVICE}.${SYSTEM_NAMESPACE}.svc`]),
];

const REVIEWED = ['pods', 'namespaces', 'virtualnetworks', 'virtualnetworkrouters'];
/** Requests about other things make no metric of their own. */
const knownResource = (name: string): string => (REVIEWED.includes(name) ? name : 'other');
