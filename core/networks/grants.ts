import type { NetworkKey } from '../../api/nodeconfig.ts';
import { type ClusterState, keyOf, type Network, type Refusal } from '../cluster/state.ts';
import { beyondLimits, type Ceiling, ceilingOf, egressAddressesBeyond, lowered, subnetsBeyond } from './ceiling.ts';
import { Owners, type Ownership } from './conflicts.ts';

type Seen = Ownership & Pick<ClusterState, 'namespaces' | 'settings' | 'services' | 'blocks' | 'conflicts'>;

/** What networks really get of what they ask for. */
export type Grants = {
  /** All networks, each with the spec that takes effect. */
  readonly networks: ReadonlyMap<NetworkKey, Network>;
  /** Networks that are closed: no new pod, and those that run reach each other and nothing else. */
  readonly conflicts: ReadonlyMap<NetworkKey, Refusal>;
  /** Networks that work, with less than they ask for. */
  readonly limited: ReadonlyMap<NetworkKey, Refusal>;
};

/**
 * Weighs what networks ask for against what the administrator allows and what others own already. Of two networks the one keeps
 * a prefix from which a node gives addresses already, else the older, whichever order they are read in.
 *
 * What is refused is never replaced by something wider: a network with a refused subnet is closed, one with a refused way out has
 * none.
 */
export function grantsOf(state: Seen): Grants {
  const networks = new Map(state.networks);
  const conflicts = new Map<NetworkKey, Refusal>();
  const limited = new Map<NetworkKey, Refusal>();
  const owners = new Owners(state);
  const ceilings = new Map<string, Ceiling>();
  for (const network of byRight(state)) {
    const { spec } = network;
    if (!spec) continue;
    const key = keyOf(network);
    const ceiling = ceilings.get(network.namespace) ?? ceilingOf(state, network.namespace);
    ceilings.set(network.namespace, ceiling);
    const beyond = subnetsBeyond(ceiling, spec);
    const conflict = refusal(beyond.length > 0 ? 'SubnetNotAllowed' : 'SubnetConflict', [
      ...beyond,
      ...owners.subnetProblems(network),
    ]);
    if (conflict) {
      conflicts.set(key, conflict);
      networks.set(key, { ...network, spec: closed(spec) });
      continue;
    }
    owners.takeSubnets(network);
    const noAddresses =
      refusal('EgressAddressNotAllowed', egressAddressesBeyond(ceiling, spec.egress)) ??
      refusal('EgressAddressConflict', owners.addressProblems(network));
    if (!noAddresses) owners.takeAddresses(network);
    const less = noAddresses ?? refusal('LimitExceeded', beyondLimits(ceiling, spec));
    if (!less) continue;
    limited.set(key, less);
    const effective = lowered(ceiling, spec, state);
    networks.set(key, { ...network, spec: noAddresses ? withoutEgress(effective) : effective });
  }
  return { networks, conflicts, limited };
}

/** Why a network that is about to be stored is refused; what stood in it before is not held against it. */
export function refusalsOfNew(state: Seen, network: Network, before: Network | undefined): string[] {
  if (!network.spec) return [];
  const key = keyOf(network);
  const ceiling = ceilingOf(state, network.namespace);
  const beyond = (spec: NonNullable<Network['spec']>): string[] => [
    ...subnetsBeyond(ceiling, spec),
    ...egressAddressesBeyond(ceiling, spec.egress),
    ...beyondLimits(ceiling, spec),
  ];
  const old = new Set(before?.spec ? beyond(before.spec) : []);
  // What the administrator does not allow keeps a prefix from nobody.
  const others = [...state.networks.values()].filter(
    (n) => keyOf(n) !== key && n.spec && state.conflicts?.get(keyOf(n))?.reason !== 'SubnetNotAllowed',
  );
  const owners = new Owners(state, others);
  return [
    ...beyond(network.spec).filter((p) => !old.has(p)),
    ...owners.subnetProblems(network),
    ...owners.addressProblems(network),
  ];
}

function byRight(state: Seen): Network[] {
  const inUse = new Set([...state.blocks.values()].flatMap((b) => (b.given ? b.network : [])));
  const rank = (n: Network): number => (inUse.has(keyOf(n)) ? 0 : 1);
  return [...state.networks.values()].sort(
    (a, b) => rank(a) - rank(b) || a.created - b.created || (keyOf(a) < keyOf(b) ? -1 : 1),
  );
}

const refusal = (reason: Refusal['reason'], problems: readonly string[]): Refusal | undefined =>
  problems.length > 0 ? { reason, message: problems.join('; ') } : undefined;

type Spec = NonNullable<Network['spec']>;

function withoutEgress(spec: Spec): Spec {
  const { addresses: _, ...egress } = spec.egress;
  return { ...spec, egress: { ...egress, mode: 'None' } };
}

const closed = (spec: Spec): Spec => ({
  ...withoutEgress(spec),
  services: { ...spec.services, access: 'AllowList', allow: [] },
});
