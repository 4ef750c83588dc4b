import { formatIp, ipFromBytes, ipToBytes, parseIp } from '../ip/address.ts';
import type { NftObject } from './program.ts';

/** A set or map as far as its elements go. */
export type NftSet = Extract<NftObject, { kind: 'set' }>;

/** What the kernel keeps of an element. `data` of a map: a mark, or a verdict and its chain. */
export type EncodedElement = {
  readonly key: Buffer;
  readonly data?: { readonly value: Buffer } | { readonly verdict: number; readonly chain?: string };
};

/**
 * An element as the kernel stores it: each field of a concatenation fills registers of four bytes (nf_tables.h). Undefined for what
 * only nft's own parser knows: intervals, timeouts, and types and values that our tables do not use.
 */
export function encodeElement(
  set: NftSet,
  { key, value }: { readonly key: string; readonly value?: string },
): EncodedElement | undefined {
  if (set.flags?.length || set.timeout !== undefined) return undefined;
  const types = set.type.split(' . ');
  const texts = key.split(' . ');
  if (types.length !== texts.length) return undefined;
  const fields: Buffer[] = [];
  for (const [i, type] of types.entries()) {
    const field = ENCODERS[type]?.(texts[i] ?? '');
    if (!field) return undefined;
    fields.push(types.length === 1 ? field : padded(field));
  }
  const encoded = Buffer.concat(fields);
  if (set.to === undefined) return value === undefined ? { key: encoded } : undefined;
  if (value === undefined) return { key: encoded }; // enough to delete it
  const data = set.to === 'verdict' ? verdictOf(value) : dataOf(set.to, value);
  return data && { key: encoded, data };
}

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
