import type { Environment } from '@marcbachmann/cel-js';
import { formatIp, type Ip, parseIp } from '../../../lib/ip/address.ts';
import { contains, covers, formatPrefix, parsePrefix, type Prefix } from '../../../lib/ip/prefix.ts';

/** The functions of Kubernetes for IP addresses and prefixes. */
export function registerNetworkFunctions(env: Environment): void {
  env
    .registerType('IP', { ctor: CelIp, fields: {} })
    .registerType('CIDR', { ctor: CelCidr, fields: {} })
    .registerOperator('IP == IP', (a: CelIp, b: CelIp) => formatIp(a.ip) === formatIp(b.ip))
    .registerOperator('CIDR == CIDR', (a: CelCidr, b: CelCidr) => a.text === b.text)
    .registerFunction('isIP(string): bool', (text: string) => parseIp(text) !== undefined)
    .registerFunction('ip(string): IP', (text: string) => new CelIp(mustBeIp(text)))
    .registerFunction('string(IP): string', ({ ip }: CelIp) => formatIp(ip))
    .registerFunction('IP.family(): int', ({ ip }: CelIp) => BigInt(ip.family))
    .registerFunction('IP.isLoopback(): bool', ({ ip }: CelIp) => within(ip, '127.0.0.0/8', '::1/128'))
    .registerFunction('IP.isUnspecified(): bool', ({ ip }: CelIp) => within(ip, '0.0.0.0/32', '::/128'))
    .registerFunction('IP.isLinkLocalUnicast(): bool', ({ ip }: CelIp) => within(ip, '169.254.0.0/16', 'fe80::/10'))
    .registerFunction('IP.isLinkLocalMulticast(): bool', ({ ip }: CelIp) => within(ip, '224.0.0.0/24', 'ff02::/16'))
    .registerFunction(
      'IP.isGlobalUnicast(): bool',
      ({ ip }: CelIp) =>
        !within(ip, '0.0.0.0/32', '255.255.255.255/32', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4') &&
        !within(ip, '::/128', '::1/128', 'fe80::/10', 'ff00::/8'),
    )
    .registerFunction('isCIDR(string): bool', (text: string) => parsePrefix(text, { loose: true }) !== undefined)
    .registerFunction('cidr(string): CIDR', (text: string) => new CelCidr(text, mustBePrefix(text)))
    .registerFunction('string(CIDR): string', ({ text }: CelCidr) => text)
    .registerFunction('CIDR.prefixLength(): int', ({ prefix }: CelCidr) => BigInt(prefix.length))
    .registerFunction('CIDR.ip(): IP', ({ text }: CelCidr) => new CelIp(mustBeIp(text.split('/')[0] ?? '')))
    .registerFunction('CIDR.masked(): CIDR', ({ prefix }: CelCidr) => new CelCidr(formatPrefix(prefix), prefix))
    .registerFunction('CIDR.containsIP(IP): bool', ({ prefix }: CelCidr, { ip }: CelIp) => contains(prefix, ip))
    .registerFunction('CIDR.containsIP(string): bool', ({ prefix }: CelCidr, text: string) =>
      contains(prefix, mustBeIp(text)),
    )
    .registerFunction('CIDR.containsCIDR(CIDR): bool', (a: CelCidr, b: CelCidr) => covers(a.prefix, b.prefix))
    .registerFunction('CIDR.containsCIDR(string): bool', ({ prefix }: CelCidr, text: string) =>
      covers(prefix, mustBePrefix(text)),
    );
}

class CelIp {
  readonly ip: Ip;
  constructor(ip: Ip) {
    this.ip = ip;
  }
}

/** With the text, since it may have bits behind the prefix. */
class CelCidr {
  readonly text: string;
  readonly prefix: Prefix;
  constructor(text: string, prefix: Prefix) {
    this.text = text;
    this.prefix = prefix;
  }
}

const within = (ip: Ip, ...prefixes: readonly string[]): boolean => prefixes.some((p) => contains(mustBePrefix(p), ip));

function mustBeIp(text: string): Ip {
  const ip = parseIp(text);
  if (!ip) throw new RangeError(`IP Address ${JSON.stringify(text)} parse error during conversion from string`);
  return ip;
}
function mustBePrefix(text: string): Prefix {
  const prefix = parsePrefix(text, { loose: true });
  if (!prefix) throw new RangeError(`CIDR ${JSON.stringify(text)} parse error during conversion from string`);
  return prefix;
}
