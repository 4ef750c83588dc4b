import { formatIp, parseIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';

/** An address as one end of a connection: as packets carry it, or why it is none. Undefined: the text is no address. */
export function addressOfEnd(text: string): { readonly ip: string } | { readonly problem: string } | undefined {
  const ip = parseIp(text);
  if (!ip) return undefined;
  if (contains(MAPPED, ip)) return addressOfEnd(formatIp({ family: 4, value: ip.value & 0xffff_ffffn }));
  const special = SPECIAL.find(({ ranges }) => ranges.some((r) => contains(r, ip)));
  return special ? { problem: special.problem } : { ip: formatIp(ip) };
}

/** Programs write IPv4 so on a socket of IPv6 (RFC 4291); packets are of IPv4. */
const MAPPED = mustPrefix('::ffff:0:0/96');

/** Ranges that name no other host. */
const SPECIAL = [
  {
    ranges: ['127.0.0.0/8', '::1/128', '0.0.0.0/8', '::/128'].map(mustPrefix),
    problem: 'this address means the sender itself: no packet leaves it. Write the address of the other end',
  },
  {
    ranges: ['224.0.0.0/4', 'ff00::/8', '255.255.255.255/32'].map(mustPrefix),
    problem: 'this address names no single host, so no connection has it as an end',
  },
];
