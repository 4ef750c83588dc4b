import { bulkheadConfigSpec } from '../../api/kinds/bulkhead-config.ts';
import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import type { VirtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, covers, mustPrefix, type Prefix, parsePrefix } from '../../lib/ip/prefix.ts';
import { matches } from '../cluster/selector.ts';
import { type Ceilings, type ClusterState, keyOf } from '../cluster/state.ts';

/** What holds where there is no BulkheadConfig: private ranges for subnets, no fixed egress addresses, no external addresses. */
export const DEFAULT_CEILINGS: Ceilings = bulkheadConfigSpec.parse({});

/** The part of the ceilings that holds for one namespace. */
export type Ceiling = {
  readonly subnets: readonly {
    readonly prefixes: readonly Prefix[];
    readonly largest: Readonly<Record<4 | 6, number>>;
  }[];
  readonly egressAddresses: readonly Prefix[];
  /** Each says what may be; all hold. */
  readonly egressModes: readonly (readonly VirtualNetworkSpec['egress']['mode'][])[];
  readonly services: readonly (readonly ServiceName[])[];
};
type ServiceName = { readonly namespace: string; readonly name?: string | undefined };

/** Whether there are limits at all, for any namespace. */
export const hasLimits = ({ settings }: Pick<ClusterState, 'settings'>): boolean =>
  (settings?.ceilings?.egress.limits.length ?? 0) + (settings?.ceilings?.services.limits.length ?? 0) > 0;

type Seen = Pick<ClusterState, 'namespaces' | 'settings'>;

/** The ceiling of a namespace: of its pools any, of its limits all hold. */
export function ceilingOf({ namespaces, settings }: Seen, namespace: string): Ceiling {
  const labels = { ...namespaces.get(namespace)?.labels, 'kubernetes.io/metadata.name': namespace };
  const mine = <T extends { readonly namespaceSelector: LabelSelector }>(all: readonly T[]): T[] =>
    all.filter((a) => matches(a.namespaceSelector, labels));
  const { subnets, egress, services } = settings?.ceilings ?? DEFAULT_CEILINGS;
  return {
    subnets: mine(subnets.pools).map(({ prefixes, largest }) => ({
      prefixes: parsedPrefixes(prefixes),
      largest: { 4: largest.ipv4, 6: largest.ipv6 },
    })),
    egressAddresses: mine(egress.addressPools).flatMap((p) => parsedPrefixes(p.prefixes)),
    egressModes: mine(egress.limits).map((l) => l.modes),
    services: mine(services.limits).map((l) => l.allow),
  };
}

/** Subnets that are not to be had, each with the path of its field, and what to do. */
export function subnetsBeyond(
  { subnets: pools }: Ceiling,
  { subnets = [] }: Pick<VirtualNetworkSpec, 'subnets'>,
): string[] {
  return subnets.flatMap((text, i) => {
    const subnet = mustPrefix(text);
    const around = pools.filter((p) => p.prefixes.some((outer) => covers(outer, subnet)));
    if (around.some((p) => subnet.length >= p.largest[subnet.family])) return [];
    const largest = Math.min(...around.map((p) => p.largest[subnet.family]));
    const why =
      around.length > 0
        ? `is larger than the /${largest} that subnets.pools of BulkheadConfig default allows`
        : 'lies in none of the pools that BulkheadConfig default (subnets.pools) has for this namespace';
    return [`spec.subnets[${i}]: ${text} ${why}; choose another, or ask an administrator of the cluster`];
  });
}

/** Egress addresses that are not to be had. */
export function egressAddressesBeyond(
  { egressAddresses }: Ceiling,
  { addresses = [] }: VirtualNetworkSpec['egress'],
): string[] {
  return addresses.flatMap((text, i) =>
    egressAddresses.some((p) => contains(p, mustIp(text)))
      ? []
      : [
          `spec.egress.addresses[${i}]: ${text} lies in none of the pools that BulkheadConfig default (egress.addressPools) has for this namespace; ask an administrator of the cluster for a pool`,
        ],
  );
}

/** What of modes and Services is more than the limits let the namespace have. */
export function beyondLimits(ceiling: Ceiling, { egress, services }: VirtualNetworkSpec): string[] {
  const problems: string[] = [];
  const modes = ceiling.egressModes.find((m) => !m.includes(egress.mode));
  if (modes && egress.mode !== 'None')
    problems.push(
      `spec.egress.mode: ${egress.mode} is not among ${modes.join(', ')}, which BulkheadConfig default (egress.limits) allows in this namespace`,
    );
  if (ceiling.services.length === 0) return problems;
  if (services.access === 'DefaultNetwork')
    problems.push(
      'spec.services.access: DefaultNetwork is more than BulkheadConfig default (services.limits) allows in this namespace; write AllowList, and name Services in spec.services.allow',
    );
  else
    for (const [i, ref] of services.allow.entries())
      if (!allowsService(ceiling, ref))
        problems.push(
          `spec.services.allow[${i}]: Service ${keyOf(ref)} is not among those that BulkheadConfig default (services.limits) allows in this namespace`,
        );
  return problems;
}

/** The spec as it takes effect under the limits: what is beyond them counts as the least, not as what was asked for. */
export function lowered(
  ceiling: Ceiling,
  spec: VirtualNetworkSpec,
  known: Pick<ClusterState, 'services'>,
): VirtualNetworkSpec {
  const { egress, services } = spec;
  const mode = ceiling.egressModes.every((m) => m.includes(egress.mode)) ? egress.mode : 'None';
  const asked = services.access === 'DefaultNetwork' ? [...known.services.values()] : services.allow;
  return {
    ...spec,
    egress: { ...egress, mode },
    ...(ceiling.services.length === 0
      ? {}
      : {
          services: {
            ...services,
            access: 'AllowList',
            allow: asked
              .filter((ref) => allowsService(ceiling, ref))
              .map(({ namespace, name }) => ({ namespace, name })),
          },
        }),
  };
}

const allowsService = ({ services }: Ceiling, { namespace, name }: ServiceName): boolean =>
  services.every((allow) => allow.some((a) => a.namespace === namespace && (a.name === undefined || a.name === name)));

const parsedLists = new WeakMap<readonly string[], Prefix[]>();

/** Prefixes of a list in the settings; one that means nothing gives nothing. Settings stay the same objects until they change. */
export function parsedPrefixes(texts: readonly string[]): Prefix[] {
  const prefixes = parsedLists.get(texts) ?? texts.flatMap((t) => parsePrefix(t) ?? []);
  parsedLists.set(texts, prefixes);
  return prefixes;
}
