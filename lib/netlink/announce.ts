import { closeSync } from 'node:fs';
import { ipToBytes, mustIp } from '../ip/address.ts';
import { checked, libc } from '../netns/libc.ts';
import { macBytes } from './link.ts';

export const AF_PACKET = 17;
export const SOCK_RAW_CLOEXEC = 3 | 0x80000;
export const ETH_ARP = 0x0806;
export const ETH_IPV6 = 0x86dd;

/** The device that speaks: in this process's own network namespace. */
export type Speaker = { readonly index: number; readonly mac: string };

/**
 * Announces to every host on a link that an address is here now: a gratuitous ARP request (RFC 5227, section 3), or an unsolicited
 * neighbour advertisement (RFC 4861, section 7.2.6). Without it routers send to the old place until their entries age.
 */
export function announce(dev: Speaker, ip: string): void {
  sendFrame(dev, announcement(dev.mac, ip));
}

/** Sends an Ethernet frame as it is. */
export function sendFrame(dev: Pick<Speaker, 'index'>, frame: Buffer): void {
  const fd = checked('socket(AF_PACKET)', libc.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0));
  try {
    const address = Buffer.alloc(20); // sockaddr_ll
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(frame.readUInt16BE(12), 2);
    address.writeInt32LE(dev.index, 4);
    checked('bind(AF_PACKET)', libc.bind(fd, address, address.length));
    checked('send(AF_PACKET)', libc.send(fd, frame, frame.length, 0));
  } finally {
    closeSync(fd);
  }
}

/** The Ethernet frame. */
export function announcement(mac: string, ip: string): Buffer {
  const own = macBytes(mac);
  const bytes = ipToBytes(mustIp(ip));
  return bytes.length === 4
    ? Buffer.concat([header('ff:ff:ff:ff:ff:ff', own, ETH_ARP), arpRequest(own, bytes)])
    : Buffer.concat([header('33:33:00:00:00:01', own, ETH_IPV6), advertisement(own, bytes)]);
}

/** An Ethernet header. */
export function header(to: string, from: Uint8Array, type: number): Buffer {
  return Buffer.concat([macBytes(to), from, Buffer.from([type >> 8, type & 255])]);
}

/** Who has this address? I do. */
function arpRequest(mac: Uint8Array, ip: Uint8Array): Buffer {
  const fixed = Buffer.from([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, lengths, request
  return Buffer.concat([fixed, mac, ip, Buffer.alloc(6), ip]);
}

function advertisement(mac: Uint8Array, ip: Uint8Array): Buffer {
  const allNodes = ipToBytes(mustIp('ff02::1'));
  // Type 136; flags router and override; the target; option 2: its link-layer address.
  const body = Buffer.concat([Buffer.from([136, 0, 0, 0, 0xa0, 0, 0, 0]), ip, Buffer.from([2, 1]), mac]);
  const pseudo = Buffer.concat([ip, allNodes, Buffer.from([0, 0, 0, body.length, 0, 0, 0, 58])]);
  body.writeUInt16BE(checksum(Buffer.concat([pseudo, body])), 2);
  const ipv6 = Buffer.from([0x60, 0, 0, 0, 0, body.length, 58, 255]); // hop limit 255, or hosts ignore it
  return Buffer.concat([ipv6, ip, allNodes, body]);
}

/** The Internet checksum (RFC 1071). */
export function checksum(data: Buffer): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += (data[i] ?? 0) * 256 + (data[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
