import type { Logger } from 'pino';
import type { BlockItem } from '../api/nodeconfig.ts';
import type { View } from '../core/view/view.ts';
import { brief } from '../lib/error/brief.ts';
import { EventRecorder } from '../lib/kube/events.ts';
import type { KubeClient } from '../lib/kube/client.ts';
import { Loops } from '../lib/reconcile/loops.ts';
import { planInterfaces } from './allocate/interfaces.ts';
import { planPolicies, planPolicyEvents } from './allocate/policies.ts';
import { planNodes } from './allocate/nodes.ts';
import { type ApiWrite, planWrites, planEvents, type Usage } from './allocate/plan.ts';
import { type BlockUse, planSubnetBlocks, type SubnetPlan } from './allocate/subnet-blocks.ts';
import { describeWrite, ApiWriter } from './allocate/write.ts';
import { Sessions } from './distribute/sessions.ts';
import type { AgentApi } from './http/agents.ts';
import { LEADER_LOOPS, type LeaderLoop } from './loops.ts';
import type { ControllerMetrics } from './metrics.ts';
import { NodeSilence } from './node-silence.ts';
import { returnedBlocks } from './sources/agent-reports.ts';
import type { ClusterSource } from './sources/cluster.ts';
import type { StoredBlock } from '../core/view/from-objects.ts';

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
  readonly #writer: ApiWriter;
  /** VNIs given by this leader, by uid of the network. */
  readonly #promised = new Map<string, number>();
  /** Blocks given by this leader that the API does not show yet, by cidr. */
  readonly #promisedBlocks = new Map<string, BlockItem>();
  #afterPredecessor = false;
  readonly #loops: Loops<LeaderLoop>;
  readonly #silence = new NodeSilence();
  #view: View;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.epoch = options.epoch;
    const { client, source, log } = options;
    this.sessions = new Sessions(options.epoch);
    this.#writer = new ApiWriter(
      client,
      new EventRecorder(client, 'bulkhead-controller', (error) => log.debug({ err: brief(error) }, 'event')),
    );
    this.#view = source.view();
    this.agents = {
      open: (node, sink) => this.sessions.open(node, sink, source.view()),
      report: (report) => this.#loops.request(source.report(report) ? 'distribute' : 'allocate'),
    };
    this.#loops = new Loops(
      LEADER_LOOPS,
      {
        events: () => this.#apply([...planEvents(this.#view), ...planPolicyEvents(this.#view)]),
        allocate: () => this.#allocate(),
        distribute: () => {
          this.#view = source.view();
          this.sessions.distribute(this.#view);
          this.#loops.request('allocate');
        },
        ping: () => this.sessions.ping(),
        holders: () => this.#watchHolders(),
      },
      { onTrouble: ({ what, log: level }, error) => log[level]({ err: error }, what) },
    ).start('ping', 'holders', 'events', 'allocate', 'distribute');
  }

  /** The cluster has changed. */
  request(): void {
    this.#loops.request('distribute');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loops[Symbol.asyncDispose]();
    this.sessions.endAll();
  }

  async #allocate(): Promise<void> {
    const { source } = this.#options;
    await this.#startAfterPredecessor();
    const stored = new Map([...source.storedBlocks.values()].map((b) => [b.cidr, b]));
    for (const cidr of this.#promisedBlocks.keys()) if (stored.has(cidr)) this.#promisedBlocks.delete(cidr);
    const returned = returnedBlocks(source.reports);
    const plan = this.#planBlocks(stored, returned);
    const writes = planWrites(this.#view, {
      stored: source.storedBlocks,
      usage: usageOf(source),
      reported: new Set(source.reports.keys()),
      promised: this.#promised,
      returned,
      exhausted: plan.exhausted,
      alive: this.#silence.alive(this.#view.state, source.agents.heard),
    });
    for (const block of this.#promisedBlocks.values()) writes.push({ do: 'create-block', block });
    writes.push(...planPolicies(this.#view));
    writes.push(...planInterfaces(this.#view, source.reports));
    writes.push(...planNodes(this.#view, source.reports, (node) => this.#silence.isSilent(node, this.sessions.nodes)));
    for (const d of writes)
      if (d.do === 'network-status' && d.vni !== undefined) this.#promised.set(d.network.uid, d.vni);
    await this.#apply(writes);
    this.#loops.request('events');
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

  /** The leader before may have assigned blocks a moment ago that no watch has shown yet. */
  async #startAfterPredecessor(): Promise<void> {
    if (this.#afterPredecessor) return;
    for (const block of await this.#options.source.freshGivenBlocks())
      if (!this.#options.source.storedBlocks.has(block.objectName)) this.#promisedBlocks.set(block.cidr, block);
    this.#afterPredecessor = true;
  }

  /** Looks at the holders of egress addresses, where there are any. */
  #watchHolders(): void {
    const { networks } = this.#view.state;
    const any = [...networks.values()].some((n) => n.spec?.egress.addresses?.length);
    if (any) this.#loops.request('allocate');
  }

  /** Some at a time; goes on behind a failed one, and throws the first failure at the end. */
  async #apply(writes: readonly ApiWrite[]): Promise<void> {
    const { log, metrics } = this.#options;
    const failed: unknown[] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      for (let write = writes[next++]; write; write = writes[next++]) {
        const mine = write;
        try {
          await this.#writer.apply(mine);
          metrics.duties.inc({ duty: mine.do, result: 'ok' });
        } catch (error) {
          failed.push(error);
          metrics.duties.inc({ duty: mine.do, result: 'failed' });
          log.warn({ err: brief(error) }, describeWrite(mine));
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
