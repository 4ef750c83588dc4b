import { bitsOf, type Ip } from './address.ts';
import type { Prefix } from './prefix.ts';

/** Values by prefix. A look-up costs as many steps as there are different lengths, however many prefixes there are. */
export class PrefixMap<V> {
  /** By family and length, the longest first; then by the first address. */
  readonly #byLength: { readonly family: 4 | 6; readonly length: number; readonly values: Map<bigint, V> }[] = [];

  constructor(entries: Iterable<readonly [Prefix, V]> = []) {
    for (const [prefix, value] of entries) this.set(prefix, value);
  }

  set({ family, length, first }: Prefix, value: V): void {
    let row = this.#byLength.find((r) => r.family === family && r.length === length);
    if (!row) {
      row = { family, length, values: new Map() };
      this.#byLength.push(row);
      this.#byLength.sort((a, b) => b.length - a.length);
    }
    row.values.set(first, value);
  }

  /** The value of exactly this prefix. */
  at({ family, length, first }: Prefix): V | undefined {
    return this.#byLength.find((r) => r.family === family && r.length === length)?.values.get(first);
  }

  /** The value of the longest prefix that holds the address. */
  get(ip: Ip): V | undefined {
    return this.all(ip).next().value ?? undefined;
  }

  has(ip: Ip): boolean {
    return this.all(ip).next().done !== true;
  }

  /** The values of all prefixes that hold the address, the longest first. */
  *all({ family, value }: Ip): Generator<V, undefined> {
    for (const row of this.#byLength) {
      if (row.family !== family) continue;
      const host = BigInt(bitsOf(family) - row.length);
      const first = (value >> host) << host;
      if (row.values.has(first)) yield row.values.get(first) as V;
    }
    return undefined;
  }
}
