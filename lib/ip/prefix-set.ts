import { bitsOf, type Ip } from './address.ts';
import { hostPrefix, lastOf, type Prefix } from './prefix.ts';

/** Many prefixes, asked often: each question costs the logarithm of their number, whatever they overlap. */
export class PrefixSet {
  /** First addresses by family and length. */
  readonly #byLength = new Map<
    string,
    { readonly bits: bigint; readonly family: number; readonly firsts: Set<bigint> }
  >();
  readonly #sorted: { readonly 4: bigint[]; readonly 6: bigint[] } = { 4: [], 6: [] };

  constructor(prefixes: Iterable<Prefix>) {
    for (const { family, length, first } of prefixes) {
      const key = `${family} ${length}`;
      const same = this.#byLength.get(key) ?? { bits: BigInt(bitsOf(family) - length), family, firsts: new Set() };
      this.#byLength.set(key, same);
      same.firsts.add(first);
      this.#sorted[family].push(first);
    }
    for (const family of [4, 6] as const) this.#sorted[family].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  }

  /** Whether one of them holds the address. */
  contains(ip: Ip): boolean {
    return this.covers(hostPrefix(ip));
  }

  /** Whether one of them holds the whole prefix. */
  covers({ family, first, length }: Prefix): boolean {
    const least = BigInt(bitsOf(family) - length);
    for (const { bits, family: f, firsts } of this.#byLength.values())
      if (f === family && bits >= least && firsts.has((first >> bits) << bits)) return true;
    return false;
  }

  /** Whether one of them shares an address with the prefix. */
  overlaps(prefix: Prefix): boolean {
    if (this.covers(prefix)) return true;
    const firsts = this.#sorted[prefix.family];
    let [low, high] = [0, firsts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((firsts[middle] ?? 0n) < prefix.first) low = middle + 1;
      else high = middle;
    }
    const next = firsts[low];
    return next !== undefined && next <= lastOf(prefix);
  }
}
