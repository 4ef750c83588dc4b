import { FLAT_NETWORK } from '../../api/names.ts';
import {
  emptyNodeConfig,
  type ItemKind,
  type Items,
  type NetworkKey,
  type NodeConfig,
  type NodeItem,
  type StreamEvent,
} from '../../api/nodeconfig.ts';
import { applyEvent } from '../../core/node-config/compile.ts';
import { closedBackends, closedPorts } from '../plan/closed-ports.ts';
import { type ClosedPort, closedKey } from '../plan/former-flows.ts';
import { addressesOf } from '../plan/names.ts';
import { type ConfigIndex, indexOf, networksThatReach } from './config-index.ts';

/** What has changed since the changes were taken last. */
export type Changes = {
  /** Networks that have to be planned again; all: also those that are not named. */
  readonly plan: Set<NetworkKey>;
  allPlans: boolean;
  /** Networks whose connections have to be looked at, once the new rules stand. */
  readonly connections: Set<NetworkKey>;
  allConnections: boolean;
  /** Profiles, their groups, or which pods have which. */
  policies: boolean;
  /** Prefixes of networks: before they are routed, the kernel is asked again what is the node's. */
  prefixes: boolean;
  /** Ports that pods of the flat network may not use any more. */
  readonly closed: Map<string, ClosedPort>;
  /** Backends that they may not use any more but as themselves. */
  readonly closedBackends: Map<string, Required<ClosedPort>>;
};

type Event<K extends ItemKind> = {
  readonly key: string;
  readonly before: Items[K] | undefined;
  readonly now: Items[K] | undefined;
};
/** What an event means, by its kind. */
type Effects = { readonly [K in ItemKind]: (event: Event<K>, changes: Changes, store: ConfigStore) => void };

/**
 * What the controller has said of this node: the only place that changes it. Others read it, and take what has changed when they are
 * ready to act on it.
 */
export class ConfigStore {
  readonly #config: ReturnType<typeof emptyNodeConfig>;
  #index: ConfigIndex | undefined;
  #changes = noChanges();
  #nodesVersion = 0;
  readonly #waiting = new Set<() => void>();

  /** @param saved what was kept on disk */
  constructor(saved: ReturnType<typeof emptyNodeConfig> = emptyNodeConfig()) {
    this.#config = saved;
  }

  get config(): NodeConfig {
    return this.#config;
  }

  get index(): ConfigIndex {
    return (this.#index ??= indexOf(this.#config));
  }

  /** Counts changes of nodes and cluster ranges: what depends on all of them depends on this. */
  get nodesVersion(): number {
    return this.#nodesVersion;
  }

  /** Takes in events that belong together; what they mean is judged by the configuration after all of them. */
  apply(events: readonly StreamEvent[]): void {
    const taken = events.flatMap((event) => {
      if (event.type !== 'upsert' && event.type !== 'delete') return [];
      const items = this.#config[event.kind] as ReadonlyMap<string, Items[ItemKind]> | undefined;
      const before = items?.get(event.key);
      applyEvent(this.#config, event);
      return items ? [{ kind: event.kind, key: event.key, before, now: items.get(event.key) }] : [];
    });
    if (taken.some(({ kind }) => INDEXED.includes(kind))) this.#index = undefined;
    if (taken.some(({ kind }) => kind === 'cluster' || kind === 'node')) this.#nodesVersion++;
    for (const { kind, ...event } of taken)
      (EFFECTS[kind] as Effects['cluster'])(event as Event<'cluster'>, this.#changes, this);
  }

  /** What has changed since the last call. */
  takeChanges(): Changes {
    const changes = this.#changes;
    this.#changes = noChanges();
    return changes;
  }

  /** A whole revision is in: those who wait for it look again. */
  synced(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Resolves with the next revision, or after some time. */
  next(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.#waiting.add(wake);
    });
  }
}

const INDEXED: readonly ItemKind[] = ['peer', 'opening', 'block', 'service'];

const noChanges = (): Changes => ({
  plan: new Set(),
  allPlans: false,
  connections: new Set(),
  allConnections: false,
  policies: false,
  prefixes: false,
  closed: new Map(),
  closedBackends: new Map(),
});

/** These networks are planned again, and their connections looked at. */
function rules(changes: Changes, networks: Iterable<NetworkKey>): void {
  for (const key of networks) {
    changes.plan.add(key);
    changes.connections.add(key);
  }
}

function noteNew<P extends ClosedPort>(noted: Map<string, P>, before: readonly P[], now: readonly P[]): void {
  const known = new Set(before.map(closedKey));
  for (const port of now) if (!known.has(closedKey(port))) noted.set(closedKey(port), port);
}

const policies = (_: unknown, changes: Changes): void => void (changes.policies = true);

const EFFECTS: Effects = {
  cluster: ({ before, now }, changes) => {
    changes.allPlans = true;
    changes.policies = true;
    if (JSON.stringify(before?.apiServers) !== JSON.stringify(now?.apiServers)) changes.allConnections = true;
    noteNew(changes.closed, closedPorts(before), closedPorts(now));
  },
  node: ({ before, now }, changes) => {
    changes.allPlans = true;
    changes.policies = true;
    const addresses = (node: NodeItem | undefined): string => (node ? addressesOf(node).join() : '');
    if (addresses(before) !== addresses(now)) changes.allConnections = true;
  },
  service: ({ key, before, now }, changes, { config }) =>
    rules(changes, [...[before, now].flatMap((s) => s?.network ?? []), ...networksThatReach(config, key)]),
  peer: ({ key }, changes) => rules(changes, [key.split('|')[0] ?? '']),
  opening: ({ before, now }, changes) =>
    rules(
      changes,
      [before, now].flatMap((o) => o?.network ?? []),
    ),
  source: ({ key }, changes, { index }) => rules(changes, index.openTo.get(key) ?? []),
  network: ({ key }, changes) => {
    changes.prefixes = true;
    changes.plan.add(key).add(FLAT_NETWORK);
    changes.connections.add(key);
  },
  block: ({ before, now }, changes) => {
    changes.prefixes = true;
    for (const block of [before, now]) if (block) changes.plan.add(block.network);
    changes.plan.add(FLAT_NETWORK);
  },
  closed: ({ before, now }, changes) => {
    changes.plan.add(FLAT_NETWORK);
    noteNew(changes.closedBackends, closedBackends(before), closedBackends(now));
  },
  group: policies,
  profile: policies,
  pod: policies,
  namespace: () => undefined,
};
