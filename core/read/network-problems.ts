import { overBudget } from '../../api/budgets.ts';
import type { VirtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import { type Family, familyOf } from '../../lib/ip/address.ts';
import { egressElements } from './egress-parts.ts';
import { parseIps } from './address-requests.ts';
import { covers, mustPrefix, overlaps, parsePrefix, type Prefix } from '../../lib/ip/prefix.ts';

/** Smallest subnet: below it three of its addresses are never given, there is nothing left. */
const LONGEST = { 4: 29, 6: 124 } as const;

/** Ranges that mean something else everywhere: loopback, link-local, multicast, broadcast (RFC 6890). */
const SPECIAL = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/8', 'fe80::/10', 'ff00::/8'];

/** Where clouds serve their nodes (metadata, names, time), reached by the default route alone: credentials of the node are there. */
const OF_CLOUDS = ['100.100.100.200/32', 'fd00:ec2::/112', 'fd20:ce::254/128'];

/** All that is wrong with a network by itself, each with the path of its field. */
export function networkProblems(spec: VirtualNetworkSpec): string[] {
  const lists = {
    subnets: spec.subnets,
    staticPrefixes: spec.staticPrefixes,
    reservedPrefixes: spec.reservedPrefixes,
    'egress.allow': spec.egress.allow?.map((a) => a.cidr),
  };
  const malformed = Object.entries(lists).flatMap(([field, values]) =>
    (values ?? []).flatMap((s, i) =>
      parsePrefix(s) ? [] : [`spec.${field}[${i}]: "${s}" is not a CIDR prefix with zero host bits`],
    ),
  );
  if (malformed.length > 0) return malformed;
  const subnets = (spec.subnets ?? []).map(mustPrefix);
  const { ips, problems } = parseIps(spec.egress.addresses ?? []);
  if (problems.length > 0) return problems.map((p) => `spec.egress.addresses: ${p}`);
  if (ips.length > 0 && spec.egress.mode !== 'NAT') return ['spec.egress.addresses: need spec.egress.mode NAT'];
  const elements = overBudget('egressElements', egressElements(spec.egress.allow ?? []), 'elements (prefixes × ports)');
  if (elements !== undefined) return [`spec.egress.allow ${elements}; name wider prefixes or ranges of ports`];
  return [...subnetProblems(spec.subnets ?? [], subnets), ...partProblems(spec, subnets)];
}

function subnetProblems(texts: readonly string[], subnets: readonly Prefix[]): string[] {
  return subnets.flatMap((subnet, i) => {
    const at = `spec.subnets[${i}]: ${texts[i]}`;
    const special = SPECIAL.find((s) => overlaps(mustPrefix(s), subnet));
    const cloud = OF_CLOUDS.find((s) => overlaps(mustPrefix(s), subnet));
    const twin = subnets.findIndex((other, j) => j < i && overlaps(other, subnet));
    return [
      ...(subnet.length > LONGEST[subnet.family] ? [`${at} is too small: at most /${LONGEST[subnet.family]}`] : []),
      ...(special === undefined ? [] : [`${at} overlaps ${special}, which is no range for pods`]),
      ...(cloud === undefined ? [] : [`${at} overlaps ${cloud}, where a cloud serves its nodes`]),
      ...(twin < 0 ? [] : [`${at} overlaps spec.subnets[${twin}], ${texts[twin]}`]),
    ];
  });
}

function partProblems(spec: VirtualNetworkSpec, subnets: readonly Prefix[]): string[] {
  return (['staticPrefixes', 'reservedPrefixes'] as const).flatMap((field) =>
    (spec[field] ?? []).flatMap((text, i) =>
      subnets.some((s) => covers(s, mustPrefix(text)))
        ? []
        : [`spec.${field}[${i}]: ${text} is in none of spec.subnets`],
    ),
  );
}

/** Families that a network's own subnets serve; the others come from the nodes' pod CIDRs. */
export const subnetFamilies = (spec: Pick<VirtualNetworkSpec, 'subnets'> | undefined): Family[] => [
  ...new Set((spec?.subnets ?? []).map((s) => familyOf(s))),
];
