import { formatIp, ipFromBytes, ipToBytes, parseIp } from '../ip/address.ts';
import { parsePrefix } from '../ip/prefix.ts';
import type { NftObject } from './program.ts';

/** A set or map as far as its elements go. */
export type NftSet = Extract<NftObject, { kind: 'set' }>;

/** What the kernel keeps of an element. `data` of a map: a mark, or a verdict and its chain. */
export type EncodedElement = {
  readonly key: Buffer;
  /** The last key of an interval of concatenated fields. */
  readonly keyEnd?: Buffer;
  /** This key ends an interval of a single field, and is no longer in it. */
  readonly end?: true;
  readonly data?: { readonly value: Buffer } | { readonly verdict: number; readonly chain?: string };
};

/**
 * An element as the kernel stores it: each field of a concatenation fills registers of four bytes (nf_tables.h). An interval of a single
 * field is two elements, its first key and the first one beyond; one of several fields is one element with two keys. Undefined for what
 * only nft's own parser knows: timeouts, and types and values that our tables do not use.
 */
export function encodeElement(
  set: NftSet,
  { key, value }: { readonly key: string; readonly value?: string },
): readonly EncodedElement[] | undefined {
  const interval = set.flags?.length === 1 && set.flags[0] === 'interval';
  if ((set.flags?.length && !interval) || set.timeout !== undefined) return undefined;
  const data = set.to === undefined || value === undefined ? undefined : dataFor(set.to, value);
  if (value !== undefined && !data) return undefined;
  const types = set.type.split(' . ');
  const texts = key.split(' . ');
  if (types.length !== texts.length) return undefined;
  const [first, last]: [Buffer[], Buffer[]] = [[], []];
  for (const [i, type] of types.entries()) {
    const ends = interval ? endsOf(type, texts[i] ?? '') : same(ENCODERS[type]?.(texts[i] ?? ''));
    if (!ends) return undefined;
    first.push(ends[0]);
    last.push(ends[1]);
  }
  if (!interval) return [{ key: joined(first), ...(data && { data }) }];
  if (types.length > 1) return [{ key: joined(first), keyEnd: joined(last), ...(data && { data }) }];
  if (!ORDERED.has(set.type)) return undefined;
  const beyond = after(joined(last));
  return [{ key: joined(first), ...(data && { data }) }, ...(beyond ? [{ key: beyond, end: true } as const] : [])];
}

const same = (field: Buffer | undefined): [Buffer, Buffer] | undefined => field && [field, field];

/** Types whose bytes are in the order of their values. */
const ORDERED: ReadonlySet<string> = new Set(['ipv4_addr', 'ipv6_addr', 'inet_service', 'inet_proto']);

/** First and last key of "a", "a-b" or a prefix. */
function endsOf(type: string, text: string): [Buffer, Buffer] | undefined {
  const encode = ENCODERS[type];
  const prefix = text.includes('/') ? parsePrefix(text) : undefined;
  if (prefix) {
    const first = encode?.(formatIp({ family: prefix.family, value: prefix.first }));
    return first && [first, lastOf(first, prefix.length)];
  }
  const single = encode?.(text);
  // What is in the host's byte order elsewhere is not in it here: rules turn it round before they look it up.
  if (single) return same(type === 'mark' ? single.reverse() : single);
  if (!ORDERED.has(type)) return undefined;
  const [from = '', to = '', ...rest] = text.split('-');
  const [first, last] = [encode?.(from), encode?.(to)];
  return first && last && rest.length === 0 && Buffer.compare(first, last) <= 0 ? [first, last] : undefined;
}

/** The last address of a prefix, from its first. */
function lastOf(first: Buffer, length: number): Buffer {
  const last = Buffer.from(first);
  for (let i = length >> 3; i < last.length; i++)
    last[i] = (last[i] ?? 0) | (i === length >> 3 ? 0xff >> (length & 7) : 0xff);
  return last;
}

/** The next key; undefined behind the last that there is. */
function after(key: Buffer): Buffer | undefined {
  const next = Buffer.from(key);
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = ((next[i] ?? 0) + 1) & 255;
    if (next[i] !== 0) return next;
  }
  return undefined;
}

const joined = (fields: readonly Buffer[]): Buffer =>
  fields.length === 1 ? (fields[0] as Buffer) : Buffer.concat(fields.map(padded));

const dataFor = (to: string, value: string): EncodedElement['data'] =>
  to === 'verdict' ? verdictOf(value) : dataOf(to, value);

/** The text of a key as the kernel stores it; undefined for types that our tables do not use. */
export function decodeKey(set: Pick<NftSet, 'type'>, key: Buffer): string | undefined {
  const types = set.type.split(' . ');
  const texts: string[] = [];
  let at = 0;
  for (const type of types) {
    const decoder = DECODERS[type];
    if (!decoder || at + decoder.length > key.length) return undefined;
    texts.push(decoder.text(key.subarray(at, at + decoder.length)));
    at += types.length === 1 ? decoder.length : (decoder.length + 3) & ~3;
  }
  return texts.join(' . ');
}

const DECODERS: Readonly<Record<string, { readonly length: number; readonly text: (bytes: Buffer) => string }>> = {
  ipv4_addr: { length: 4, text: (b) => formatIp(ipFromBytes(b)) },
  ipv6_addr: { length: 16, text: (b) => formatIp(ipFromBytes(b)) },
  mark: { length: 4, text: (b) => String(b.readUInt32LE(0)) },
  inet_proto: { length: 1, text: (b) => PROTOCOL_NAMES[b[0] ?? 0] ?? String(b[0]) },
  inet_service: { length: 2, text: (b) => String(b.readUInt16BE(0)) },
  ifname: { length: 16, text: (b) => `"${b.toString().replace(/\0.*$/, '')}"` },
};

type Encoder = (text: string) => Buffer | undefined;

const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  'ipv6-icmp': 58,
  icmpv6: 58,
  sctp: 132,
};

const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

const ENCODERS: Readonly<Record<string, Encoder>> = {
  ipv4_addr: (text) => address(text, 4),
  ipv6_addr: (text) => address(text, 6),
  mark: (text) => (NUMBER.test(text) ? uint32(Number(text)) : undefined),
  inet_proto: (text) => {
    const number = PROTOCOLS[text] ?? (/^\d{1,3}$/.test(text) ? Number(text) : undefined);
    return number === undefined ? undefined : Buffer.of(number);
  },
  inet_service: (text) => {
    if (!/^\d{1,5}$/.test(text)) return undefined;
    return Buffer.of(Number(text) >> 8, Number(text) & 255);
  },
  ifname: (text) => {
    const name = /^"([^"*]{1,15})"$/.exec(text)?.[1];
    return name === undefined ? undefined : Buffer.concat([Buffer.from(name)], 16);
  },
};

const NUMBER = /^(0x[0-9a-f]{1,8}|\d{1,10})$/i;

function address(text: string, family: 4 | 6): Buffer | undefined {
  const ip = parseIp(text);
  return ip?.family === family ? Buffer.from(ipToBytes(ip)) : undefined;
}

/** In the host's byte order, as marks are. */
function uint32(n: number): Buffer {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(n >>> 0);
  return b;
}

const padded = (field: Buffer): Buffer => Buffer.concat([field], (field.length + 3) & ~3);

function dataOf(type: string, value: string): EncodedElement['data'] {
  const bytes = ENCODERS[type]?.(value);
  return bytes && { value: bytes };
}

/** NF_DROP, NF_ACCEPT, NFT_JUMP, NFT_GOTO. */
const VERDICTS: Readonly<Record<string, number>> = { drop: 0, accept: 1, jump: -3, goto: -4 };

function verdictOf(value: string): EncodedElement['data'] {
  const [word = '', chain, ...rest] = value.split(' ');
  const verdict = VERDICTS[word];
  if (verdict === undefined || rest.length > 0 || (chain === undefined) !== verdict >= 0) return undefined;
  return { verdict, ...(chain === undefined ? {} : { chain }) };
}
