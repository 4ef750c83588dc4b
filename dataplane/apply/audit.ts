import { NftError } from '../../lib/nft/nft.ts';
import { TABLE } from '../plan/names.ts';
import type { NodeWatch } from './node-watch.ts';
import type { Places } from './places.ts';

/** Compares the kernel with what it should be: what other programs have changed is put right with the next pass. */
export class Audit {
  readonly #places: Places;
  readonly #node: NodeWatch;
  #turn = -1;

  constructor(places: Places, node: NodeWatch) {
    this.#places = places;
    this.#node = node;
  }

  /** Reads the kernel again, everywhere. */
  all(): void {
    this.#node.look();
    for (const key of this.#places.keys) this.#places.get(key)?.writer.resync();
  }

  /** One namespace, each in its turn: how many there are, and whether this one has to be written to. */
  next(): { readonly count: number; readonly drifted: boolean } {
    const all = [this.#places.root, ...this.#places.instances.values()];
    this.#turn = (this.#turn + 1) % all.length;
    if (this.#turn === 0) this.#node.look();
    const writer = all[this.#turn]?.writer;
    writer?.resync();
    // Once in a round all is looked at, whatever this one says.
    return { count: all.length, drifted: this.#turn === 0 || writer?.drifted === true };
  }

  /** The root alone. */
  root(): void {
    this.#places.root.writer.resync();
  }

  /**
   * Whether the root's table is there. Another program's `nft flush ruleset` takes it away, and with it what keeps strangers from
   * speaking VXLAN to this node: too much to wait for the root's turn in the audit.
   */
  isGuarded(): boolean {
    try {
      return this.#places.root.nft.list(`list chain ${TABLE} input_late`).includes('goto vxlan');
    } catch (error) {
      if (error instanceof NftError && error.code === 'ENOENT') return false;
      throw error;
    }
  }
}
