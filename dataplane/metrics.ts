import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { PROGRAM_VERSION } from '../api/version.ts';
import { type DeclaredMetric, declaredMetrics } from '../lib/http/declared-metrics.ts';
import type { RuleHits } from './kernel/counters.ts';

/** What is read at the moment of a scrape. */
export type Observed = {
  readonly blocks: Iterable<{ readonly network: string; readonly used: number; readonly free: number }>;
  readonly podsByNetwork: ReadonlyMap<string, number>;
  readonly connected: boolean;
  readonly epoch: number;
  readonly received: number;
  readonly realised: number;
  readonly faults: number;
  readonly problems: readonly { readonly reason: string }[];
  /** Of connection tracking tables. */
  readonly shares: Iterable<{ readonly network: string; readonly entries: number; readonly refused: number }>;
  /** Denied packets that were logged to the agent and not written, since too many came at once. */
  readonly denialsLeft: number;
  /** Packets refused or dropped since the tables were made, by reason, over all networks of this node. */
  readonly rules: Iterable<RuleHits>;
  readonly drops: ReadonlyMap<string, { readonly network: string; readonly packets: number }[]>;
};

/** The figures of one agent, in Prometheus' text form. Lag of the event loop comes with the defaults. */
export class AgentMetrics {
  readonly #registry = new Registry();
  readonly #observe: () => Promise<Observed>;
  readonly #cni: Histogram<'verb' | 'result'>;
  readonly #restarts: Counter;
  readonly #gauges: ReturnType<typeof makeGauges>;

  constructor(observe: () => Promise<Observed>) {
    this.#observe = observe;
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#gauges = makeGauges(registers);
    this.#cni = new Histogram({
      name: 'bulkhead_agent_cni_duration_seconds',
      help: 'CNI verbs, from the request on the socket to the answer.',
      labelNames: ['verb', 'result'],
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      registers,
    });
    this.#restarts = new Counter({
      name: 'bulkhead_agent_controller_reconnects_total',
      help: 'Streams from the controller that ended.',
      registers,
    });
    this.#gauges.build.set({ version: PROGRAM_VERSION }, 1);
  }

  cni(verb: string, result: 'ok' | 'refused', seconds: number): void {
    this.#cni.observe({ verb, result }, seconds);
  }

  reconnected(): void {
    this.#restarts.inc();
  }

  /** What it declares, without any values. */
  get declared(): DeclaredMetric[] {
    return declaredMetrics(this.#registry);
  }

  async text(): Promise<string> {
    const now = await this.#observe();
    const gauges = this.#gauges;
    for (const gauge of [
      gauges.addresses,
      gauges.pods,
      gauges.problems,
      gauges.drops,
      gauges.rules,
      gauges.tracked,
      gauges.overShare,
    ])
      gauge.reset();
    for (const { hits, ...rule } of now.rules) gauges.rules.inc(rule, hits);
    for (const b of now.blocks) {
      gauges.addresses.inc({ network: b.network, state: 'used' }, b.used);
      gauges.addresses.inc({ network: b.network, state: 'free' }, b.free);
    }
    for (const [network, count] of now.podsByNetwork) gauges.pods.set({ network }, count);
    for (const { network, entries, refused } of now.shares) {
      gauges.tracked.set({ network }, entries);
      gauges.overShare.set({ network }, refused);
    }
    for (const { reason } of now.problems) gauges.problems.set({ reason }, 1);
    for (const [reason, list] of now.drops)
      for (const { network, packets } of list) gauges.drops.inc({ network, reason }, packets);
    gauges.denialsLeft.set(now.denialsLeft);
    gauges.connected.set(now.connected ? 1 : 0);
    gauges.epoch.set(now.epoch);
    gauges.received.set(now.received);
    gauges.realised.set(now.realised);
    gauges.faults.set(now.faults);
    return await this.#registry.metrics();
  }
}

function makeGauges(registers: Registry[]) {
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> =>
    new Gauge({ name: `bulkhead_agent_${name}`, help, labelNames, registers });
  return {
    build: gauge('build_info', 'Version of this agent.', ['version']),
    connected: gauge('controller_connected', '1 while the stream from the controller is open.'),
    epoch: gauge('controller_epoch', 'Leadership that the stream belongs to.'),
    received: gauge('revision_received', 'Last revision that the controller sent.'),
    realised: gauge('revision_realised', 'Last revision that is in the kernel.'),
    faults: gauge('network_faults', 'Networks that could not be realised.'),
    problems: gauge('problems', '1 for each thing that is wrong with this node.', ['reason']),
    pods: gauge('pods', 'Pods attached, by network.', ['network']),
    addresses: gauge('addresses', 'Addresses by network, used or free in the blocks of this node.', [
      'network',
      'state',
    ]),
    rules: gauge(
      'policy_rule_hits_total',
      'New connections that a rule of a policy has decided on, and packets it dropped.',
      ['tier', 'policy', 'rule', 'verdict'],
    ),
    tracked: gauge(
      'tracked_connections',
      "Connections in a network's own tracking table; of the flat network, in that of the node.",
      ['network'],
    ),
    denialsLeft: gauge('denials_unwritten_total', 'Denied packets left out of the log, since too many came at once.'),
    overShare: gauge(
      'sources_over_share',
      'Addresses that get no new connection since they have more than their share of a tracking table.',
      ['network'],
    ),
    drops: gauge('dropped_packets_total', 'Packets refused or dropped, by network and reason.', ['network', 'reason']),
  };
}
