import type { NftSet } from '../../lib/nft/elements.ts';
import { type Nft, NftError, type Prepared } from '../../lib/nft/nft.ts';
import { type NftChange, type NftObject, renderFresh, type TableName } from '../../lib/nft/program.ts';
import type { DeltaTracker } from '../../lib/reconcile/delta-tracker.ts';
import { withMemory } from './memory.ts';
import { Staged } from './staged.ts';

/** Chains, counters and sets that go in one transaction. */
const MOST_DELETIONS = 128;

/** Our nft table in one namespace. It is ours alone: looked at only for being there, and written whole when it is not. */
export class TableWriter {
  readonly #table: TableName;
  readonly #nft: Nft;
  readonly #tracker: DeltaTracker<NftObject>;
  #stands = false;
  /** How often the table has been written whole. */
  #writes = 0;
  #others: () => Iterable<NftObject> = () => [];

  constructor(table: TableName, nft: Nft, tracker: DeltaTracker<NftObject>) {
    this.#table = table;
    this.#nft = nft;
    this.#tracker = tracker;
  }

  /**
   * Elements that something else keeps, and changes with {@link stage}: there may be very many, and nothing is remembered of them here.
   *
   * @param others all that stand, asked when the table is written whole
   */
  keepElements(others: () => Iterable<NftObject>): void {
    this.#others = others;
  }

  /** Changes of such elements; {@link apply} writes them. */
  stage(): Staged {
    return new Staged(this.#nft, this.#table, (name) => this.#setOf(name));
  }

  /**
   * How often the table has been written whole, with all elements that stand: what was staged before counts no more. 0: it is still to be
   * written.
   */
  get writes(): number {
    return this.#stands ? this.#writes : 0;
  }

  /** How much of the table differs. */
  get pending(): number {
    return this.#tracker.pending;
  }

  /** With the next write all of the table is written anew. */
  forget(): void {
    this.#stands = false;
  }

  /** Looks whether the table is there. */
  resync(): void {
    this.#stands &&= this.#isThere();
  }

  /**
   * Writes what differs, and the staged changes in one transaction with all other elements. `additions` leaves deletions for later;
   * `all` does so many of them that others need not wait long for their turn. Throws when the table cannot be written whole either.
   *
   * @returns whether there are more deletions than it has done
   */
  apply(what: 'additions' | 'all', staged: readonly Prepared[] = []): boolean {
    if (this.#stands && this.#tracker.pending === 0 && staged.length === 0) return false;
    const changes: NftChange[] = [];
    const keys: string[] = [];
    for (const { key, value, real } of this.#tracker.pendingUpdates()) {
      keys.push(key);
      changes.push({ verb: 'set', object: value, before: real });
    }
    // Elements cost nothing to delete, and one that is left beside a newer one may say the opposite. Of the rest, what refers to others
    // comes behind them, and so goes before them.
    const deletions = [...this.#tracker.pendingDeletions()];
    const others = what === 'all' ? deletions.filter(({ real }) => real.kind !== 'element').reverse() : [];
    const gone = [...deletions.filter(({ real }) => real.kind === 'element'), ...others.slice(0, MOST_DELETIONS)];
    for (const { key, real } of gone) {
      keys.push(key);
      changes.push({ verb: 'delete', object: real });
    }
    if (this.#stands && changes.length === 0 && staged.length === 0) return false;
    try {
      if (!this.#stands) this.#writeWhole();
      else this.#change(changes, keys, staged);
    } catch (error) {
      if (!(error instanceof NftError)) throw error;
      // Another program changed our table, or two changes do not fit together: the whole table again, in one transaction.
      this.#writeWhole();
    }
    return others.length > MOST_DELETIONS;
  }

  /** Keys of a set as the kernel has them: what an earlier life of this agent has left there. */
  keysIn(set: NftSet): string[] {
    return this.#nft.elements(this.#table, set).map(({ key }) => key);
  }

  #change(changes: readonly NftChange[], keys: readonly string[], staged: readonly Prepared[]): void {
    this.#nft.change(this.#table, changes, (name) => this.#setOf(name), staged);
    for (const [i, c] of changes.entries()) {
      if (c.verb === 'set') this.#tracker.observed(keys[i] ?? '', c.object);
      else this.#tracker.gone(keys[i] ?? '');
    }
  }

  /** As it stands in the kernel. */
  #setOf(name: string): NftSet | undefined {
    const object = this.#tracker.real.get(`set ${name}`);
    return object?.kind === 'set' ? object : undefined;
  }

  #writeWhole(): void {
    const desired = [...this.#tracker.desired];
    const objects = [...desired.map(([, o]) => o), ...this.#others()];
    // Numbers of rules mean other rules after a restart of the agent: only what this life has written goes on being counted.
    const remembering = withMemory(this.#nft, this.#table, objects, { rules: this.#writes > 0 });
    try {
      this.#nft.run(renderFresh(this.#table, remembering));
    } catch (error) {
      // Rules without memory are worth more than none. What is wrong with the rules themselves, the second attempt says again.
      if (!(error instanceof NftError)) throw error;
      this.#nft.run(renderFresh(this.#table, objects));
    }
    this.#tracker.replaceReal(desired);
    this.#stands = true;
    this.#writes++;
  }

  #isThere(): boolean {
    try {
      return this.#nft.list('list tables').includes(`table ${this.#table}\n`);
    } catch {
      return false;
    }
  }
}
