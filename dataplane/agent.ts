import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { PROGRAM_VERSION } from '../api/version.ts';
import { brief } from '../lib/error/brief.ts';
import { TokenBuckets } from '../lib/http/token-bucket.ts';
import { KubeClient } from '../lib/kube/client.ts';
import { raiseFileLimit } from '../lib/netns/files.ts';
import { aborted } from '../lib/reconcile/aborted.ts';
import { Loops } from '../lib/reconcile/loops.ts';
import { type Dataplane, openDataplane } from './apply/dataplane.ts';
import { Attachments } from './attach/attachments.ts';
import { Journal } from './attach/journal.ts';
import { lookUpPod } from './attach/look-up-pod.ts';
import { NodeAddresses } from './attach/node-addresses.ts';
import { multusIsThere, writeConflist } from './cniserver/conflist.ts';
import { installPlugin } from './cniserver/plugin.ts';
import { CniServer } from './cniserver/server.ts';
import { neededNetworks, selfOf } from './desired/desired.ts';
import { EgressKeeper } from './egress/keeper.ts';
import { ConfigStore } from './follow/config-store.ts';
import { ControllerLink } from './follow/controller-link.ts';
import { loadConfig } from './follow/saved-config.ts';
import { serveHealth } from './http/server.ts';
import { type AgentWork, revokedRecord, save, workOf } from './agent-work.ts';
import { LOOPS, type LoopName } from './loops.ts';
import { observeAgent, openMetrics } from './open-metrics.ts';
import type { AgentMetrics } from './metrics.ts';
import { NodeState } from './node-state.ts';
import { PACKET_LOG, probeFeatures } from './probe/features.ts';
import type { AgentSettings } from './settings.ts';
import { AgentStatus } from './status.ts';

/** How long the agent waits for the controller before it goes by the configuration on disk. */
const PATIENCE_MS = 3_000;

/** The agent of one node: `follow`, `open`, `serve`, one after the other; then `stop`. */
export class Agent {
  readonly #settings: AgentSettings;
  readonly #log: Logger;
  readonly #work: AgentWork;
  readonly #client: KubeClient;
  readonly #loops: Loops<LoopName>;
  readonly #metrics: AgentMetrics;
  /** What is open, let go in reverse. */
  readonly #open = new AsyncDisposableStack();
  readonly #ending = new AbortController();
  readonly #known = Promise.withResolvers<void>();
  /** The same trouble once a minute. */
  readonly #troubles = new TokenBuckets({ burst: 1, perSecond: 1 / 60 });

  constructor(settings: AgentSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    raiseFileLimit();
    const lacks = probeFeatures();
    const node = new NodeState(lacks, settings.cniConfDir);
    if (node.blocked !== undefined) log.error({ missing: node.blocked }, 'this kernel cannot carry pods');
    const store = new ConfigStore(loadConfig(`${settings.stateDir}/nodeconfig.json`));
    const status = new AgentStatus();
    this.#client = this.#open.use(new KubeClient(settings.access));
    const dataplane = this.#open.use(
      openDataplane({
        store,
        ...(settings.connectionsPerPod === undefined ? {} : { connectionsPerPod: settings.connectionsPerPod }),
        nodeName: settings.node,
        logDenials: !lacks.some((l) => l.feature === PACKET_LOG),
        onTrouble: (what, error) => log.warn({ err: brief(error) }, what),
        onRevoked: (flows) => {
          for (const f of flows) log.info(revokedRecord(f, status.received), 'connection revoked');
        },
      }),
    );
    const keeper = this.#open.use(new EgressKeeper());
    const link = this.#linkTo(store);
    this.#work = { settings, log, client: this.#client, store, status, node, dataplane, keeper, link, pods: undefined };
    this.#loops = new Loops(
      LOOPS,
      workOf(this.#work, (loop) => this.#loops.request(loop)),
      {
        onTrouble: ({ what, log: level }, error) => log[level]({ err: brief(error) }, what),
        maxIntervalMs: { audit: () => settings.auditMs / (dataplane.places.instances.size + 1) },
      },
    );
    this.#metrics = observeAgent(this.#work);
  }

  /**
   * Follows the controller until it is known what this node is. Stays there when this kernel cannot carry pods: nothing is attached,
   * and the node's condition says why.
   */
  async follow(signal: AbortSignal): Promise<'stay' | 'go on'> {
    const { settings, dataplane, keeper, link, node, status } = this.#work;
    const { healthPort, plugin, metricsListen } = settings;
    const onFault = (error: Error): void => this.#log.error({ err: error }, 'a request could not be served');
    if (healthPort !== undefined) {
      const health = await serveHealth(healthPort, { missing: () => node.missing(), onFault });
      this.#open.defer(() => health.close());
    }
    if (plugin) installPlugin(plugin.file, plugin.binDir);
    const server = metricsListen && (await openMetrics(metricsListen, this.#work, this.#metrics, onFault));
    if (server) this.#open.defer(() => server.close());
    keeper.takeOver(dataplane.egress.wanted());
    dataplane.egress.setHeld(keeper.held);
    const following = link.run(AbortSignal.any([signal, this.#ending.signal]));
    this.#open.defer(() => following);
    this.#open.use(this.#loops);
    // A running kernel enforces already. A moment's patience for the controller spares it a pass over an old picture.
    const patience = setTimeout(() => this.#isKnown() && this.#known.resolve(), PATIENCE_MS);
    await Promise.race([this.#known.promise, aborted(signal)]);
    clearTimeout(patience);
    if (signal.aborted) return 'stay';
    // Before the first report: without them pods would reach the node by these for a moment.
    status.host = dataplane.node.survey();
    if (node.blocked === undefined) return 'go on';
    node.waitsFor = undefined;
    this.#loops.start('report');
    return 'stay';
  }

  /** Takes up what an earlier life left in the kernel and in the journal. */
  async open(): Promise<'go on'> {
    const { dataplane } = this.#work;
    const { attachments } = (this.#work.pods = this.#podsOf(dataplane));
    attachments.restore();
    dataplane.audit.all();
    // Pods may be on networks that only the journal remembers: their instances are opened before anything is judged missing.
    for (const network of new Set([...attachments.all].map((a) => a.network))) {
      try {
        dataplane.networks.open(network);
      } catch (error) {
        this.#log.warn({ network, err: brief(error) }, 'instance cannot be opened yet');
      }
      await setImmediate(); // hundreds take a while, and the kubelet asks whether this process is alive
    }
    for (const a of attachments.dropVanished())
      this.#log.info({ pod: `${a.namespace}/${a.pod}`, ips: a.ips }, 'released: its interface is gone');
    this.#loops.start('save', 'apply', 'survey', 'egress', 'collect', 'report');
    return 'go on';
  }

  /** Answers the runtime. */
  async serve(): Promise<'go on'> {
    const { settings, node, status, pods } = this.#work;
    if (!pods) throw new Error('serve comes after open');
    const server = await CniServer.listen(
      settings.socket,
      pods.attachments,
      () => (this.#isKnown() ? undefined : 'the controller has not described this node yet'),
      (request, ms, error) => {
        const { K8S_POD_NAMESPACE: namespace = '', K8S_POD_NAME: pod = '' } = request.args;
        const fields = { verb: request.verb, pod: `${namespace}/${pod}`, ms: Number(ms.toFixed(2)) };
        this.#metrics.cni(request.verb, error === undefined ? 'ok' : 'refused', ms / 1000);
        if (error === undefined) this.#log.info(fields, 'cni');
        else this.#log.warn({ ...fields, err: brief(error) }, 'cni refused');
      },
    );
    this.#open.use(server);
    writeConflist(settings.cniConfDir, settings.socket);
    node.waitsFor = undefined;
    this.#loops.request('report');
    const { authoritative } = status;
    this.#log.info(
      { node: settings.node, socket: settings.socket, authoritative, version: PROGRAM_VERSION },
      'serving',
    );
    for (const { reason, message } of node.problems()) this.#log.warn({ reason }, message);
    this.#loops.start('audit', 'denials', 'balance');
    return 'go on';
  }

  /** Lets go of everything that was begun. The kernel's state stays: pods go on while the agent is replaced. */
  async stop(): Promise<void> {
    this.#ending.abort();
    try {
      await this.#open[Symbol.asyncDispose]();
    } finally {
      await save(this.#work); // no loop does any more
    }
  }

  #isKnown(): boolean {
    return selfOf(this.#work.dataplane.desired) !== undefined;
  }

  #linkTo(store: ConfigStore): ControllerLink {
    return new ControllerLink({
      client: this.#client,
      token: () => readFileSync(this.#settings.token, 'utf8').trim(),
      store,
      onSync: (revision) => {
        const { status, pods } = this.#work;
        status.received = revision;
        status.authoritative = true;
        status.unsaved = true;
        // Before those who wait for a block look again.
        try {
          pods?.addresses.adopt();
        } catch (error) {
          this.#log.warn({ err: brief(error) }, 'blocks that were given');
        }
        store.synced();
        if (this.#isKnown()) this.#known.resolve();
        if (this.#isKnown() && pods) this.#loops.request('egress');
        this.#loops.request('apply');
        this.#loops.request('report');
      },
      onTrouble: (message, error) => {
        this.#metrics.reconnected();
        this.#log.warn({ err: brief(error) }, message);
        if (!this.#isKnown())
          this.#work.node.waitsFor = `the controller has not described this node yet: ${brief(error)}`;
      },
    });
  }

  #podsOf(dataplane: Dataplane): { readonly attachments: Attachments; readonly addresses: NodeAddresses } {
    const { settings, store } = this.#work;
    const { config } = store;
    const self = (): ReturnType<typeof selfOf> => selfOf(dataplane.desired);
    const report = (): void => this.#loops.request('report');
    const addresses = new NodeAddresses(
      {
        config,
        self,
        journal: new Journal(`${settings.runDir}/journal.ndjson`),
        neededNetworks: () => neededNetworks(dataplane.desired),
        onBlocks: (blocks) => {
          dataplane.networks.setBlocks(blocks);
          report();
        },
        doubt: (cidrs) => dataplane.hands.doubt(cidrs),
        onTrouble: (message) => {
          if (this.#troubles.take(message)) this.#log.error(message);
        },
        now: Date.now,
      },
      { podCIDRs: self()?.podCIDRs ?? [], restMs: settings.restMs },
    );
    const attachments = new Attachments({
      config,
      self,
      dataplane,
      addresses,
      lookUpPod: (namespace, name, uid) =>
        lookUpPod(this.#client, { namespace, name, uid }, config.cluster.get('cluster')?.settings, (error) =>
          this.#log.debug({ err: brief(error) }, 'look up pod'),
        ),
      nextConfig: (ms) => store.next(ms),
      onChange: report,
      onGarbage: () => this.#loops.request('collect'),
      multus: () => multusIsThere(settings.cniConfDir),
      now: Date.now,
    });
    return { attachments, addresses };
  }
}
