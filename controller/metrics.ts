import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { NodeReport } from '../api/report.ts';
import type { Refusal } from '../core/reports/believe.ts';
import { PROGRAM_VERSION } from '../api/version.ts';
import { type DeclaredMetric, declaredMetrics } from '../lib/http/declared-metrics.ts';
import type { ReflectorStats } from '../lib/kube/reflector.ts';

/** What is read at the moment of a scrape. */
export type Observed = {
  readonly leading: boolean;
  readonly epoch: number;
  readonly revision: number;
  readonly connected: readonly string[];
  readonly networks: number;
  readonly reports: Iterable<NodeReport>;
  /** What agents said last that was not taken for true. */
  readonly refused: readonly Refusal[];
  readonly reflectors: ReadonlyMap<string, Readonly<ReflectorStats>>;
  /** Connections of callers that have not shown who they are. */
  readonly strangers: number;
  /** Connections that were closed because their address, or all together, had their share. */
  readonly cut: number;
};

/** The figures of one controller replica, in Prometheus' text form. Lag of the event loop comes with the defaults. */
export class ControllerMetrics {
  readonly #registry = new Registry();
  readonly #observe: () => Observed;
  readonly duties: Counter<'duty' | 'result'>;
  readonly admissions: Counter<'resource' | 'allowed'>;
  readonly #gauges: ReturnType<typeof gauges>;

  constructor(observe: () => Observed) {
    this.#observe = observe;
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#gauges = gauges(registers);
    this.duties = new Counter({
      name: 'bulkhead_controller_duties_total',
      help: 'Writes to the API, by kind and result.',
      labelNames: ['duty', 'result'],
      registers,
    });
    this.admissions = new Counter({
      name: 'bulkhead_controller_admission_reviews_total',
      help: 'Objects judged by the webhook.',
      labelNames: ['resource', 'allowed'],
      registers,
    });
    this.#gauges.build.set({ version: PROGRAM_VERSION }, 1);
  }

  /** What it declares, without any values. */
  get declared(): DeclaredMetric[] {
    return declaredMetrics(this.#registry);
  }

  async text(): Promise<string> {
    const now = this.#observe();
    const g = this.#gauges;
    g.leader.set(now.leading ? 1 : 0);
    g.epoch.set(now.epoch);
    g.revision.set(now.revision);
    g.connected.set(now.connected.length);
    g.networks.set(now.networks);
    g.strangers.set(now.strangers);
    g.cut.set(now.cut);
    for (const gauge of [g.lag, g.addresses, g.pods, g.refused]) gauge.reset();
    for (const { node, reason } of now.refused) g.refused.inc({ node, reason });
    for (const report of now.reports) {
      g.lag.set({ node: report.node }, Math.max(0, now.revision - report.revision));
      g.pods.set({ node: report.node }, report.endpoints.length);
      for (const b of report.blocks) {
        g.addresses.inc({ network: b.network, state: 'used' }, b.used);
        g.addresses.inc({ network: b.network, state: 'free' }, b.free);
      }
    }
    for (const [resource, stats] of now.reflectors) {
      for (const what of ['relists', 'watches', 'events', 'failures'] as const)
        g.reflector.set({ resource, what }, stats[what]);
    }
    return await this.#registry.metrics();
  }
}

function gauges(registers: Registry[]) {
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> =>
    new Gauge({ name: `bulkhead_controller_${name}`, help, labelNames, registers });
  return {
    build: gauge('build_info', 'Version of this replica.', ['version']),
    leader: gauge('leader', '1 while this replica leads.'),
    epoch: gauge('epoch', 'Number of the present leadership.'),
    revision: gauge('revision', 'Last revision sent to nodes.'),
    connected: gauge('connected_nodes', 'Agents with an open stream.'),
    networks: gauge('networks', 'VirtualNetworks.'),
    refused: gauge('refused_claims', 'What a node reported last and the API does not bear out, by reason.', [
      'node',
      'reason',
    ]),
    strangers: gauge('unauthenticated_connections', 'Connections of callers that have not shown who they are.'),
    cut: gauge(
      'connections_cut_total',
      'Connections that were closed because their address, or all addresses together, had too many.',
    ),
    lag: gauge('node_revision_lag', 'Revisions that a node has still to realise in its kernel.', ['node']),
    pods: gauge('node_pods', 'Pods attached on a node.', ['node']),
    addresses: gauge('addresses', 'Addresses by network, used or free in blocks that nodes hold.', [
      'network',
      'state',
    ]),
    reflector: gauge('reflector_total', 'What became of list and watch: relists, watches, events, failures.', [
      'resource',
      'what',
    ]),
  };
}
