import { BUDGETS, overBudget } from '../../api/budgets.ts';
import { FLAT_NETWORK, ROUTERS } from '../../api/names.ts';
import type { NetworkKey, PortSet } from '../../api/nodeconfig.ts';
import { matches } from '../cluster/selector.ts';
import type { ClusterState, Router } from '../cluster/state.ts';
import { intersection, isEmpty, NO_PORTS, portSet, unionOf } from '../cluster/ports.ts';

/**
 * What one network may reach of another. `services` is beside `pods`: ports behind Services of the other network. `namespaces`:
 * only pods of these, when one side is the flat network.
 */
export type Grant = {
  readonly pods: PortSet;
  readonly services: PortSet;
  readonly namespaces?: ReadonlySet<string>;
  /** The routers that say so. */
  readonly by: string;
};

/** From a network to those that it is connected with, both directions of each. */
export type Connections = ReadonlyMap<NetworkKey, ReadonlyMap<NetworkKey, readonly Grant[]>>;

export type Pair = {
  readonly networks: readonly [NetworkKey, NetworkKey];
  /** Key of the other router; undefined inside one. */
  readonly router?: string;
  readonly state: 'Open' | 'Waiting' | 'Refused';
  readonly message: string;
};

/** What a router comes to. */
export type RouterState = {
  readonly members: readonly NetworkKey[];
  readonly pairs: readonly Pair[];
  /** What it names and is not there, in words. */
  readonly missing: readonly string[];
};

type Side = {
  readonly router: Router;
  readonly key: string;
  readonly members: readonly NetworkKey[];
  /** Namespaces of the flat network's pods that are members. */
  readonly flat: ReadonlySet<string>;
  readonly missing: string[];
  readonly imports: ReadonlySet<string>;
};

/**
 * Who is connected with whom, and why not. Pure; the only place that decides on routers.
 *
 * Two networks are connected when one router of type Mesh has both, or two routers that agree have one each. Agree: their
 * types fit (Mesh with Mesh, Hub with Spoke), and each imports the other; inside one namespace one import is enough, since one
 * owner has written both. Never transitive: only pairs are opened.
 */
export function connectNetworks(state: Connectable): Connected {
  const parts = [
    ...[state.routers, state.networks, state.namespaces].map((map) => [...map.values()]),
    [...(state.conflicts ?? [])].flat(),
  ];
  const same = latest?.parts.every((part, i) => sameItems(part, parts[i] ?? []));
  if (!latest || !same) latest = { parts, connected: workOut(state) };
  return latest.connected;
}

type Connectable = Pick<ClusterState, 'routers' | 'networks' | 'namespaces' | 'conflicts'>;
export type Connected = { readonly connections: Connections; readonly routers: ReadonlyMap<string, RouterState> };

/** One view follows another, and most differ in pods only: as long as these objects are the same ones, so is what comes of them. */
let latest: { readonly parts: readonly (readonly unknown[])[]; readonly connected: Connected } | undefined;

const sameItems = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((item, i) => item === b[i]);

function workOut(state: Connectable): Connected {
  const seen = { ...state, ...indexed(state) };
  const tooMany = routersOverBudget(seen.routersByNamespace);
  const sides = new Map([...state.routers].map(([key, router]) => [key, sideOf(seen, key, router, tooMany.get(key))]));
  const connections = new Map<NetworkKey, Map<NetworkKey, Grant[]>>();
  const pairs = new Map<string, Pair[]>([...sides.keys()].map((key) => [key, []]));
  const open = (a: NetworkKey, b: NetworkKey, grant: Grant): void => {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const row = connections.get(from) ?? new Map<NetworkKey, Grant[]>();
      connections.set(from, row);
      const grants = row.get(to);
      if (grants) grants.push(grant);
      else row.set(to, [grant]);
    }
  };
  const left = new PairBudget();
  // The oldest first: what is open stays open whatever comes behind it.
  const inOrder = [...sides].sort(([a, x], [b, y]) => byAge([a, x.router], [b, y.router]));
  for (const [, side] of inOrder) {
    inside(state, side, open, left, pairs.get(side.key) ?? []);
    for (const other of side.imports) {
      const second = sides.get(other);
      // Each pair of routers once: by the one that imports, or by the first of two that do.
      if (!second || (second.imports.has(side.key) && other < side.key)) continue;
      between(state, side, second, open, left, pairs);
    }
  }
  const routers = new Map(
    [...sides].map(([key, { members, missing, flat }]) => [
      key,
      { members: [...members, ...(flat.size > 0 ? [FLAT_NETWORK] : [])], missing, pairs: pairs.get(key) ?? [] },
    ]),
  );
  return { connections, routers };
}

type Seen = Pick<ClusterState, 'routers' | 'networks' | 'namespaces'> & ReturnType<typeof indexed>;

function indexed({ routers, networks }: Pick<ClusterState, 'routers' | 'networks'>) {
  return {
    routersByNamespace: Map.groupBy(routers, ([, r]) => r.namespace),
    networksByNamespace: Map.groupBy(networks, ([, n]) => n.namespace),
  };
}

/** Routers of namespaces that have too many: the newest, each with the reason. */
function routersOverBudget(byNamespace: Seen['routersByNamespace']): Map<string, string> {
  const found = new Map<string, string>();
  for (const [namespace, routers] of byNamespace) {
    if (overBudget('namespaceRouters', routers.length, '') === undefined) continue;
    for (const [i, [key]] of [...routers].sort(byAge).entries()) {
      const over = overBudget('namespaceRouters', i + 1, 'routers, up to this one');
      if (over !== undefined) found.set(key, `namespace ${namespace} ${over}`);
    }
  }
  return found;
}

type Aged = { readonly created?: number };
const byAge = ([a, x]: readonly [string, Aged], [b, y]: readonly [string, Aged]): number =>
  (x.created ?? 0) - (y.created ?? 0) || (a < b ? -1 : 1);

/** Pairs of networks that are still to be had, for one router and for all of a namespace. */
class PairBudget {
  readonly #byRouter = new Map<string, number>();
  readonly #byNamespace = new Map<string, number>();

  /** Takes some of them; says in the router's state that they are too many, and takes none, when they are. */
  take({ key, router: { namespace }, missing }: Side, count: number): boolean {
    const [own, all] = [(this.#byRouter.get(key) ?? 0) + count, (this.#byNamespace.get(namespace) ?? 0) + count];
    const over =
      overBudget('routerPairs', own, 'pairs of networks') ??
      overBudget('namespaceRouterPairs', all, `pairs of networks with all routers of namespace ${namespace}`);
    if (over !== undefined) {
      missing.unshift(`it ${over}: ${count} pair(s) are not connected`);
      return false;
    }
    this.#byRouter.set(key, own);
    this.#byNamespace.set(namespace, all);
    return true;
  }
}

type Open = (a: NetworkKey, b: NetworkKey, grant: Grant) => void;
type Networks = Pick<ClusterState, 'networks' | 'conflicts'>;

function inside(state: Networks, side: Side, open: Open, left: PairBudget, into: Pair[]): void {
  if (side.router.spec?.type !== 'Mesh') return;
  const all = membersOf(side);
  if (!left.take(side, (all.length * (all.length - 1)) / 2)) return;
  const ports = commonPorts(side, side);
  for (const [i, a] of all.entries())
    for (const b of all.slice(i + 1)) into.push(pairUp(state, [a, side], [b, side], undefined, ports, open));
}

function between(
  state: Networks,
  a: Side,
  b: Side,
  open: Open,
  left: PairBudget,
  pairs: ReadonlyMap<string, Pair[]>,
): void {
  const problem = disagreement(a, b);
  const [mine, others] = [membersOf(a), membersOf(b)];
  if (!left.take(a, mine.length * others.length)) return;
  const ports = commonPorts(a, b);
  for (const x of mine) {
    for (const y of others) {
      if (x === y) continue;
      const pair = pairUp(state, [x, a], [y, b], problem, ports, open);
      pairs.get(a.key)?.push({ ...pair, router: b.key });
      // Who never named the asker is not named in its own status: every tenant could fill that.
      if (!b.imports.has(a.key) && a.router.namespace !== b.router.namespace) continue;
      pairs.get(b.key)?.push({ ...pair, networks: [y, x], router: a.key });
    }
  }
}

const commonPorts = (a: Side, b: Side): PortSet =>
  intersection(portSet(a.router.spec?.ports), portSet(b.router.spec?.ports));

/** Why two routers do not connect; undefined when they do. */
function disagreement(a: Side, b: Side): Pick<Pair, 'state' | 'message'> | undefined {
  const types = [a.router.spec?.type, b.router.spec?.type].sort().join(' ');
  if (types !== 'Mesh Mesh' && types !== 'Hub Spoke') {
    const message = `${a.key} is a ${a.router.spec?.type} and ${b.key} a ${b.router.spec?.type}: only Mesh with Mesh, and Hub with Spoke, connect`;
    return { state: 'Refused', message };
  }
  if (a.router.namespace === b.router.namespace) return undefined;
  for (const [asked, other] of [
    [b, a],
    [a, b],
  ] as const) {
    if (asked.imports.has(other.key)) continue;
    const { namespace, name } = other.router;
    const message = `waits for consent: the owner of VirtualNetworkRouter ${asked.key} must add {namespace: ${namespace}, name: ${name}} to its spec.import`;
    return { state: 'Waiting', message };
  }
  return undefined;
}

function pairUp(
  state: Networks,
  [x, a]: readonly [NetworkKey, Side],
  [y, b]: readonly [NetworkKey, Side],
  problem: Pick<Pair, 'state' | 'message'> | undefined,
  ports: PortSet,
  open: Open,
): Pair {
  const networks = [x, y] as const;
  if (problem) return { networks, ...problem };
  const unready = networks.find((n) => n !== FLAT_NETWORK && !isReady(state, n));
  if (unready !== undefined)
    return {
      networks,
      state: 'Waiting',
      message: `VirtualNetwork ${unready} is not ready: its own condition says why`,
    };
  const services = a.router.spec?.traffic === 'ServicesOnly' || b.router.spec?.traffic === 'ServicesOnly';
  if (isEmpty(ports)) return { networks, state: 'Refused', message: `${a.key} and ${b.key} have no port in common` };
  const flat = x === FLAT_NETWORK ? a.flat : y === FLAT_NETWORK ? b.flat : undefined;
  open(x, y, {
    pods: services ? NO_PORTS : ports,
    services: ports,
    ...(flat ? { namespaces: flat } : {}),
    by: a === b ? a.key : [a.key, b.key].sort().join(' and '),
  });
  const what = `${services ? 'Services' : 'pods and Services'}${ports === 'any' ? '' : ', chosen ports'}`;
  return { networks, state: 'Open', message: flat ? `${what}, pods of ${some(flat)}` : what };
}

function isReady({ networks, conflicts }: Networks, key: NetworkKey): boolean {
  const network = networks.get(key);
  return !conflicts?.has(key) && network?.spec !== undefined && network.vni !== undefined && !network.deleting;
}

const some = (names: ReadonlySet<string>): string =>
  `${[...names].sort().slice(0, 10).join(', ')}${names.size > 10 ? `, and ${names.size - 10} more` : ''}`;

function sideOf(state: Seen, key: string, router: Router, tooMany: string | undefined): Side {
  const { spec } = router;
  const missing: string[] = tooMany === undefined ? [] : [`${tooMany}: it connects nothing`];
  if (!spec || router.deleting || tooMany !== undefined)
    return { router, key, members: [], flat: new Set(), missing, imports: new Set() };
  const members = membersIn(state, router, missing);
  const flat = flatNamespaces(state, key, router, missing);
  const imports = importsOf(state, key, router, missing);
  return { router, key, members: members.sort(), flat, missing, imports };
}

function membersIn(state: Seen, { namespace, spec }: Router, missing: string[]): NetworkKey[] {
  const members = new Set<NetworkKey>();
  for (const name of spec?.virtualNetworks ?? []) {
    const network = `${namespace}/${name}`;
    if (state.networks.has(network)) members.add(network);
    else missing.push(`VirtualNetwork ${network} does not exist`);
  }
  if (spec?.virtualNetworkSelector)
    for (const [network, { labels, deleting }] of [...(state.networksByNamespace.get(namespace) ?? [])].sort(byAge))
      if (!deleting && matches(spec.virtualNetworkSelector, labels)) members.add(network);
  return within('routerMembers', [...members], 'member networks', missing);
}

/** The first ones; what is beyond the budget is left out, and named. */
function within(budget: 'routerMembers' | 'routerImports', all: string[], what: string, missing: string[]): string[] {
  const over = overBudget(budget, all.length, what);
  if (over === undefined) return all;
  const [kept, left] = [all.slice(0, BUDGETS[budget]), new Set(all.slice(BUDGETS[budget]))];
  missing.unshift(`it ${over}: the newest are left out, ${some(left)}`);
  return kept;
}

function importsOf(state: Seen, key: string, { namespace, spec }: Router, missing: string[]): Set<string> {
  const imports = new Set<string>();
  for (const entry of spec?.import ?? []) {
    if (entry.name !== undefined) {
      const other = `${entry.namespace ?? namespace}/${entry.name}`;
      if (other === key) missing.push(`spec.import names this router itself`);
      else if (state.routers.has(other)) imports.add(other);
      else missing.push(`VirtualNetworkRouter ${other} does not exist`);
      continue;
    }
    const { namespaceSelector } = entry;
    const from = namespaceSelector
      ? [...state.routersByNamespace.keys()].filter((n) =>
          matches(namespaceSelector, state.namespaces.get(n)?.labels ?? {}),
        )
      : [entry.namespace ?? namespace];
    const found = from.flatMap((n) => state.routersByNamespace.get(n) ?? []).sort(byAge);
    for (const [other, { labels }] of found)
      if (other !== key && (!entry.selector || matches(entry.selector, labels))) imports.add(other);
  }
  return new Set(within('routerImports', [...imports], 'imported routers', missing));
}

/** Namespaces whose pods on the flat network are members: the own one, and others that say so themselves. */
function flatNamespaces(
  { namespaces }: Pick<ClusterState, 'namespaces'>,
  key: string,
  { namespace, spec }: Router,
  missing: string[],
): Set<string> {
  const found = new Set<string>();
  if (!spec?.defaultNetwork) return found;
  const { namespaceSelector } = spec.defaultNetwork;
  if (!namespaceSelector) return found.add(namespace);
  for (const { name, labels, annotations } of namespaces.values()) {
    if (!matches(namespaceSelector, labels)) continue;
    const named = (annotations[ROUTERS] ?? '').split(',').map((s) => s.trim());
    if (name === namespace || named.includes(key) || named.includes(`${namespace}/*`)) found.add(name);
    else if (missing.length < MOST_MISSING)
      missing.push(`namespace ${name} does not consent: its annotation ${ROUTERS} must name ${key}`);
  }
  return found;
}

/** Of what a router names and that is not there, so much is spelled out. */
const MOST_MISSING = 100;

const membersOf = (side: Side): readonly NetworkKey[] =>
  side.flat.size > 0 ? [...side.members, FLAT_NETWORK] : side.members;

/** What of several grants holds for a pod of the flat network, or for a whole network. */
export function combine(
  grants: readonly Grant[] | undefined,
  flatNamespace?: string,
): { readonly pods: PortSet; readonly services: PortSet; readonly by: readonly string[] } {
  const mine = (grants ?? []).filter((g) => !g.namespaces || g.namespaces.has(flatNamespace ?? ''));
  return {
    pods: unionOf(mine.map((g) => g.pods)),
    services: unionOf(mine.map((g) => g.services)),
    by: [...new Set(mine.map((g) => g.by))],
  };
}
