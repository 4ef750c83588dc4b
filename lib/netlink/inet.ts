import { formatIp, ipFromBytes, ipToBytes, mustIp } from '../ip/address.ts';
import { formatPrefix, mustPrefix } from '../ip/prefix.ts';
import { macBytes } from './link.ts';
import { MessageWriter, readAttributes } from './message.ts';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST } from './socket.ts';

/** Protocol number that marks our routes, so that a foreign route is never ours to delete. */
export const RTPROT_BULKHEAD = 98;

const AF_INET = 2;
const AF_INET6 = 10;
const AF_BRIDGE = 7;
const family = (text: string): number => (text.includes(':') ? AF_INET6 : AF_INET);

/** An address on a device. `cidr` keeps host bits: "10.1.0.1/32". */
export type Address = {
  readonly dev: string;
  readonly cidr: string;
  readonly scope: 'global' | 'link';
  /** The kernel takes it away when it has not been set again for so long; absent: never. Not read back. */
  readonly seconds?: number;
};

/** A route. Those that are read are of the main table. */
export type Route = {
  readonly dst: string;
  readonly type: 'unicast' | 'unreachable';
  readonly dev?: string;
  readonly via?: string;
  readonly src?: string;
  readonly onlink?: boolean;
  readonly scope?: 'global' | 'link';
  readonly metric?: number;
  /** Number of the table, up to 255; the main one when not given. */
  readonly table?: number;
};

/** An address of a device, from whatever source. `lent`: for some seconds only, never preferred, as {@link Address.seconds} makes it. */
export type HostAddress = { readonly dev: string; readonly ip: string; readonly lent: boolean };

/** Protocols of routes that an administrator or a daemon set, or that come with an address: kernel, boot, static, router advertisement, DHCP. */
const SET_UP: readonly number[] = [2, 3, 4, 9, 16];

/** A permanent neighbour (an IP's MAC on a device). */
export type Neighbour = { readonly dev: string; readonly ip: string; readonly mac: string };

/** A static forwarding entry of a VXLAN device: frames to `mac` go to the node `dst`. */
export type Fdb = { readonly dev: string; readonly mac: string; readonly dst: string };

/** From a device's name to its index in the namespace, and back. */
export type IndexOf = (dev: string) => number;
export type NameOf = (index: number) => string | undefined;

const REPLACE = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
const REMOVE = NLM_F_REQUEST | NLM_F_ACK;
const DUMP = NLM_F_REQUEST | NLM_F_DUMP;
const SCOPE = { global: 0, link: 253 } as const;

export function addressMessage(verb: 'set' | 'delete', a: Address, indexOf: IndexOf): MessageWriter {
  const slash = a.cidr.lastIndexOf('/');
  const ip = mustIp(a.cidr.slice(0, slash));
  const bytes = ipToBytes(ip);
  const fixed = Buffer.alloc(8);
  fixed[0] = family(a.cidr);
  fixed[1] = Number(a.cidr.slice(slash + 1));
  // Permanent, unless it has a lifetime; IFA_F_NODAD: no waiting for duplicate address detection.
  fixed[2] = (a.seconds === undefined ? 0x80 : 0) | 0x02;
  fixed[3] = SCOPE[a.scope];
  fixed.writeUInt32LE(indexOf(a.dev), 4);
  const w = new MessageWriter(verb === 'set' ? 20 : 21, verb === 'set' ? REPLACE : REMOVE).fixed(fixed);
  if (ip.family === 4) w.bytes(2, bytes);
  w.bytes(1, bytes);
  if (a.seconds === undefined) return w;
  const lifetime = Buffer.alloc(16); // struct ifa_cacheinfo: preferred, valid; the rest is the kernel's
  lifetime.writeUInt32LE(0, 0); // never preferred: nothing chooses it as a source by itself
  lifetime.writeUInt32LE(a.seconds, 4);
  return w.bytes(6, lifetime);
}

export const dumpAddresses = (): MessageWriter => new MessageWriter(22, DUMP).fixed(Buffer.alloc(8));

export function readAddress(payload: Buffer, nameOf: NameOf): Address | undefined {
  const attributes = readAttributes(payload.subarray(8));
  const bytes = attributes.get(2) ?? attributes.get(1);
  const dev = nameOf(payload.readUInt32LE(4));
  if (!bytes || dev === undefined) return undefined;
  return {
    dev,
    cidr: `${formatIp(ipFromBytes(bytes))}/${payload[1]}`,
    scope: payload[3] === SCOPE.link ? 'link' : 'global',
  };
}

export function readHostAddress(payload: Buffer, nameOf: NameOf): HostAddress | undefined {
  const attributes = readAttributes(payload.subarray(8));
  const bytes = attributes.get(2) ?? attributes.get(1);
  const dev = nameOf(payload.readUInt32LE(4));
  if (!bytes || dev === undefined) return undefined;
  const flags = attributes.get(8)?.readUInt32LE(0) ?? payload[2] ?? 0;
  const permanent = (flags & 0x80) !== 0;
  const deprecated = (flags & 0x20) !== 0;
  const host = payload[1] === bytes.length * 8;
  return { dev, ip: formatIp(ipFromBytes(bytes)), lent: host && deprecated && !permanent };
}

export function routeMessage(verb: 'set' | 'delete', r: Route, indexOf: IndexOf): MessageWriter {
  const dst = mustPrefix(r.dst);
  const fixed = Buffer.alloc(12);
  fixed[0] = dst.family === 4 ? AF_INET : AF_INET6;
  fixed[1] = dst.length;
  fixed[4] = r.table ?? 254; // RT_TABLE_MAIN
  fixed[5] = RTPROT_BULKHEAD;
  // IPv6 routes have no scope, and a delete with another one than the kernel keeps finds nothing.
  fixed[6] = dst.family === 4 && r.scope === 'link' ? SCOPE.link : 0;
  fixed[7] = r.type === 'unreachable' ? 7 : 1;
  if (r.onlink) fixed.writeUInt32LE(4, 8); // RTNH_F_ONLINK
  const w = new MessageWriter(verb === 'set' ? 24 : 25, verb === 'set' ? REPLACE : REMOVE).fixed(fixed);
  if (dst.length > 0) w.bytes(1, ipToBytes({ family: dst.family, value: dst.first }));
  if (r.dev !== undefined) w.u32(4, indexOf(r.dev));
  if (r.via !== undefined) w.bytes(5, ipToBytes(mustIp(r.via)));
  if (r.src !== undefined) w.bytes(7, ipToBytes(mustIp(r.src)));
  if (r.metric !== undefined) w.u32(6, r.metric);
  return w;
}

/** A rule that sends what comes from one address to a table of its own. */
export type SourceRule = { readonly from: string; readonly table: number; readonly priority: number };

export function ruleMessage(verb: 'set' | 'delete', r: SourceRule): MessageWriter {
  const ip = mustIp(r.from);
  const fixed = Buffer.alloc(12);
  fixed[0] = ip.family === 4 ? AF_INET : AF_INET6;
  fixed[2] = ip.family === 4 ? 32 : 128;
  fixed[4] = r.table;
  fixed[7] = 1; // FR_ACT_TO_TBL
  const flags = verb === 'set' ? NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : REMOVE;
  return new MessageWriter(verb === 'set' ? 32 : 33, flags).fixed(fixed).bytes(2, ipToBytes(ip)).u32(6, r.priority);
}

export function dumpRoutes(family: 4 | 6): MessageWriter {
  const fixed = Buffer.alloc(12);
  fixed[0] = family === 4 ? AF_INET : AF_INET6;
  return new MessageWriter(26, DUMP).fixed(fixed);
}

/** Only our own routes of the main table; undefined for all others. */
export function readRoute(payload: Buffer, nameOf: NameOf): Route | undefined {
  const attributes = readAttributes(payload.subarray(12));
  const table = attributes.get(15)?.readUInt32LE(0) ?? payload[4];
  if (table !== 254 || payload[5] !== RTPROT_BULKHEAD) return undefined;
  const v4 = payload[0] === AF_INET;
  const dst = attributes.get(1);
  const first = dst ? ipFromBytes(dst) : { value: 0n };
  const text = (b: Buffer | undefined): string | undefined => (b ? formatIp(ipFromBytes(b)) : undefined);
  const index = attributes.get(4)?.readUInt32LE(0);
  const unreachable = payload[7] === 7;
  // The kernel shows unreachable IPv6 routes on "lo"; we name no device for them.
  const dev = index === undefined || unreachable ? undefined : nameOf(index);
  const via = text(attributes.get(5));
  const src = text(attributes.get(7));
  const metric = attributes.get(6)?.readUInt32LE(0);
  return {
    dst: formatPrefix({ family: v4 ? 4 : 6, first: first.value, length: payload[1] ?? 0 }),
    type: unreachable ? 'unreachable' : 'unicast',
    ...(dev === undefined ? {} : { dev }),
    ...(via === undefined ? {} : { via }),
    ...(src === undefined ? {} : { src }),
    ...(payload.readUInt32LE(8) & 4 ? { onlink: true } : {}),
    ...(v4 && payload[6] === SCOPE.link ? { scope: 'link' as const } : {}),
    ...(metric === undefined || (!v4 && metric === 1024) ? {} : { metric }), // 1024: what IPv6 gives when none is asked
  };
}

/** A route of the node's own. `direct`: its hosts are on the link itself, not behind a router. */
export type HostRoute = { readonly dst: string; readonly dev: string; readonly direct: boolean };

/** Destination and device of a connected or static route of the main table; undefined for ours, and for all others. */
export function readHostRoute(payload: Buffer, nameOf: NameOf): HostRoute | undefined {
  const attributes = readAttributes(payload.subarray(12));
  const table = attributes.get(15)?.readUInt32LE(0) ?? payload[4];
  const UNICAST = 1;
  if (table !== 254 || payload[7] !== UNICAST || !SET_UP.includes(payload[5] ?? 0)) return undefined;
  const dst = attributes.get(1);
  if (!dst) return undefined;
  const index = attributes.get(4)?.readUInt32LE(0);
  const ip = ipFromBytes(dst);
  return {
    dst: formatPrefix({ family: ip.family, first: ip.value, length: payload[1] ?? 0 }),
    dev: index === undefined ? '' : (nameOf(index) ?? ''),
    direct: GATEWAYS.every((a) => !attributes.has(a)),
  };
}

/** RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA, RTA_NH_ID. */
const GATEWAYS = [5, 9, 18, 30];

export function neighbourMessage(verb: 'set' | 'delete', n: Neighbour, indexOf: IndexOf): MessageWriter {
  const w = neighbourHeader(verb, family(n.ip), indexOf(n.dev), 0x80, 0).bytes(1, ipToBytes(mustIp(n.ip)));
  return verb === 'set' ? w.bytes(2, macBytes(n.mac)) : w;
}

export function fdbMessage(verb: 'set' | 'delete', f: Fdb, indexOf: IndexOf): MessageWriter {
  // NTF_SELF: the device's own table; NUD_PERMANENT | NUD_NOARP: never ages.
  return neighbourHeader(verb, AF_BRIDGE, indexOf(f.dev), 0xc0, 2)
    .bytes(2, macBytes(f.mac))
    .bytes(1, ipToBytes(mustIp(f.dst)));
}

export function dumpNeighbours(kind: 'neighbour' | 'fdb'): MessageWriter {
  const fixed = Buffer.alloc(12);
  if (kind === 'fdb') fixed[0] = AF_BRIDGE;
  return new MessageWriter(30, DUMP).fixed(fixed);
}

/** Permanent neighbours only. */
export function readNeighbour(payload: Buffer, nameOf: NameOf): Neighbour | undefined {
  const attributes = readAttributes(payload.subarray(12));
  const dev = nameOf(payload.readInt32LE(4));
  const ip = attributes.get(1);
  const mac = attributes.get(2);
  const permanent = (payload.readUInt16LE(8) & 0x80) !== 0;
  if (dev === undefined || !ip || mac?.length !== 6 || !permanent) return undefined;
  return { dev, ip: formatIp(ipFromBytes(ip)), mac: macText(mac) };
}

export function readFdb(payload: Buffer, nameOf: NameOf): Fdb | undefined {
  const attributes = readAttributes(payload.subarray(12));
  const dev = nameOf(payload.readInt32LE(4));
  const dst = attributes.get(1);
  const mac = attributes.get(2);
  if (dev === undefined || !dst || mac?.length !== 6) return undefined;
  return { dev, mac: macText(mac), dst: formatIp(ipFromBytes(dst)) };
}

function neighbourHeader(
  verb: 'set' | 'delete',
  af: number,
  index: number,
  state: number,
  flags: number,
): MessageWriter {
  const fixed = Buffer.alloc(12);
  fixed[0] = af;
  fixed.writeInt32LE(index, 4);
  fixed.writeUInt16LE(state, 8);
  fixed[10] = flags;
  return new MessageWriter(verb === 'set' ? 28 : 29, verb === 'set' ? REPLACE : REMOVE).fixed(fixed);
}

const macText = (b: Buffer): string => [...b].map((x) => x.toString(16).padStart(2, '0')).join(':');
