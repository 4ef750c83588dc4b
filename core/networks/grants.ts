import type { NetworkKey } from '../../api/nodeconfig.ts';
import { type ClusterState, keyOf, type Network, type Refusal } from '../cluster/state.ts';
import {
  beyondLimits,
  type Ceiling,
  ceilingOf,
  egressAddressesBeyond,
  hasLimits,
  lowered,
  subnetsBeyond,
} from './ceiling.ts';
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
 * Nodes go before networks. What the API says of them counts for all; what only their agents say (a token may be stolen) keeps a
 * network from beginning, and closes one that is in use when two nodes say so. Of one node it is told in the condition: that node
 * itself does not route the network.
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
  const inUse = inUseIn(state);
  const limits = hasLimits(state);
  for (const network of byRight(state, inUse)) {
    const { spec } = network;
    if (!spec) continue;
    if (!limits && !spec.subnets?.length && !spec.egress.addresses?.length) continue; // it asks for nothing
    const key = keyOf(network);
    const ceiling = ceilings.get(network.namespace) ?? ceilingOf(state, network.namespace);
    ceilings.set(network.namespace, ceiling);
    const beyond = subnetsBeyond(ceiling, spec);
    const reported = owners.reportedSubnets(network);
    const conflict = refusal(beyond.length > 0 ? 'SubnetNotAllowed' : 'SubnetConflict', [
      ...beyond,
      ...owners.subnetProblems(network),
      ...(reported && (!inUse.has(key) || reported.nodes.length > 1) ? reported.problems : []),
    ]);
    if (conflict) {
      conflicts.set(key, conflict);
      networks.set(key, { ...network, spec: closed(spec) });
      continue;
    }
    owners.takeSubnets(network);
    const noAddresses =
      refusal('EgressAddressNotAllowed', egressAddressesBeyond(ceiling, spec.egress)) ??
      refusal('EgressAddressConflict', [
        ...owners.addressProblems(network),
        ...(network.egressNode === undefined ? (owners.reportedAddresses(network)?.problems ?? []) : []),
      ]);
    if (!noAddresses) owners.takeAddresses(network);
    const less = [
      noAddresses,
      refusal('LimitExceeded', beyondLimits(ceiling, spec)),
      refusal('SubnetConflict', (reported?.problems ?? []).map(onItsNode)),
    ].filter((r) => r !== undefined);
    const [first] = less;
    if (!first) continue;
    limited.set(key, { reason: first.reason, message: less.map((r) => r.message).join('; ') });
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
  // A network that the administrator does not allow does not hold its prefix against others.
  const others = [...state.networks.values()].filter(
    (n) => keyOf(n) !== key && n.spec && state.conflicts?.get(keyOf(n))?.reason !== 'SubnetNotAllowed',
  );
  const owners = new Owners(state, others);
  const problemsOf = (asked: Network): string[] =>
    asked.spec
      ? [
          ...subnetsBeyond(ceiling, asked.spec),
          ...egressAddressesBeyond(ceiling, asked.spec.egress),
          ...beyondLimits(ceiling, asked.spec),
          ...owners.subnetProblems(asked),
          ...owners.addressProblems(asked),
          ...(owners.reportedSubnets(asked)?.problems ?? []),
          ...(owners.reportedAddresses(asked)?.problems ?? []),
        ]
      : [];
  const old = new Set(before ? problemsOf(before) : []);
  return problemsOf(network).filter((p) => !old.has(p));
}

/** Networks from whose subnets nodes give addresses. */
const inUseIn = ({ blocks }: Seen): Set<NetworkKey> =>
  new Set([...blocks.values()].flatMap((b) => (b.given ? b.network : [])));

const onItsNode = (problem: string): string => `${problem}; that node keeps it, and closes the network on itself`;

function byRight(state: Seen, inUse: ReadonlySet<NetworkKey>): Network[] {
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
