import type { Logger } from 'pino';
import type { BlockItem } from '../api/nodeconfig.ts';
import type { View } from '../core/view/view.ts';
import { brief } from '../lib/error/brief.ts';
import { EventRecorder } from '../lib/kube/events.ts';
import type { KubeClient } from '../lib/kube/client.ts';
import { Runner } from '../lib/reconcile/runner.ts';
import { planInterfaces } from './allocate/interfaces.ts';
import { planPolicies, planPolicyNews } from './allocate/policies.ts';
import { planNodes } from './allocate/nodes.ts';
import { type Duty, planDuties, planNews, type Usage } from './allocate/plan.ts';
import { type BlockUse, planSubnetBlocks, type SubnetPlan } from './allocate/subnet-blocks.ts';
import { describeDuty, DutyWriter } from './allocate/write.ts';
import { Sessions } from './distribute/sessions.ts';
import type { AgentApi } from './http/agents.ts';
import type { ControllerMetrics } from './metrics.ts';
import type { ClusterSource, StoredBlock } from './sources/cluster.ts';

/** An agent without a stream for this long is reported: a rolling update takes less. */
const SILENCE_MS = 40_000;
/** Longer than an agent without contact keeps egress addresses (dataplane/egress): no two nodes have them at once. */
const HOLDER_SILENCE_MS = 8_000;

export type LeaderOptions = {
  readonly client: KubeClient;
  readonly source: ClusterSource;
  readonly epoch: number;
  readonly log: Logger;
  readonly metrics: ControllerMetrics;
};

/** What only the leader does: tells the nodes, and writes what is owed to the API. */
export class Leader implements AsyncDisposable {
  readonly epoch: number;
  readonly sessions: Sessions;
  readonly agents: AgentApi;
  readonly #options: LeaderOptions;
  readonly #writer: DutyWriter;
  /** VNIs given by this leader, by uid of the network. */
  readonly #promised = new Map<string, number>();
  /** Blocks given by this leader that the API does not show yet, by cidr. */
  readonly #promisedBlocks = new Map<string, BlockItem>();
  #afterPredecessor = false;
  readonly #distributor: Runner;
  readonly #allocator: Runner;
  readonly #teller: Runner;
  readonly #ping: NodeJS.Timeout;
  readonly #holders: NodeJS.Timeout;
  readonly #since = performance.now();
  readonly #lastSeen = new Map<string, number>();
  #view: View;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.epoch = options.epoch;
    const { client, source, log } = options;
    this.sessions = new Sessions(options.epoch);
    this.#writer = new DutyWriter(
      client,
      new EventRecorder(client, 'bulkhead-controller', (error) => log.debug({ err: brief(error) }, 'event')),
    );
    this.#view = source.view();
    this.agents = {
      open: (node, sink) => this.sessions.open(node, sink, source.view()),
      report: (report) => {
        if (source.report(report)) this.#distributor.request();
        else this.#allocator.request();
      },
    };
    // Events are a courtesy: they come after a second, when a network that was about to be made is there, and hold up nothing.
    this.#teller = new Runner(() => this.#carryOut([...planNews(this.#view), ...planPolicyNews(this.#view)]), {
      minIntervalMs: 1_000,
      maxIntervalMs: 30_000,
    }).start();
    this.#allocator = new Runner(() => this.#allocate(), {
      minIntervalMs: 20,
      share: 0.3,
      maxIntervalMs: 30_000,
    }).start();
    this.#distributor = new Runner(
      () => {
        this.#view = source.view();
        this.sessions.distribute(this.#view);
        this.#allocator.request();
      },
      // In a burst the nodes get more at a time, and the Lease is renewed in time.
      { minIntervalMs: 5, share: 0.3, onError: (error) => log.error({ err: error }, 'distribute') },
    ).start();
    this.#ping = setInterval(() => this.sessions.ping(), 5_000);
    this.#holders = setInterval(() => this.#watchHolders(), 1_000);
  }

  /** The cluster has changed. */
  request(): void {
    this.#distributor.request();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#ping);
    clearInterval(this.#holders);
    for (const runner of [this.#distributor, this.#allocator, this.#teller]) await runner[Symbol.asyncDispose]();
    this.sessions.endAll();
  }

  async #allocate(): Promise<void> {
    const { source } = this.#options;
    await this.#startAfterPredecessor();
    const stored = new Map([...source.storedBlocks.values()].map((b) => [b.cidr, b]));
    for (const cidr of this.#promisedBlocks.keys()) if (stored.has(cidr)) this.#promisedBlocks.delete(cidr);
    const { returned } = source;
    const plan = this.#planBlocks(stored, returned);
    const duties = planDuties(this.#view, {
      stored: source.storedBlocks,
      usage: usageOf(source),
      reported: new Set(source.reports.keys()),
      promised: this.#promised,
      returned,
      exhausted: plan.exhausted,
      alive: this.#alive(),
    });
    for (const block of this.#promisedBlocks.values()) duties.push({ do: 'create-block', block });
    duties.push(...planPolicies(this.#view));
    duties.push(...planInterfaces(this.#view, source.reports));
    duties.push(...planNodes(this.#view, source.reports, (node) => this.#isSilent(node)));
    for (const d of duties)
      if (d.do === 'network-status' && d.vni !== undefined) this.#promised.set(d.network.uid, d.vni);
    await this.#carryOut(duties);
    this.#teller.request();
  }

  /** Blocks of the networks' own subnets. What is given is remembered until the API shows it: nothing is given twice. */
  #planBlocks(stored: ReadonlyMap<string, StoredBlock>, returned: ReadonlySet<string>): SubnetPlan {
    const { networks } = this.#view.state;
    for (const [cidr, block] of this.#promisedBlocks)
      if (!networks.has(block.network)) this.#promisedBlocks.delete(cidr);
    const given = new Map<string, BlockItem>([...stored].filter(([, b]) => b.given));
    for (const [cidr, block] of this.#promisedBlocks) given.set(cidr, block);
    // No node gets a block again until its former node has heard that it is gone.
    for (const entry of returned) {
      const [node = '', cidr = ''] = entry.split(' ');
      if (!given.has(cidr)) given.set(cidr, { cidr, node, network: '', given: true });
    }
    const uses = new Map<string, BlockUse>();
    for (const report of this.#options.source.reports.values())
      for (const b of report.blocks) if (b.given) uses.set(b.cidr, b);
    const plan = planSubnetBlocks(this.#view, given, uses);
    for (const block of plan.give) this.#promisedBlocks.set(block.cidr, block);
    return plan;
  }

  /** The leader before may have given blocks a moment ago that no watch has shown yet. */
  async #startAfterPredecessor(): Promise<void> {
    if (this.#afterPredecessor) return;
    for (const block of await this.#options.source.freshGivenBlocks())
      if (!this.#options.source.storedBlocks.has(block.objectName)) this.#promisedBlocks.set(block.cidr, block);
    this.#afterPredecessor = true;
  }

  /** Nodes that can have egress addresses. Who has some speaks every two seconds, so its silence is noticed soon. */
  #alive(): Set<string> {
    const now = performance.now();
    const holders = new Set([...this.#view.state.networks.values()].map((n) => n.egressNode));
    const { heard } = this.#options.source;
    return new Set(
      [...this.#view.state.nodes.keys()].filter((node) => {
        const silent = now - Math.max(heard.get(node) ?? 0, this.#since);
        return holders.has(node) ? silent < HOLDER_SILENCE_MS : heard.has(node) && silent < SILENCE_MS;
      }),
    );
  }

  /** Looks at the holders of egress addresses, where there are any. */
  #watchHolders(): void {
    const { networks } = this.#view.state;
    const any = [...networks.values()].some((n) => n.spec?.egress.addresses?.length);
    if (any) this.#allocator.request();
  }

  /** Whether a node's agent has had no stream for {@link SILENCE_MS}. */
  #isSilent(node: string): boolean {
    const now = performance.now();
    if (this.sessions.nodes.includes(node)) this.#lastSeen.set(node, now);
    const seen = this.#lastSeen.get(node) ?? this.#since;
    return now - seen > SILENCE_MS;
  }

  /** Some at a time; goes on behind a failed one, and throws the first failure at the end. */
  async #carryOut(duties: readonly Duty[]): Promise<void> {
    const { log, metrics } = this.#options;
    const failed: unknown[] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      for (let duty = duties[next++]; duty; duty = duties[next++]) {
        const mine = duty;
        try {
          await this.#writer.carryOut(mine);
          metrics.duties.inc({ duty: mine.do, result: 'ok' });
        } catch (error) {
          failed.push(error);
          metrics.duties.inc({ duty: mine.do, result: 'failed' });
          log.warn({ err: brief(error) }, describeDuty(mine));
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, work));
    if (failed.length > 0) throw failed[0];
  }
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
