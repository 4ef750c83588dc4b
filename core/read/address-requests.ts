import { IPS, MAC, readName } from '../../api/names.ts';
import { canonicalIp, familyOf } from '../../lib/ip/address.ts';
import { annotationOverBudget } from './annotations.ts';
import type { Strings } from '../cluster/state.ts';

/** What a pod asks for its first interface. */
export type AddressRequest = {
  readonly ips: readonly string[];
  readonly mac: string | undefined;
  /** Everything in it that cannot be understood. */
  readonly problems: readonly string[];
  /** Why nothing of it was read; see api/budgets.ts. */
  readonly overBudget?: string;
};

/** Reads the annotations `bulkhead.dev/ips` (one of each family, by comma) and `bulkhead.dev/mac`. */
export function readAddressRequest(annotations: Strings): AddressRequest {
  const overBudget = annotationOverBudget(annotations, IPS.key, MAC.key);
  if (overBudget !== undefined) return { ips: [], mac: undefined, problems: [], overBudget };
  const ipsText = readName(IPS, annotations).value;
  const macText = readName(MAC, annotations).value;
  const { ips, problems } = parseIps((ipsText ?? '').split(',').flatMap((t) => t.trim() || []));
  const mac = macText === undefined ? undefined : canonicalMac(macText);
  return {
    ips,
    mac,
    problems: [
      ...problems.map((p) => `annotation ${IPS.key}: ${p}`),
      ...(macText !== undefined && mac === undefined
        ? [`annotation ${MAC.key}: "${macText}" is no unicast MAC address such as 02:00:00:00:00:01`]
        : []),
    ],
  };
}

/** Addresses with or without a prefix length, at most one of each family. */
export function parseIps(texts: readonly string[]): { readonly ips: string[]; readonly problems: string[] } {
  const ips: string[] = [];
  const problems: string[] = [];
  for (const text of texts) {
    const ip = canonicalIp(text.replace(/\/\d{1,3}$/, ''));
    if (ip === undefined) problems.push(`"${text}" is no IP address`);
    else if (ips.some((other) => familyOf(other) === familyOf(ip)))
      problems.push(`"${text}" is a second IPv${familyOf(ip)} address; an interface has one of each family`);
    else ips.push(ip);
  }
  return { ips, problems };
}

/** Lower case with colons; undefined for what no interface may have. */
export function canonicalMac(text: string): string | undefined {
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) || mac === '00:00:00:00:00:00') return undefined;
  return Number.parseInt(mac.slice(0, 2), 16) & 1 ? undefined : mac; // multicast
}
