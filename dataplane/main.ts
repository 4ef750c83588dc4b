import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import type { FastifyInstance } from 'fastify';
import { AGENT_SOCKET } from '../api/cni.ts';
import { PROGRAM_VERSION } from '../api/version.ts';
import { TokenBuckets } from '../lib/http/token-bucket.ts';
import { installLastResort } from '../lib/process/last-resort.ts';
import { openLog, takeLogLevel } from '../lib/process/log.ts';
import { metricsAccess } from '../lib/kube/authorize.ts';
import { KubeClient } from '../lib/kube/client.ts';
import { loadAccess } from '../lib/kube/kubeconfig.ts';
import { issueServer, makeAuthority } from '../lib/pki/certificates.ts';
import { raiseFileLimit } from '../lib/netns/files.ts';
import { brief } from '../lib/error/brief.ts';
import { aborted } from '../lib/reconcile/aborted.ts';
import { breathing } from '../lib/reconcile/breathing.ts';
import { Runner } from '../lib/reconcile/runner.ts';
import type { RevokedFlow } from './apply/policing.ts';
import { Dataplane } from './apply/dataplane.ts';
import { cleanUpNode } from './cleanup.ts';
import { Attachments } from './attach/attachments.ts';
import { Journal } from './attach/journal.ts';
import { lookUpPod } from './attach/look-up-pod.ts';
import { multusIsThere, writeConflist } from './cniserver/conflist.ts';
import { installPlugin } from './cniserver/plugin.ts';
import { CniServer } from './cniserver/server.ts';
import { ControllerLink } from './follow/controller-link.ts';
import { loadConfig, saveConfig } from './follow/saved-config.ts';
import { EgressKeeper } from './egress/keeper.ts';
import { serveHealth, serveMetrics } from './http/server.ts';
import { AgentMetrics } from './metrics.ts';
import { PACKET_LOG, probeFeatures } from './probe/features.ts';
import type { HostAddresses } from './probe/host-addresses.ts';
import { NodeState } from './node-state.ts';
import { renumbered } from './probe/renumbered.ts';
import { reportOf } from './report.ts';

const log = openLog('agent');

/** The same trouble once a minute. */
const troubles = new TokenBuckets({ burst: 1, perSecond: 1 / 60 });
const logFault = (error: Error): void => log.error({ err: error }, 'a request could not be served');

/** So long a pass may hold up ADD: then the runtime's calls have their turn. */
const MOST_MS_AT_ONCE = 10;

type Options = {
  node: string;
  kubeconfig?: string;
  token?: string;
  runDir: string;
  stateDir: string;
  cniConfDir: string;
  socket: string;
  cniBinDir?: string;
  plugin?: string;
  healthPort: string;
  metricsListen: string;
  auditInterval: string;
  addressRest: string;
  connectionsPerPod?: string;
};

const program = new Command('bulkhead-agent')
  .description('Attach the pods of one node to their networks.')
  .version(PROGRAM_VERSION)
  .option('--node <name>', 'name of this node', process.env['NODE_NAME'])
  .option('--kubeconfig <file>', 'kubeconfig for the API server; default: the ServiceAccount of the pod')
  .option('--token <file>', 'ServiceAccount token with audience bulkhead-controller', '/var/run/secrets/bulkhead/token')
  .option('--run-dir <dir>', 'journal; must be a tmpfs', '/run/bulkhead')
  .option('--state-dir <dir>', 'last good configuration; survives a reboot', '/var/lib/bulkhead')
  .option('--cni-conf-dir <dir>', 'folder in which the runtime looks for network configurations', '/etc/cni/net.d')
  .option('--cni-bin-dir <dir>', 'folder in which the runtime looks for plugins; the agent copies --plugin to it')
  .option('--plugin <file>', 'the CNI plugin to install')
  .option('--health-port <port>', 'loopback port of /healthz and /readyz; 0 for none', '9445')
  .option('--metrics-listen <host:port>', 'address of /metrics (TLS); empty for none', '[::]:9444')
  .option('--socket <file>', 'where the CNI plugin finds this agent', AGENT_SOCKET)
  .option('--audit-interval <seconds>', 'interval at which the agent compares the kernel with what it should be', '30')
  .option('--address-rest <seconds>', 'time before a released address is assigned again', '30')
  .option(
    '--connections-per-pod <number>',
    'connections that one pod may have in a tracking table, 0 for any number; default: an eighth of nf_conntrack_max',
  );
takeLogLevel(program, log);

async function main(o: Options): Promise<void> {
  if (!o.node) throw new Error('give --node, or set NODE_NAME');
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  raiseFileLimit();
  const lacks = probeFeatures();
  const node = new NodeState(lacks, o.cniConfDir);
  if (node.blocked !== undefined) log.error({ missing: node.blocked }, 'this kernel cannot carry pods');
  const health =
    o.healthPort === '0'
      ? undefined
      : await serveHealth(Number(o.healthPort), { missing: () => node.missing(), onFault: logFault });
  if (o.plugin !== undefined && o.cniBinDir !== undefined) installPlugin(o.plugin, o.cniBinDir);
  const savedPath = `${o.stateDir}/nodeconfig.json`;
  const config = loadConfig(savedPath);
  await using client = new KubeClient(loadAccess(o.kubeconfig));
  const perPod = o.connectionsPerPod === undefined ? undefined : Number(o.connectionsPerPod);
  if (perPod !== undefined && !(Number.isInteger(perPod) && perPod >= 0 && perPod < 2 ** 31))
    throw new Error(`--connections-per-pod ${o.connectionsPerPod}: give a whole number, or 0 for any number`);
  using dataplane = new Dataplane({
    config,
    ...(perPod === undefined ? {} : { connectionsPerPod: perPod }),
    nodeName: o.node,
    logDenials: !lacks.some((l) => l.feature === PACKET_LOG),
    onTrouble: (what, error) => log.warn({ err: brief(error) }, what),
    onRevoked: (flows) => {
      for (const f of flows) log.info(revokedRecord(f, revision), 'connection revoked');
    },
  });

  let authoritative = false;
  let revision = 0;
  let realised = 0;
  let unsaved = false;
  let faults = new Map<string, Error>();
  let over: (readonly [string, string])[] = [];
  let closed = new Map<string, string>();
  const waiting = new Set<() => void>();
  const started = Promise.withResolvers<void>();
  let attachments: Attachments | undefined;

  const link = new ControllerLink({
    client,
    token: () => readFileSync(o.token ?? '', 'utf8').trim(),
    config,
    onEvents: (events) => {
      for (const e of events) dataplane.touched(e);
    },
    onSync: (r) => {
      revision = r;
      authoritative = true;
      unsaved = true;
      // Before those who wait for a block look again.
      const failed = attempt(() => {
        attachments?.followPodCIDRs();
        attachments?.adoptGiven();
      });
      if (failed) log.warn({ err: brief(failed) }, 'blocks that were given');
      for (const wake of waiting) wake();
      if (dataplane.self) started.resolve();
      if (dataplane.self && attachments) egress.request();
      applier.request();
      reporter.request();
    },
    onTrouble: (message, error) => {
      metrics.reconnected();
      log.warn({ err: brief(error) }, message);
      if (!dataplane.self) node.waitsFor = `the controller has not described this node yet: ${brief(error)}`;
    },
  });
  const metrics = new AgentMetrics(async () => ({
    blocks: attachments?.blocks ?? [],
    podsByNetwork: countBy([...(attachments?.all ?? [])], (a) => a.network),
    connected: link.connected,
    epoch: link.epoch,
    received: revision,
    realised,
    faults: faults.size,
    problems: node.problems(),
    shares: dataplane.shareStatus(),
    denialsLeft: dataplane.denialsLeft,
    ...(await dataplane.counters()),
  }));
  const metricsServer = await openMetrics(o, client, metrics);
  let saving = Promise.resolve();
  const saveNow = async (): Promise<void> => {
    if (!unsaved) return;
    unsaved = false; // what comes meanwhile is saved next time
    try {
      await saveConfig(savedPath, config, breathing(MOST_MS_AT_ONCE));
      node.notSaved = undefined;
    } catch (error) {
      node.notSaved = error as Error;
      unsaved = true;
    }
  };
  const save = (): Promise<void> => (saving = saving.then(saveNow));
  // At once where it is small; many thousands of objects are not written out anew for each that changes.
  await using saver = new Runner(save, { minIntervalMs: 30, share: 0.05 });
  const breath = breathing(MOST_MS_AT_ONCE);
  await using applier = new Runner(
    async () => {
      if (authoritative) attachments?.adoptGiven();
      attachments?.prepare();
      const now = revision;
      const before = faults;
      faults = await dataplane.apply({ authoritative: false }, breath);
      if (authoritative) collector.request();
      realised = now;
      for (const [network, error] of faults)
        log.error({ network, err: error.message }, 'network could not be realised');
      if (authoritative && unsaved) saver.request();
      const wasClosed = closed;
      closed = dataplane.closedHere();
      const wasOver = new Set(over.map(([network, why]) => `${network} ${why}`));
      over = dataplane.policiesOverBudget();
      const newlyOver = over.filter(([network, why]) => !wasOver.has(`${network} ${why}`));
      for (const [network, why] of newlyOver) log.warn({ network }, why);
      if (newlyOver.length > 0 || wasOver.size !== over.length) reporter.request();
      for (const [network, why] of closed) if (!wasClosed.has(network)) log.warn({ network }, why);
      if (before.size !== faults.size || wasClosed.size !== closed.size) reporter.request();
      if (faults.size > 0) throw new Error(`${faults.size} network(s) could not be realised`);
    },
    {
      minIntervalMs: 30,
      // A pass costs what the table is large, however little changed: meanwhile more events come in, and go into one pass.
      share: 0.5,
      retryMs: 500,
      maxIntervalMs: 10_000,
      onError: (error) => log.debug({ err: brief(error) }, 'apply'),
    },
  );
  // Deletions wait for grace periods in the kernel, some 20 ms each, and this is the thread that answers ADD: few and large.
  await using collector = new Runner(
    async () => {
      attachments?.cleanUp({ authoritative });
      for (const [network, error] of await dataplane.apply({ authoritative }, breath))
        log.error({ network, err: error.message }, 'clean-up');
    },
    { minIntervalMs: 500, share: 0.5, retryMs: 500, onError: (error) => log.warn({ err: brief(error) }, 'clean-up') },
  );
  let host: HostAddresses = { addresses: [], routes: [] };
  let conflicts = new Map<string, string>();
  const takenEgress = (): (readonly [string, string])[] =>
    [...conflicts].flatMap(([ip, by]) =>
      dataplane
        .networksBy(ip)
        .map(
          (key) =>
            [
              key,
              `egress address ${ip} is in use by ${by}: it is not taken, and nothing leaves; choose another`,
            ] as const,
        ),
    );
  const sendReport = (): Promise<void> =>
    link.report(
      reportOf({
        node: o.node,
        revision: realised,
        attachments,
        faults: [...[...faults].map(([key, e]) => [key, e.message] as const), ...closed, ...over, ...takenEgress()],
        state: node,
        multus: multusIsThere(o.cniConfDir),
        host,
      }),
    );
  await using reporter = new Runner(sendReport, {
    minIntervalMs: 20,
    maxIntervalMs: 15_000,
    retryMs: 300,
    maxRetryMs: 3_000,
    onError: (error) => log.debug({ err: brief(error) }, 'report'),
  });
  // Addresses on devices of others come and go, and so does what others do to the tables: the agent looks.
  await using surveyor = new Runner(
    () => {
      if (!dataplane.guarded()) {
        log.warn("this node's nftables table was taken away by another program; it is put back");
        dataplane.resyncRoot();
        applier.request();
      }
      const { self: me } = dataplane;
      const moved = me ? renumbered(me, dataplane.underlayDev(), attachments?.outside ?? []) : [];
      if (JSON.stringify(moved) !== JSON.stringify(node.renumbered)) {
        node.renumbered = moved;
        reporter.request();
      }
      const now = dataplane.survey();
      if (now === host) return;
      const { addresses: before } = host;
      host = now;
      if (before.some((a) => !now.addresses.includes(a))) {
        // Connections from an address that is gone hear nothing any more, and would not say so for a minute.
        client.dropConnections();
        link.dropConnections();
      }
      applier.request();
      reporter.request();
    },
    {
      minIntervalMs: 500,
      maxIntervalMs: 2_000,
      retryMs: 1_000,
      onError: (error) => log.warn({ err: brief(error) }, "this node's addresses"),
    },
  );
  // Egress addresses are kept as long as the controller hears of this node, and no longer.
  using keeper = new EgressKeeper();
  const keepEgress = async (): Promise<void> => {
    if (dataplane.egressAddresses().length > 0) await sendReport();
    // What was said meanwhile counts.
    const wanted = (): string[] => (authoritative ? dataplane.egressAddresses() : []);
    await keeper.renew(wanted, wanted().length > 0 ? dataplane.underlayDev() : undefined);
  };
  const keepAndTell = async (): Promise<void> => {
    const before = conflicts.size;
    try {
      await keepEgress();
    } finally {
      conflicts = keeper.conflicts;
      if (dataplane.setHeldEgress(keeper.held)) applier.request();
      if (before !== conflicts.size) reporter.request();
    }
  };
  await using egress = new Runner(keepAndTell, {
    minIntervalMs: 200,
    maxIntervalMs: 2_000,
    retryMs: 500,
    maxRetryMs: 1_000,
    onError: (error) => log.debug({ err: brief(error) }, 'egress addresses'),
  });
  keeper.takeOver(dataplane.egressAddresses());
  dataplane.setHeldEgress(keeper.held);
  const following = link.run(stop.signal);

  // A running kernel enforces already. A moment's patience for the controller spares it a pass over an old picture.
  const patience = setTimeout(() => dataplane.self && started.resolve(), 3_000);
  await Promise.race([started.promise, aborted(stop.signal)]);
  clearTimeout(patience);
  const { self } = dataplane;
  if (stop.signal.aborted || !self) return;
  host = dataplane.survey(); // before the first report: without them pods would reach the node by these for a moment
  if (node.blocked !== undefined) {
    // Nothing can be attached here; the node's condition says why, and the agent stays to say it.
    node.waitsFor = undefined;
    reporter.start().request();
    await aborted(stop.signal);
    return;
  }

  attachments = new Attachments(
    {
      config,
      dataplane,
      journal: new Journal(`${o.runDir}/journal.ndjson`),
      lookUpPod: (namespace, name, uid) =>
        lookUpPod(client, { namespace, name, uid }, config.cluster.get('cluster')?.settings, (error) =>
          log.debug({ err: brief(error) }, 'look up pod'),
        ),
      nextConfig: (ms) => nextConfig(waiting, ms),
      onChange: () => reporter.request(),
      onGarbage: () => collector.request(),
      onTrouble: (message) => {
        if (troubles.take(message)) log.error(message);
      },
      multus: () => multusIsThere(o.cniConfDir),
      now: Date.now,
    },
    { podCIDRs: self.podCIDRs, restMs: Number(o.addressRest) * 1000 },
  );
  attachments.restore();
  dataplane.resync();
  // Pods may be on networks that only the journal remembers: their instances are opened before anything is judged missing.
  for (const network of new Set([...attachments.all].map((a) => a.network))) {
    try {
      dataplane.open(network);
    } catch (error) {
      log.warn({ network, err: brief(error) }, 'instance cannot be opened yet');
    }
    await setImmediate(); // hundreds take a while, and the kubelet asks whether this process is alive
  }
  for (const a of attachments.dropVanished())
    log.info({ pod: `${a.namespace}/${a.pod}`, ips: a.ips }, 'released: its interface is gone');
  saver.start();
  applier.start().request();
  surveyor.start().request();
  egress.start().request();
  collector.start().request();
  reporter.start().request();
  await using server = await CniServer.listen(
    o.socket,
    attachments,
    () => (dataplane.self ? undefined : 'the controller has not described this node yet'),
    (request, ms, error) => {
      const { K8S_POD_NAMESPACE: namespace = '', K8S_POD_NAME: pod = '' } = request.args;
      const fields = {
        verb: request.verb,
        pod: `${namespace}/${pod}`,
        ms: Number(ms.toFixed(2)),
        ...(error === undefined ? {} : { err: brief(error) }),
      };
      metrics.cni(request.verb, error === undefined ? 'ok' : 'refused', ms / 1000);
      if (error === undefined) log.info(fields, 'cni');
      else log.warn(fields, 'cni refused');
    },
  );
  writeConflist(o.cniConfDir, o.socket);
  node.waitsFor = undefined;
  reporter.request();
  log.info({ node: o.node, socket: o.socket, authoritative, version: PROGRAM_VERSION }, 'serving');
  for (const { reason, message } of node.problems()) log.warn({ reason }, message);
  // One namespace at a time: reading hundreds at once would hold up ADD.
  let audit: NodeJS.Timeout | undefined;
  const auditNext = (): void => {
    let turn = { count: 1, drifted: true };
    const failed = attempt(() => {
      turn = dataplane.resyncNext();
    });
    if (failed) log.warn({ err: brief(failed) }, 'audit');
    // Whoever tidied up the folder took the node's network away with it.
    attempt(() => writeConflist(o.cniConfDir, o.socket));
    if (turn.drifted) applier.request();
    audit = setTimeout(auditNext, (Number(o.auditInterval) * 1000) / turn.count);
  };
  auditNext();
  const denials = setInterval(() => {
    const failed = attempt(() => {
      for (const d of dataplane.denials()) log.info(d, 'dropped by policy');
    });
    if (failed) log.warn({ err: brief(failed) }, 'packets that policies dropped');
  }, 100);

  let balance: NodeJS.Timeout | undefined;
  let trouble = '';
  const balanceNext = async (): Promise<void> => {
    try {
      await dataplane.balance();
      trouble = '';
    } catch (error) {
      if (brief(error) !== trouble) log.warn({ err: brief(error) }, 'shares of connection tracking');
      trouble = brief(error);
    }
    if (!stop.signal.aborted) balance = setTimeout(() => void balanceNext(), 1_000);
  };
  void balanceNext();

  await aborted(stop.signal);
  clearTimeout(balance);
  clearInterval(denials);
  clearTimeout(audit);
  void server;
  await following;
  await save();
  await health?.close();
  await metricsServer?.close();
  // The kernel's state stays: pods go on while the agent is replaced.
}

/** What is kept of a connection that a change of policies has cut. */
const revokedRecord = (f: RevokedFlow, revision: number): Record<string, unknown> => ({
  network: f.network,
  protocol: f.protocol,
  source: f.source,
  sourcePort: f.sourcePort,
  destination: f.destination,
  port: f.port,
  pod: f.pod,
  direction: f.direction,
  tier: f.by?.tier,
  policy: f.by?.policy,
  rule: f.by?.rule,
  revision,
});

function nextConfig(waiting: Set<() => void>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      clearTimeout(timer);
      waiting.delete(wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    waiting.add(wake);
  });
}

/** Metrics by TLS, with a certificate of the agent's own: who may read is told by the caller's token. A port in use costs the metrics only. */
async function openMetrics(
  o: Options,
  client: KubeClient,
  metrics: AgentMetrics,
): Promise<FastifyInstance | undefined> {
  const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(o.metricsListen) ?? [];
  if (port === '') return undefined;
  const access = metricsAccess(client);
  try {
    const tls = await issueServer(await makeAuthority('bulkhead-agent'), 'bulkhead-agent', [o.node]);
    return await serveMetrics(
      { host: host.replace(/^\[|\]$/g, ''), port: Number(port) },
      {
        tls,
        metrics: () => metrics.text(),
        mayRead: async (token, address) => (await access.of(token, address)) === true,
        onFault: logFault,
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

function attempt(work: () => void): Error | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

program
  .command('cleanup')
  .description('remove all that an agent made on this node; run it while no agent runs')
  .option('--host <dir>', "the node's file system, when it is mounted somewhere", '')
  .option('--cni-bin-dir <dir>', 'where the runtime looks for plugins', '/opt/cni/bin')
  .action(({ host, cniBinDir }: { host: string; cniBinDir: string }) => {
    const removed = cleanUpNode({
      host,
      cniBinDir,
      runDir: '/run/bulkhead',
      stateDir: '/var/lib/bulkhead',
      cniConfDir: '/etc/cni/net.d',
    });
    log.info({ removed }, removed.length === 0 ? 'nothing of ours is here' : 'cleaned');
  });

program.action(async (options: Options) => {
  installLastResort(log);
  try {
    await main(options);
    process.exit(0);
  } catch (error) {
    log.fatal({ err: error }, 'agent failed');
    process.exit(1);
  }
});
await program.parseAsync();
