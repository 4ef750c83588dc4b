import type { Conntrack } from '../../lib/netlink/conntrack.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { type Excess, excessOf, type ShareLimits } from '../plan/fair-shares.ts';
import { planOver } from '../plan/shares.ts';

/** One connection tracking table: the root's, or that of a network's instance. */
export type TrackedTable = {
  readonly network: string;
  readonly conntrack: Conntrack;
  readonly limits: ShareLimits;
  /** Whose a source is; undefined: shares are not for it. Asked again for each count. */
  readonly ownerOf: (source: string) => string | undefined;
  /** Writes the sources that are refused new connections. */
  readonly refuse: (elements: readonly NftObject[]) => void;
};

/** What is known of a table since it was looked at last. */
type Seen = { readonly entries: number; readonly counted: number; readonly at: number; readonly refused: Excess };

/** How full tables are, and who is kept out: by network, for metrics. */
export type ShareStatus = {
  readonly network: string;
  readonly entries: number;
  /** Sources that get no new connection since they have more than their share. */
  readonly refused: number;
};

/**
 * Counts what sources have in connection tracking tables, and keeps those out that have more than their share until they have less.
 * Most turns read one number for each table: who has what is only asked when a table has more than one source may have.
 */
export class ConnectionShares {
  readonly #seen = new Map<string, Seen>();
  readonly #now: () => number;
  #turn = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Looks at the first of the tables, and at some of the others in their turn.
   *
   * Throws after all have been looked at, when one could not be.
   */
  async look([root, ...others]: readonly TrackedTable[]): Promise<void> {
    const known = new Set([root, ...others].map((t) => t?.network));
    for (const network of this.#seen.keys()) if (!known.has(network)) this.#seen.delete(network);
    const mine = others.length <= AT_ONCE ? others : rotated(others, this.#turn).slice(0, AT_ONCE);
    this.#turn = (this.#turn + mine.length) % Math.max(1, others.length);
    let failed: unknown;
    for (const table of root ? [root, ...mine] : mine) {
      try {
        await this.#lookAt(table);
      } catch (error) {
        failed = error;
      }
    }
    if (failed !== undefined) throw failed;
  }

  status(): ShareStatus[] {
    return [...this.#seen].map(([network, { entries, refused }]) => ({ network, entries, refused: refused.size }));
  }

  async #lookAt(table: TrackedTable): Promise<void> {
    const { network, conntrack, limits, refuse } = table;
    const entries = conntrack.count() ?? 0;
    const before = this.#seen.get(network);
    const none: Excess = new Map();
    if (entries <= limits.source) {
      // No source can have too much.
      if (before && before.refused.size > 0) refuse([]);
      this.#seen.set(network, { entries, counted: entries, at: this.#now(), refused: none });
      return;
    }
    if (before && !this.#due(before, entries, limits)) {
      this.#seen.set(network, { ...before, entries });
      return;
    }
    const refused = excessOf(await conntrack.sources(), table.ownerOf, limits);
    refuse(planOver(refused.keys()));
    this.#seen.set(network, { entries, counted: entries, at: this.#now(), refused });
    // Close to full: who has too much gives back, so that others find room.
    if (refused.size > 0 && entries > limits.all * 1.1) await conntrack.forget(refused);
  }

  /** A count reads the whole table: again when it has grown, and now and then. */
  #due({ counted, at, refused }: Seen, entries: number, { source }: ShareLimits): boolean {
    const age = this.#now() - at;
    if (Math.abs(entries - counted) > source / 8) return true;
    return age >= (refused.size > 0 ? 3_000 : 15_000);
  }
}

/** Tables of networks that are looked at in one turn. */
const AT_ONCE = 32;

const rotated = <T>(list: readonly T[], by: number): T[] => [...list.slice(by), ...list.slice(0, by)];
