import { closeSync } from 'node:fs';
import { formatIp, ipFromBytes, ipToBytes, mustIp } from '../ip/address.ts';
import { checked, errnoName, lastErrno, libc } from '../netns/libc.ts';
import { systemClock } from '../reconcile/clock.ts';
import {
  AF_PACKET,
  checksum,
  ETH_ARP,
  ETH_IPV6,
  header,
  SOCK_RAW_CLOEXEC,
  sendFrame,
  type Speaker,
} from './announce.ts';
import { macBytes } from './link.ts';

const AF_INET6 = 10;
const IPPROTO_ICMPV6 = 58;
const ICMP6_FILTER = 1;
const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const MSG_DONTWAIT = 0x40;
const NEIGHBOUR_SOLICIT = 135;
const NEIGHBOUR_ADVERT = 136;

/** How often it is asked, and how long each answer is waited for. Fewer and shorter than RFC 5227: pods wait meanwhile. */
const PROBES = 3;
const WAIT_MS = 300;

/**
 * Asks a link who has some addresses, before this host takes them: ARP probes (RFC 5227, section 2.1.1) and neighbour solicitations
 * from the unspecified address (RFC 4862, section 5.4). Returns the MAC of the one that answered, by address; what is free is not
 * in it.
 */
export async function probeAddresses(
  dev: Speaker & { readonly name: string },
  ips: readonly string[],
): Promise<Map<string, string>> {
  const taken = new Map<string, string>();
  const ears = [...new Set(ips.map((ip) => mustIp(ip).family))].map((family) =>
    family === 4 ? listenArp(dev) : listenIcmp(dev),
  );
  try {
    for (let i = 0; i < PROBES; i++) {
      for (const ip of ips) if (!taken.has(ip)) sendFrame(dev, question(dev.mac, ip));
      await systemClock.sleep(WAIT_MS);
      for (const ear of ears)
        for (const { ip, mac } of ear.heard()) if (ips.includes(ip) && mac !== dev.mac) taken.set(ip, mac);
      if (ips.every((ip) => taken.has(ip))) break;
    }
  } finally {
    for (const ear of ears) closeSync(ear.fd);
  }
  return taken;
}

/** Who has this address? The sender names no address of its own. */
export function question(mac: string, ip: string): Buffer {
  const own = macBytes(mac);
  const bytes = ipToBytes(mustIp(ip));
  if (bytes.length === 4) {
    const fixed = Buffer.from([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, lengths, request
    return Buffer.concat([
      header('ff:ff:ff:ff:ff:ff', own, ETH_ARP),
      fixed,
      own,
      Buffer.alloc(4),
      Buffer.alloc(6),
      bytes,
    ]);
  }
  // The solicited-node address (RFC 4291, section 2.7.1), as an address and as a MAC.
  const group = Buffer.from(ipToBytes(mustIp('ff02::1:ff00:0')));
  Buffer.from(bytes).copy(group, 13, 13);
  const to = ['33', '33', ...[...group.subarray(12)].map((b) => b.toString(16).padStart(2, '0'))].join(':');
  const body = Buffer.concat([Buffer.from([NEIGHBOUR_SOLICIT, 0, 0, 0, 0, 0, 0, 0]), bytes]);
  const pseudo = Buffer.concat([Buffer.alloc(16), group, Buffer.from([0, 0, 0, body.length, 0, 0, 0, IPPROTO_ICMPV6])]);
  body.writeUInt16BE(checksum(Buffer.concat([pseudo, body])), 2);
  const ipv6 = Buffer.from([0x60, 0, 0, 0, 0, body.length, IPPROTO_ICMPV6, 255]);
  return Buffer.concat([header(to, own, ETH_IPV6), ipv6, Buffer.alloc(16), group, body]);
}

type Claim = { readonly ip: string; readonly mac: string };
type Ear = { readonly fd: number; heard(): Claim[] };

/** A host that says that an address is its own, or that probes for it in the same way. */
export function readArp(frame: Buffer): Claim[] {
  if (frame.length < 42 || frame.readUInt16BE(12) !== ETH_ARP || frame.readUInt16BE(16) !== 0x0800) return [];
  const mac = macText(frame.subarray(22, 28));
  const [sender, target] = [frame.subarray(28, 32), frame.subarray(38, 42)].map((b) => formatIp(ipFromBytes(b)));
  const probe = sender === '0.0.0.0' && frame.readUInt16BE(20) === 1;
  return [{ ip: (probe ? target : sender) ?? '', mac }];
}

/** A neighbour advertisement, from its ICMPv6 header on. */
export function readAdvert(message: Buffer): Claim[] {
  if (message.length < 24 || message[0] !== NEIGHBOUR_ADVERT) return [];
  const ip = formatIp(ipFromBytes(message.subarray(8, 24)));
  const option = message.subarray(24);
  const known = option.length >= 8 && option[0] === 2 && option[1] === 1;
  return [{ ip, mac: known ? macText(option.subarray(2, 8)) : 'an unknown device' }];
}

function listenArp(dev: Pick<Speaker, 'index'>): Ear {
  const bigEndian = ((ETH_ARP & 255) << 8) | (ETH_ARP >> 8);
  const fd = checked('socket(AF_PACKET)', libc.socket(AF_PACKET, SOCK_RAW_CLOEXEC, bigEndian));
  const address = Buffer.alloc(20); // sockaddr_ll
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_ARP, 2);
  address.writeInt32LE(dev.index, 4);
  return prepared(fd, 'bind(AF_PACKET)', libc.bind(fd, address, address.length), readArp);
}

function listenIcmp(dev: { readonly name: string }): Ear {
  const fd = checked('socket(ICMPv6)', libc.socket(AF_INET6, SOCK_RAW_CLOEXEC, IPPROTO_ICMPV6));
  const filter = Buffer.alloc(32, 0xff); // set bits are not wanted
  filter.writeUInt32LE(~(1 << (NEIGHBOUR_ADVERT % 32)) >>> 0, 4 * Math.floor(NEIGHBOUR_ADVERT / 32));
  const name = Buffer.from(`${dev.name}\0`);
  const bound =
    libc.setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, filter, filter.length) ||
    libc.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, name.length);
  return prepared(fd, 'setsockopt(ICMPv6)', bound, readAdvert);
}

/** The socket is open already: whatever goes wrong with it must not leave it so. */
function prepared(fd: number, what: string, result: number, read: (packet: Buffer) => Claim[]): Ear {
  try {
    checked(what, result);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { fd, heard: () => receiveAll(fd).flatMap(read) };
}

/** What has come, without waiting; a flood is cut off, and what is asked comes again with the next probe. */
function receiveAll(fd: number): Buffer[] {
  const packets: Buffer[] = [];
  const buffer = Buffer.alloc(2048);
  while (packets.length < 4096) {
    const length = libc.recv(fd, buffer, buffer.length, MSG_DONTWAIT);
    if (length < 0) {
      const code = errnoName(lastErrno());
      if (code === 'EAGAIN') break;
      if (code === 'EINTR') continue;
      checked(`recv (${code})`, length);
    }
    packets.push(Buffer.from(buffer.subarray(0, length)));
  }
  return packets;
}

const macText = (b: Uint8Array): string => [...b].map((x) => x.toString(16).padStart(2, '0')).join(':');
