/**
 * One IP address.
 *
 * `value` is the address as an unsigned integer: 32 bits for family 4, 128 bits for family 6.
 */
export type Ip = { readonly family: Family; readonly value: bigint };

/** IP version, in the numbers that people say. */
export type Family = 4 | 6;

/** Bits of an address of this family: 32 or 128. */
export const bitsOf = (family: Family): number => (family === 4 ? 32 : 128);

/** Reads an address in any standard text form. Returns undefined for anything else: never throws. */
export function parseIp(text: string): Ip | undefined {
  return text.includes(':') ? parse6(text) : parse4(text);
}

/** As {@link parseIp}, for text that this program made itself. Throws RangeError. */
export function mustIp(text: string): Ip {
  const ip = parseIp(text);
  if (!ip) throw new RangeError(`not an IP address: "${text}"`);
  return ip;
}

/** Canonical text: dotted quad, or RFC 5952 (lower case, longest run of zeros as "::"). */
export function formatIp(ip: Ip): string {
  return ip.family === 4 ? format4(ip.value) : format6(ip.value);
}

/** Canonical text of an address given as text, or undefined. */
export function canonicalIp(text: string): string | undefined {
  const ip = parseIp(text);
  return ip && formatIp(ip);
}

/** Family of an address given as text; 6 when it has a colon. The text must be an address. */
export const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4);

/** Network byte order: 4 or 16 bytes. */
export function ipToBytes(ip: Ip): Uint8Array {
  const length = ip.family === 4 ? 4 : 16;
  const bytes = new Uint8Array(length);
  let rest = ip.value;
  for (let i = length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 255n);
    rest >>= 8n;
  }
  return bytes;
}

/** Inverse of {@link ipToBytes}; takes 4 or 16 bytes. */
export function ipFromBytes(bytes: Uint8Array): Ip {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

function parse4(text: string): Ip | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    // A leading zero is octal to some programs and decimal to others: refused, as Go's net/netip does.
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return { family: 4, value };
}

function parse6(text: string): Ip | undefined {
  let rest = text;
  let tail: bigint | undefined;
  const lastColon = rest.lastIndexOf(':');
  if (rest.includes('.')) {
    const v4 = parse4(rest.slice(lastColon + 1));
    if (!v4) return undefined;
    tail = v4.value;
    rest = `${rest.slice(0, lastColon + 1)}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`;
  }
  const halves = rest.split('::');
  if (halves.length > 2) return undefined;
  const groups = (half: string): string[] => (half === '' ? [] : half.split(':'));
  const head = groups(halves[0] ?? '');
  const end = halves.length === 2 ? groups(halves[1] ?? '') : [];
  const missing = 8 - head.length - end.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  let value = 0n;
  for (const group of [...head, ...Array.from({ length: missing }, () => '0'), ...end]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    value = (value << 16n) | BigInt(`0x${group}`);
  }
  return { family: 6, value };
}

function format4(value: bigint): string {
  const n = Number(value);
  return `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`;
}

function format6(value: bigint): string {
  const groups: number[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(Number((value >> shift) & 0xffffn));
  let best = { start: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length++;
    if (length > best.length) best = { start: i, length };
  }
  const hex = (part: number[]): string => part.map((g) => g.toString(16)).join(':');
  if (best.start < 0) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}
