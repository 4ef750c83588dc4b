import type { ClusterState } from '../core/cluster/state.ts';

/** An agent without a stream for this long counts as silent: a rolling update takes less. */
const SILENCE_MS = 40_000;
/** Longer than an agent without contact keeps egress addresses (dataplane/egress): no two nodes have them at once. */
const HOLDER_SILENCE_MS = 8_000;

/** Which nodes have not been heard of, since this leader began. */
export class NodeSilence {
  readonly #now: () => number;
  readonly #since: number;
  readonly #lastSeen = new Map<string, number>();

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#since = now();
  }

  /**
   * Nodes that can have egress addresses. A node that has some speaks every two seconds, so its silence is noticed soon.
   *
   * @param heard when each node has last spoken
   */
  alive(
    { networks, nodes }: Pick<ClusterState, 'networks' | 'nodes'>,
    heard: ReadonlyMap<string, number>,
  ): Set<string> {
    const now = this.#now();
    const holders = new Set([...networks.values()].map((n) => n.egressNode));
    return new Set(
      [...nodes.keys()].filter((node) => {
        const silent = now - Math.max(heard.get(node) ?? 0, this.#since);
        return holders.has(node) ? silent < HOLDER_SILENCE_MS : heard.has(node) && silent < SILENCE_MS;
      }),
    );
  }

  /** Whether a node's agent has had no stream for so long; `connected`: those that have one now. */
  isSilent(node: string, connected: readonly string[]): boolean {
    const now = this.#now();
    if (connected.includes(node)) this.#lastSeen.set(node, now);
    return now - (this.#lastSeen.get(node) ?? this.#since) > SILENCE_MS;
  }
}
