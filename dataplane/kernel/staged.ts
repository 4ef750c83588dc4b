import type { NftSet } from '../../lib/nft/elements.ts';
import type { Nft, Prepared } from '../../lib/nft/nft.ts';
import type { NftChange, TableName } from '../../lib/nft/program.ts';

/** Prepared at once: some milliseconds. */
const PORTION = 256;

/** Changes of elements of one table that are prepared as they come, so that little is left to do when they are written together. */
export class Staged {
  readonly #nft: Pick<Nft, 'prepare'>;
  readonly #table: TableName;
  readonly #setOf: (name: string) => NftSet | undefined;
  #next: NftChange[] = [];
  #ready: Prepared[] = [];

  constructor(nft: Pick<Nft, 'prepare'>, table: TableName, setOf: (name: string) => NftSet | undefined) {
    this.#nft = nft;
    this.#table = table;
    this.#setOf = setOf;
  }

  /** @param before the value that it has now; only of elements that stand */
  set(set: string, key: string, value: string | undefined, before: string | undefined): void {
    const object = { kind: 'element', set, key, ...(value === undefined ? {} : { value }) } as const;
    if (value === undefined) this.#next.push({ verb: 'delete', object });
    else
      this.#next.push({
        verb: 'set',
        object,
        before: before === undefined ? undefined : { ...object, value: before },
      });
    if (this.#next.length >= PORTION) this.#prepare();
  }

  /** All that has come since the last call. */
  take(): readonly Prepared[] {
    this.#prepare();
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }

  #prepare(): void {
    if (this.#next.length > 0) this.#ready.push(this.#nft.prepare(this.#table, this.#next, this.#setOf));
    this.#next = [];
  }
}
