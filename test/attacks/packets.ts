import { familyOf, ipToBytes, mustIp } from '../../lib/ip/address.ts';

/** Packets as an attacker writes them: every field can be given, nothing is checked. Lengths and checksums are right unless given. */

export const PROTOCOL = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58 } as const;
export const TCP_FLAG = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const;
const ETHER_TYPE = { 4: 0x0800, 6: 0x86dd } as const;

/** An Ethernet frame. `type` is that of the IP version of the payload when not given. */
export function ethernet(f: {
  readonly to: string;
  readonly from: string;
  readonly payload: Uint8Array;
  readonly type?: number;
}): Buffer {
  const type = f.type ?? ETHER_TYPE[(f.payload[0] ?? 0) >> 4 === 6 ? 6 : 4];
  return Buffer.concat([macOf(f.to), macOf(f.from), u16(type), f.payload]);
}

export type IpFields = {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly payload: Uint8Array;
  /** TTL or hop limit; 64 when not given. */
  readonly hops?: number;
};

/** An IP packet of the family of its addresses. */
export const ip = (p: IpFields): Buffer => (familyOf(p.source) === 4 ? ipv4(p) : ipv6(p));

/** `fragment`: flags and offset, as they stand in the header. */
export function ipv4({
  source,
  destination,
  protocol,
  payload,
  hops = 64,
  fragment = 0,
  id = 1,
}: IpFields & { readonly fragment?: number; readonly id?: number }): Buffer {
  const header = Buffer.concat([
    Buffer.of(0x45, 0),
    u16(20 + payload.length),
    u16(id),
    u16(fragment),
    Buffer.of(hops, protocol, 0, 0),
    bytesOf(source),
    bytesOf(destination),
  ]);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

export function ipv6({ source, destination, protocol, payload, hops = 64 }: IpFields): Buffer {
  const header = Buffer.concat([Buffer.of(0x60, 0, 0, 0), u16(payload.length), Buffer.of(protocol, hops)]);
  return Buffer.concat([header, bytesOf(source), bytesOf(destination), payload]);
}

/** An IPv4 packet in two fragments; the first ends behind `at` bytes of payload, a multiple of 8. */
export function fragments(p: IpFields & { readonly id?: number }, at: number): [Buffer, Buffer] {
  const MORE = 0x2000;
  return [
    ipv4({ ...p, payload: p.payload.subarray(0, at), fragment: MORE }),
    ipv4({ ...p, payload: p.payload.subarray(at), fragment: at / 8 }),
  ];
}

/** An IPv6 packet with an extension header in front of its payload: its number and its bytes after the first, which says what follows. */
export const behindHeader = (p: IpFields, header: number, bytes: Uint8Array): Buffer =>
  ipv6({ ...p, protocol: header, payload: Buffer.concat([Buffer.of(p.protocol), bytes, p.payload]) });

/** An IPv6 packet in two fragments; the first ends behind `at` bytes of payload, a multiple of 8. */
export function fragments6(p: IpFields & { readonly id?: number }, at: number): [Buffer, Buffer] {
  const [FRAGMENT, MORE] = [44, 1];
  const part = (payload: Uint8Array, offset: number): Buffer =>
    behindHeader({ ...p, payload }, FRAGMENT, Buffer.concat([Buffer.of(0), u16(offset), u32(p.id ?? 1)]));
  return [part(p.payload.subarray(0, at), MORE), part(p.payload.subarray(at), at)];
}

/** Who a transport packet is for: the checksum covers both addresses. */
export type Ends = {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly port: number;
};

/** An IP packet with UDP inside. */
export function udp({ source, destination, sourcePort, port, payload, hops }: Ends & Payload): Buffer {
  const body = Buffer.concat([u16(sourcePort), u16(port), u16(8 + payload.length), u16(0), payload]);
  body.writeUInt16BE(transportSum(source, destination, PROTOCOL.UDP, body) || 0xffff, 6);
  return ip({ source, destination, protocol: PROTOCOL.UDP, payload: body, ...(hops === undefined ? {} : { hops }) });
}

/** An IP packet with TCP inside. `flags` of {@link TCP_FLAG}, added up. */
export function tcp({
  source,
  destination,
  sourcePort,
  port,
  flags,
  sequence = 1,
  acknowledged = 0,
  payload = new Uint8Array(),
  hops,
}: Ends &
  Partial<Payload> & { readonly flags: number; readonly sequence?: number; readonly acknowledged?: number }): Buffer {
  const body = Buffer.concat([
    u16(sourcePort),
    u16(port),
    u32(sequence),
    u32(acknowledged),
    Buffer.of(5 << 4, flags),
    u16(64_240),
    u16(0),
    u16(0),
    payload,
  ]);
  body.writeUInt16BE(transportSum(source, destination, PROTOCOL.TCP, body), 16);
  return ip({ source, destination, protocol: PROTOCOL.TCP, payload: body, ...(hops === undefined ? {} : { hops }) });
}

type Payload = { readonly payload: Uint8Array; readonly hops?: number };

/** Payload of a VXLAN datagram (RFC 7348): header and the inner frame. */
export const vxlan = (vni: number, frame: Uint8Array): Buffer =>
  Buffer.concat([Buffer.of(8, 0, 0, 0), u32(vni << 8), frame]);

/** What the packet socket of a receiver must have seen: unique, so that nothing else looks like it. */
export const marker = (name: string): Buffer => Buffer.from(`<${name}-${process.pid}-${++markers}>`);
let markers = 0;

/** The Internet checksum (RFC 1071). */
function checksum(data: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += (data[i] ?? 0) * 256 + (data[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const transportSum = (source: string, destination: string, protocol: number, body: Uint8Array): number =>
  checksum(Buffer.concat([bytesOf(source), bytesOf(destination), u32(body.length), u32(protocol), body]));

const bytesOf = (address: string): Uint8Array => ipToBytes(mustIp(address));
const macOf = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');

function u16(value: number): Buffer {
  const b = Buffer.alloc(2);
  b.writeUInt16BE(value);
  return b;
}

function u32(value: number): Buffer {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(value >>> 0);
  return b;
}
