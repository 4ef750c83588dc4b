import { type Ip, parseIp } from '../../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../../lib/ip/prefix.ts';

/** Why an address cannot be an endpoint or an external address of a Service; undefined when it can. */
export function addressProblem(text: string): string | undefined {
  const ip = parseIp(text);
  if (!ip) return `"${text}" must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`;
  const range = RANGES.find(([prefixes]) => prefixes.some((p) => contains(mustPrefix(p), ip)));
  return range && `"${text}" may not be ${range[1]}`;
}

export const isFamily = (text: string, family: Ip['family']): boolean => parseIp(text)?.family === family;

const RANGES: readonly (readonly [prefixes: readonly string[], what: string])[] = [
  [['0.0.0.0/32', '::/128'], 'unspecified (0.0.0.0 or ::)'],
  [['127.0.0.0/8', '::1/128'], 'in the loopback range (127.0.0.0/8, ::1/128)'],
  [['169.254.0.0/16', 'fe80::/10'], 'in the link-local range (169.254.0.0/16, fe80::/10)'],
  [['224.0.0.0/24', 'ff02::/16'], 'in the link-local multicast range (224.0.0.0/24, ff02::/16)'],
];
