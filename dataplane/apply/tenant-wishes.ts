import type { Breath } from '../../lib/reconcile/breathing.ts';
import { Turns } from '../../lib/reconcile/turns.ts';
import type { Wish } from '../desired/wishes.ts';
import type { Place, Places } from './places.ts';

/** Objects of a table that are written at once, where they may come one by one. */
const MOST_AT_ONCE = 96;

/** What tenants want in networks: planned and written one by one, with others between, since it may be very much. */
export class TenantWishes {
  readonly #places: Places;
  /** Still to be planned, by network. */
  readonly #wanted = new Map<string, ReadonlyMap<string, Wish>>();
  readonly #turns = new Turns();

  constructor(places: Places) {
    this.#places = places;
  }

  /**
   * From now on a place has exactly these wishes, beside those of pods; the tenants' are left for {@link write}. What an earlier life of
   * this agent has left is replaced by all that is wanted, in one moment.
   */
  replace({ key, wishes, writer, fresh }: Place, wanted: ReadonlyMap<string, Wish>): void {
    wishes.replace(wanted);
    this.#wanted.set(key, wanted);
    if (writer.table.writes > 0 || fresh) return;
    this.#wanted.delete(key);
    for (const _ of wishes.replaceTenants(wanted));
  }

  /** Plans what tenants want in a network, and writes whenever there is some. */
  write(key: string, what: 'additions' | 'all', breath: Breath): Promise<void> {
    return this.#turns.take(key, async () => {
      const wanted = this.#wanted.get(key);
      if (!wanted) return;
      this.#wanted.delete(key);
      const place = this.#places.get(key);
      if (!place) return;
      try {
        await this.#writeAll(place, wanted, what, breath);
      } catch (error) {
        if (!this.#wanted.has(key)) this.#wanted.set(key, wanted); // with the next pass
        throw error;
      }
    });
  }

  async #writeAll(
    { key, writer, wishes }: Place,
    wanted: ReadonlyMap<string, Wish>,
    what: 'additions' | 'all',
    breath: Breath,
  ): Promise<void> {
    let left = writer.table.pending;
    for (const _ of wishes.replaceTenants(wanted)) {
      if (writer.table.pending >= left + MOST_AT_ONCE) {
        writer.apply(what);
        left = writer.table.pending;
      }
      await breath();
      if (this.#places.get(key)?.writer !== writer) return; // it was made anew
    }
    writer.apply(what);
  }
}
