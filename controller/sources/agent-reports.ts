import type { NodeReport } from '../../api/report.ts';
import { type Believed, believeReports, noEvidence, type Refusal } from '../../core/reports/believe.ts';
import { TokenBuckets } from '../../lib/http/token-bucket.ts';

type Cluster = Parameters<typeof believeReports>[0];
type Stored = Parameters<typeof believeReports>[2]['stored'];

/** What agents have reported, and what of it the API bears out. */
export class AgentReports {
  /** When each node has last spoken, by performance.now(). */
  readonly heard = new Map<string, number>();
  readonly #onRefused: (refusal: Refusal) => void;
  /** As they came. */
  readonly #came = new Map<string, NodeReport>();
  #believed: Believed = { reports: new Map(), refused: [], evidence: noEvidence };
  /** One line of the log for each node and reason in ten minutes. */
  readonly #telling = new TokenBuckets({ burst: 1, perSecond: 1 / 600 });

  constructor(onRefused: (refusal: Refusal) => void) {
    this.#onRefused = onRefused;
  }

  /** As far as the API bore them out when it was asked last. */
  get believed(): ReadonlyMap<string, NodeReport> {
    return this.#believed.reports;
  }

  /** What of them was not taken for true. */
  get refused(): readonly Refusal[] {
    return this.#believed.refused;
  }

  /** Takes a node's report. Returns whether it says anything new. */
  take(report: NodeReport): boolean {
    this.heard.set(report.node, performance.now());
    const before = this.#came.get(report.node);
    this.#came.set(report.node, report);
    const told = (r: NodeReport | undefined): string =>
      JSON.stringify([r?.blocks, r?.endpoints, r?.returned, r?.faults, r?.multus, r?.addresses, r?.routes]);
    if (told(before) !== told(report)) return true;
    const judged = this.#believed.reports.get(report.node);
    if (judged) {
      const { blocks, endpoints, returned, faults } = judged;
      const reports = new Map(this.#believed.reports);
      reports.set(report.node, { ...report, blocks, endpoints, returned, faults });
      this.#believed = { ...this.#believed, reports };
    }
    return false;
  }

  /** Judges all reports by the cluster as it is now. Those of nodes that are gone are forgotten. */
  judge(cluster: Cluster, stored: Stored): ReadonlyMap<string, NodeReport> {
    for (const name of this.#came.keys()) if (!cluster.nodes.has(name)) this.#came.delete(name);
    this.#believed = believeReports(cluster, this.#came, {
      stored,
      evidence: this.#believed.evidence,
      now: performance.now(),
    });
    for (const refusal of this.#believed.refused)
      if (this.#telling.take(`${refusal.node} ${refusal.reason}`)) this.#onRefused(refusal);
    return this.#believed.reports;
  }
}

/** Assigned blocks that their nodes have done with, as "node cidr". */
export const returnedBlocks = (reports: ReadonlyMap<string, NodeReport>): Set<string> =>
  new Set([...reports.values()].flatMap((r) => r.returned.map((cidr) => `${r.node} ${cidr}`)));
