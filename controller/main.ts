import { hostname } from 'node:os';
import { isIP } from 'node:net';
import { Command } from 'commander';
import pino from 'pino';
import { CONTROLLER_LEASE, LEADER_URL, SYSTEM_NAMESPACE } from '../api/names.ts';
import { type View, viewOf } from '../core/cluster/view.ts';
import { KubeClient } from '../lib/kube/client.ts';
import { EventRecorder } from '../lib/kube/events.ts';
import { loadAccess } from '../lib/kube/kubeconfig.ts';
import { acquireLease } from '../lib/kube/lease.ts';
import { Runner } from '../lib/reconcile/runner.ts';
import { type Duty, planDuties, planNews, type Usage } from './allocate/plan.ts';
import { describeDuty, DutyWriter } from './allocate/write.ts';
import { Sessions } from './distribute/sessions.ts';
import { AgentAuthenticator } from './http/authenticate.ts';
import { agentServer } from './http/server.ts';
import { ClusterSource } from './sources/cluster.ts';
import { servingCertificate } from './tls/authority.ts';

const log = pino({ name: 'controller' }, pino.destination({ fd: 2, sync: true }));

type Options = {
  kubeconfig?: string;
  listen: string;
  advertise?: string;
  podCidrs?: string;
  serviceCidrs?: string;
  identity: string;
};

const program = new Command('bulkhead-controller')
  .description('Allocates networks and tells every node what it must know.')
  .option('--kubeconfig <file>', 'how to reach the API server; default: the pod that this runs in')
  .option('--listen <host:port>', 'where agents connect to', '[::]:9443')
  .option('--advertise <host>', 'address of this replica, as agents reach it; default: the host name')
  .option('--pod-cidrs <list>', "pod ranges of the cluster, by comma; default: all nodes' pod CIDRs")
  .option('--service-cidrs <list>', 'Service ranges of the cluster, by comma')
  .option('--identity <name>', 'name of this replica on the Lease', `${hostname()}-${process.pid}`);

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
    onTrouble: ({ what, error, retryInMs }) =>
      log.warn({ err: brief(error), retryInMs }, `${what} failed, will be tried again`),
  });
  const [host, port] = splitHostPort(options.listen);
  const advertised = options.advertise ?? hostname();
  const url = `https://${isIP(advertised) === 6 ? `[${advertised}]` : advertised}:${port}`;
  // Followers keep their copy warm: a fail-over costs one Lease, not a list of the cluster.
  const synced = source.start();
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
  if (!leadership) return;
  log.info({ epoch: leadership.epoch, url }, 'leading');
  void leadership.lost.then((reason) => {
    if (stop.signal.aborted) return;
    log.error({ reason }, 'not the leader any more: leaving');
    process.exit(1); // at once: whatever is under way would be written by an old leader
  });
  await synced;

  const sessions = new Sessions(leadership.epoch);
  const events = new EventRecorder(client, 'bulkhead-controller', (error) => log.debug({ err: brief(error) }, 'event'));
  const writer = new DutyWriter(client, events);
  let view: View = viewOf(source.state());
  const promised = new Map<string, number>();
  // Events are a courtesy: they come after a second, when a network that was about to be made is there, and hold up nothing.
  await using teller = new Runner(() => carryOut(writer, planNews(view)), {
    minIntervalMs: 1_000,
    maxIntervalMs: 30_000,
  }).start();
  await using allocator = new Runner(
    async () => {
      const duties = planDuties(view, {
        stored: source.storedBlocks,
        usage: usageOf(source),
        reported: new Set(source.reports.keys()),
        promised,
      });
      for (const d of duties) if (d.do === 'network-status' && d.vni !== undefined) promised.set(d.network.uid, d.vni);
      await carryOut(writer, duties);
      teller.request();
    },
    { minIntervalMs: 20, maxIntervalMs: 30_000 },
  ).start();
  await using distributor = new Runner(
    () => {
      view = viewOf(source.state());
      sessions.distribute(view);
      allocator.request();
    },
    { minIntervalMs: 5, onError: (error) => log.error({ err: error }, 'distribute') },
  ).start();
  changed = () => distributor.request();

  const authenticator = new AgentAuthenticator(client);
  const tls = await servingCertificate(client, [...new Set([advertised, hostname()])]);
  const server = agentServer(
    {
      nodeOf: (token) => authenticator.nodeOf(token),
      open: (node, sink) => sessions.open(node, sink, viewOf(source.state())),
      report: (report) => {
        if (source.report(report)) distributor.request();
        else allocator.request();
      },
    },
    tls,
  );
  await server.listen({ host, port });
  const ping = setInterval(() => sessions.ping(), 5_000);
  distributor.request();
  log.info({ listen: options.listen }, 'serving agents');

  await new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()));
  clearInterval(ping);
  sessions.endAll();
  await server.close();
  await leadership.release();
}

/** Some at a time; goes on behind a failed one, and throws the first failure at the end. */
async function carryOut(writer: DutyWriter, duties: readonly Duty[]): Promise<void> {
  const failed: unknown[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let duty = duties[next++]; duty; duty = duties[next++]) {
      const mine = duty;
      await writer.carryOut(mine).catch((error: unknown) => {
        failed.push(error);
        log.warn({ err: brief(error) }, describeDuty(mine));
      });
    }
  };
  await Promise.all(Array.from({ length: 8 }, work));
  if (failed.length > 0) throw failed[0];
}

function usageOf(source: ClusterSource): Map<string, Usage> {
  const usage = new Map<string, { used: number; free: number; faults: string[] }>();
  for (const report of source.reports.values()) {
    for (const block of report.blocks) {
      const u = usage.get(block.network) ?? { used: 0, free: 0, faults: [] };
      usage.set(block.network, { ...u, used: u.used + block.used, free: u.free + block.free });
    }
    for (const fault of report.faults) {
      const u = usage.get(fault.network) ?? { used: 0, free: 0, faults: [] };
      u.faults.push(`node ${report.node}: ${fault.message}`);
      usage.set(fault.network, u);
    }
  }
  return usage;
}

const list = (text: string | undefined): string[] => (text === undefined || text === '' ? [] : text.split(','));
const brief = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function splitHostPort(text: string): [string, number] {
  const at = text.lastIndexOf(':');
  return [text.slice(0, at).replace(/^\[|\]$/g, ''), Number(text.slice(at + 1))];
}

program.action(async (options: Options) => {
  try {
    await main(options);
    process.exit(0);
  } catch (error) {
    log.fatal({ err: error }, 'controller failed');
    process.exit(1);
  }
});
await program.parseAsync();
