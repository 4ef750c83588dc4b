import { bitsOf, type Family, formatIp, type Ip, parseIp } from './address.ts';

/** A CIDR prefix. `first` is the network address: its host bits are zero. */
export type Prefix = { readonly family: Family; readonly first: bigint; readonly length: number };

/** Reads "10.0.0.0/8". Host bits must be zero unless `loose`. Returns undefined for anything else. */
export function parsePrefix(text: string, { loose = false }: { loose?: boolean } = {}): Prefix | undefined {
  const slash = text.lastIndexOf('/');
  const ip = slash < 0 ? undefined : parseIp(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (!ip || !/^(0|[1-9]\d{0,2})$/.test(digits)) return undefined;
  const length = Number(digits);
  if (length > bitsOf(ip.family)) return undefined;
  const first = maskTo(ip, length);
  if (!loose && first !== ip.value) return undefined;
  return { family: ip.family, first, length };
}

/** As {@link parsePrefix}, for text that this program made itself. Throws RangeError. */
export function mustPrefix(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (!prefix) throw new RangeError(`not a CIDR prefix: "${text}"`);
  return prefix;
}

/** "10.0.0.0/8" */
export const formatPrefix = (p: Prefix): string => `${formatIp({ family: p.family, value: p.first })}/${p.length}`;

/** How many addresses the prefix holds. */
export const sizeOf = (p: Prefix): bigint => 1n << BigInt(bitsOf(p.family) - p.length);

/** The last address, as a number. */
export const lastOf = (p: Prefix): bigint => p.first + sizeOf(p) - 1n;

/** The address `index` places after the network address. Not checked against the size. */
export const nth = (p: Prefix, index: number | bigint): Ip => ({ family: p.family, value: p.first + BigInt(index) });

/** Whether the address lies in the prefix. False across families. */
export function contains(p: Prefix, ip: Ip): boolean {
  return p.family === ip.family && ip.value >= p.first && ip.value <= lastOf(p);
}

/** Whether the two share an address. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.family === b.family && a.first <= lastOf(b) && b.first <= lastOf(a);
}

/** Whether `inner` lies wholly in `outer`. */
export function covers(outer: Prefix, inner: Prefix): boolean {
  return outer.length <= inner.length && overlaps(outer, inner);
}

/** The host prefix (/32 or /128) of an address. */
export const hostPrefix = (ip: Ip): Prefix => ({ family: ip.family, first: ip.value, length: bitsOf(ip.family) });

/** "a/32" or "a/128" of an address given as text. */
export const hostCidr = (text: string): string => `${text}/${text.includes(':') ? 128 : 32}`;

/**
 * The first aligned prefix of the wished length inside `outer` that overlaps none of `taken`, lowest address first.
 *
 * `taken` need not be sorted. Cost: O(n log n) in `taken`, without ever walking the addresses.
 */
export function firstFree(outer: Prefix, length: number, taken: readonly Prefix[]): Prefix | undefined {
  if (length < outer.length || length > bitsOf(outer.family)) return undefined;
  const step = 1n << BigInt(bitsOf(outer.family) - length);
  const aligned = (from: bigint): bigint => outer.first + ((from - outer.first + step - 1n) / step) * step;
  const blockers = taken
    .filter((t) => overlaps(t, outer))
    .map((t) => ({ first: t.first, last: lastOf(t) }))
    .sort((a, b) => (a.first < b.first ? -1 : 1));
  let candidate = outer.first;
  for (const { first, last } of blockers) {
    if (candidate + step <= first) break;
    if (last >= candidate) candidate = aligned(last + 1n);
  }
  return candidate + step - 1n <= lastOf(outer) ? { family: outer.family, first: candidate, length } : undefined;
}

function maskTo(ip: Ip, length: number): bigint {
  const hostBits = BigInt(bitsOf(ip.family) - length);
  return (ip.value >> hostBits) << hostBits;
}
