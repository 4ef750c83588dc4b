import { sourceOwners } from '../plan/source-owners.ts';
import { FLAT_NETWORK } from '../../api/names.ts';
import { type Desired, desiredBy } from '../desired/desired.ts';
import { Pending } from '../desired/pending.ts';
import { RuleNumbers } from '../desired/rule-numbers.ts';
import type { ConfigStore } from '../follow/config-store.ts';
import { ConnectionShares } from '../kernel/connection-shares.ts';
import { type Counters, readCounters } from '../kernel/counters.ts';
import { DenialLogs } from '../kernel/denial-logs.ts';
import { trackedTables } from '../kernel/tracked-tables.ts';
import { Audit } from './audit.ts';
import { ChangedHands } from './changed-hands.ts';
import { EgressAddresses } from './egress-addresses.ts';
import { Networks } from './networks.ts';
import { NodeWatch } from './node-watch.ts';
import { Places } from './places.ts';
import { Policing, type RevokedFlow } from './policing.ts';
import { WiredPods } from './wired-pods.ts';

export type DataplaneOptions = {
  readonly store: ConfigStore;
  readonly nodeName: string;
  readonly netnsDir?: string;
  readonly onRevoked?: (flows: readonly RevokedFlow[]) => void;
  readonly onTrouble?: (what: string, error: Error) => void;
  readonly logDenials?: boolean;
  /** Connections that one pod may have in one tracking table; 0: as many as it likes. Default: an eighth of the table. */
  readonly connectionsPerPod?: number;
};

/** Everything of this node: what is wanted, the networks that are here, and those who look after them. */
export type Dataplane = Disposable & {
  readonly desired: Desired;
  readonly networks: Networks;
  readonly places: Places;
  readonly node: NodeWatch;
  readonly hands: ChangedHands;
  readonly audit: Audit;
  readonly egress: EgressAddresses;
  readonly policing: Policing;
  readonly denialLogs: DenialLogs;
  readonly shares: ConnectionShares;
  /** Keeps out those that have more than their share of connection tracking; see {@link ConnectionShares}. */
  readonly balance: () => Promise<void>;
  /** What the kernel has counted so far. */
  readonly counters: () => Promise<Counters>;
};

export function openDataplane(o: DataplaneOptions): Dataplane {
  const desired = desiredBy(o.store, o.nodeName);
  const pending = new Pending();
  const places = new Places(o.netnsDir ?? '/run/netns');
  const pods = new WiredPods();
  const denialLogs = new DenialLogs();
  const rules = new RuleNumbers();
  const policing = new Policing(o.store.config, {
    onRevoked: o.onRevoked ?? (() => undefined),
    logs: o.logDenials === true ? denialLogs : undefined,
    rules,
  });
  const hands = new ChangedHands({
    desired,
    places,
    pods,
    onError: (error) => o.onTrouble?.('connections of former owners', error),
  });
  const node = new NodeWatch(desired, pending, places, o.connectionsPerPod);
  const networks = new Networks({ desired, pending, places, pods, hands, policing, node });
  const shares = new ConnectionShares();
  return {
    desired,
    networks,
    places,
    node,
    hands,
    policing,
    denialLogs,
    shares,
    audit: new Audit(places, node),
    egress: new EgressAddresses(desired, pending),
    balance: async () => {
      const { shares: most } = desired.wanted.limits;
      if (!most) return;
      const { config } = o.store;
      const owners = () =>
        sourceOwners([...config.block.values(), ...networks.blocks], desired.ranges.pods, config.node.values());
      await shares.look(trackedTables(most, { root: places.root, held: places.instances, owners, nodes: config.node }));
    },
    counters: () =>
      readCounters(
        [FLAT_NETWORK, ...places.instances.keys()].flatMap((key) => {
          const place = places.get(key);
          return place ? [[key, place.nft] as const] : [];
        }),
        (number) => rules.ruleOf(number),
      ),
    [Symbol.dispose]: () => {
      denialLogs[Symbol.dispose]();
      places[Symbol.dispose]();
    },
  };
}
