import { type Family, formatIp, ipFromBytes } from './address.ts';

/** Who speaks to whom, as the head of a packet says. Ports are 0 where the protocol has none. */
export type PacketHead = {
  readonly family: Family;
  /** IANA number of the transport protocol. */
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly port: number;
};

const WITH_PORTS: readonly number[] = [6, 17, 132];
/** IPv6 extension headers that say how long they are (RFC 8200): hop-by-hop, routing, destination options. */
const EXTENSIONS: readonly number[] = [0, 43, 60];

/** Reads the head of an IP packet. Undefined for anything that is too short, or no IP. */
export function packetHead(data: Uint8Array): PacketHead | undefined {
  const version = (data[0] ?? 0) >> 4;
  if (version === 4 && data.length >= 20) {
    const start = ((data[0] ?? 0) & 15) * 4;
    return { family: 4, ...head(data, data[9] ?? 0, 12, 16, 4), ...ports(data, data[9] ?? 0, start) };
  }
  if (version !== 6 || data.length < 40) return undefined;
  let protocol = data[6] ?? 0;
  let start = 40;
  while (EXTENSIONS.includes(protocol) && start + 2 <= data.length) {
    protocol = data[start] ?? 0;
    start += ((data[start + 1] ?? 0) + 1) * 8;
  }
  return { family: 6, ...head(data, protocol, 8, 24, 16), ...ports(data, protocol, start) };
}

function head(data: Uint8Array, protocol: number, source: number, destination: number, length: number) {
  const text = (at: number): string => formatIp(ipFromBytes(data.subarray(at, at + length)));
  return { protocol, source: text(source), destination: text(destination) };
}

function ports(data: Uint8Array, protocol: number, start: number): { sourcePort: number; port: number } {
  if (!WITH_PORTS.includes(protocol) || data.length < start + 4) return { sourcePort: 0, port: 0 };
  const at = (i: number): number => ((data[start + i] ?? 0) << 8) | (data[start + i + 1] ?? 0);
  return { sourcePort: at(0), port: at(2) };
}
