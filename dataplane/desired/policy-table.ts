import type { GroupItem, NodeConfig, ProfileItem, ProfileSide } from '../../api/nodeconfig.ts';
import { type Cell, compileCell } from '../../core/policy/cell.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { PrefixClasses } from '../plan/prefix-classes.ts';
import {
  MOST_CLASSES,
  MOST_PROFILES,
  NO_CLASS,
  planCell,
  classElement,
  planClassRange,
  planProfileChain,
  profileChain,
  type Register,
  type Rules,
  type Way,
} from '../plan/policy.ts';
import type { PodChain, PodChains } from '../plan/pod.ts';
import { type Account, CellBudget, whyClosed } from './cell-budget.ts';
import { Numbers } from './numbers.ts';

/** Pods that no policy selects. */
export const NO_POLICY: PodChains = {};

/** For pods that may be selected by a policy that nobody has told of yet. */
export const CLOSED = '(closed)';
const closedSide: ProfileSide = { isolatedBy: ['(the controller has not told of this pod yet)'], rules: [] };
const CLOSED_PROFILE: ProfileItem = { egress: closedSide, ingress: closedSide };

/** For pods whose policies are too much for this node. */
const overSide: ProfileSide = { isolatedBy: ['(over the budget of this node)'], rules: [] };
const OVER_PROFILE: ProfileItem = { egress: overSide, ingress: overSide };

type Side = {
  /** By the groups that matter. */
  readonly cells: Map<string, Cell>;
  readonly way: Way;
  readonly number: number;
  readonly side: ProfileSide;
  readonly groups: ReadonlySet<string>;
  readonly entry: Entry;
  /** Elements that each class has made, by the class's number. */
  readonly sizes: Map<number, number>;
};
type Entry = {
  readonly item: ProfileItem;
  readonly sides: Side[];
  chains: PodChains;
  readonly account: Account;
};
type Class = {
  readonly number: number;
  readonly groups: ReadonlySet<string>;
  /** Sides of profiles that have a cell for it. */
  readonly sides: Set<Side>;
  uses: number;
};

/**
 * Policies in one table: the profiles of the pods that are there, and classes for all addresses that those speak of. Each update
 * costs what has changed: a group's new address is one element, unless it is the first of its class.
 */
export class PolicyTable {
  readonly #register: Register;
  readonly #config: NodeConfig;
  readonly #rules: Rules;
  readonly #set: (owner: string, nft: readonly NftObject[] | undefined) => void;
  readonly #setElement: (set: string, key: string, value: string | undefined) => void;
  readonly #profiles = new Map<string, Entry>();
  readonly #profileNumbers = new Numbers(1, MOST_PROFILES);
  readonly #groups = new Map<string, GroupItem>();
  /** Groups that list an address. */
  readonly #listed = new Map<string, Set<string>>();
  readonly #classOf = new Map<string, string>();
  readonly #classes = new Map<string, Class>();
  /** Whom a group concerns: classes of addresses in it, sides of profiles with rules that name it. */
  readonly #classesIn = new Map<string, Set<Class>>();
  readonly #sidesWith = new Map<string, Set<Side>>();
  /** Classes that the present update has made. */
  readonly #fresh: Class[] = [];
  /** Groups that the present update takes away. */
  readonly #gone: string[] = [];
  readonly #groupNumbers = new Numbers(0, 2 ** 31);
  readonly #classNumbers = new Numbers(NO_CLASS + 1, MOST_CLASSES);
  /** Profiles that were closed since they make too much, each as it was then. */
  readonly #over = new Map<string, { readonly item: ProfileItem; readonly why: string }>();
  readonly #budget = new CellBudget();
  #prefixes = new PrefixClasses([]);
  #ranges: readonly string[] = [];

  /**
   * @param set what one owner wants in the table from now on
   * @param setElement an element that nobody else wants
   */
  constructor(o: {
    readonly register: Register;
    readonly config: NodeConfig;
    readonly rules: Rules;
    readonly set: (owner: string, nft: readonly NftObject[] | undefined) => void;
    readonly setElement: (set: string, key: string, value: string | undefined) => void;
  }) {
    this.#register = o.register;
    this.#config = o.config;
    this.#rules = o.rules;
    this.#set = o.set;
    this.#setElement = o.setElement;
  }

  /** Chains of a profile that the last update was told of. */
  chainsOf(profile: string | undefined): PodChains {
    return profile === undefined ? NO_POLICY : (this.#profiles.get(profile)?.chains ?? NO_POLICY);
  }

  /** Why policies of pods here are closed: what they make is too much, whatever it was estimated at. */
  get overBudget(): ReadonlySet<string> {
    return new Set([...this.#over.values()].map((o) => o.why));
  }

  itemOf(profile: string | undefined): ProfileItem | undefined {
    return profile === undefined ? undefined : this.#profiles.get(profile)?.item;
  }

  /** All groups that an address is in, of those that matter here. */
  groupsOf(address: string): ReadonlySet<string> {
    return new Set([...(this.#listed.get(address) ?? []), ...this.#prefixes.groupsOf(address)]);
  }

  /**
   * Makes the table fit these profiles, and the groups as the configuration has them now.
   *
   * @returns whether connections that stand may have to be looked at again: new pods alone change nothing for those
   */
  update(inUse: ReadonlySet<string>): boolean {
    for (const [key, { item }] of this.#over)
      if (!inUse.has(key) || this.#config.profile.get(key) !== item) this.#over.delete(key);
    const wanted = new Map([...inUse].map((key) => [key, this.#itemFor(key)]));
    const changed = new Set<string>();
    const known = new Set(this.#profiles.keys());
    for (const [key, { item }] of this.#profiles) if (wanted.get(key) !== item) changed.add(key);
    for (const key of wanted.keys()) if (!this.#profiles.has(key)) changed.add(key);
    const groups = new Set([...wanted.values()].flatMap((item) => [...groupsIn(item)]));
    this.#fresh.length = 0;
    const moved = this.#updateGroups(groups);
    for (const key of changed) this.#dropProfile(key);
    for (const key of changed) {
      const item = wanted.get(key);
      if (item) this.#addProfile(key, item);
    }
    for (const c of this.#fresh) if (c.uses > 0) this.#addClass(c);
    const over = [...this.#profiles].flatMap(([key, { account }]) => (account.whole ? [] : [key]));
    for (const key of over) this.#closeProfile(key);
    // Now that no class has them any more, their numbers may be given to others.
    for (const key of this.#gone.splice(0)) if (!this.#groups.has(key)) this.#groupNumbers.free(key);
    return moved || over.length > 0 || [...changed].some((key) => known.has(key));
  }

  /** A profile that is not whole yet is closed: without its groups nobody knows whom a denial means. */
  #itemFor(key: string): ProfileItem {
    const item = this.#config.profile.get(key);
    if (item && this.#over.has(key)) return OVER_PROFILE;
    return item && [...groupsIn(item)].every((g) => this.#config.group.has(g)) ? item : CLOSED_PROFILE;
  }

  #addProfile(key: string, item: ProfileItem): void {
    const entry: Entry = { item, sides: [], chains: NO_POLICY, account: this.#budget.open(item) };
    const { sides } = entry;
    const add = (way: Way, side: ProfileSide): Side => {
      const made: Side = {
        entry,
        sizes: new Map(),
        way,
        number: this.#profileNumbers.take(`${key} ${way}`),
        side,
        groups: groupsOfSide(side),
        cells: new Map<string, Cell>(),
      };
      sides.push(made);
      return made;
    };
    const silent = (side: ProfileSide): boolean => side.isolatedBy.length === 0 && side.rules.length === 0;
    const chain = ({ way, number }: Side): PodChain => ({ name: profileChain(way, number), ask: true });
    const { egress, ingress } = item;
    const node = egress.rules.some((r) => r.tier !== 'NetworkPolicy') ? add('node', egress) : undefined;
    entry.chains = {
      from: silent(egress) ? { name: 'eg_started', ask: false } : chain(add('egress', egress)),
      to: silent(ingress) ? { name: 'in_started', ask: false } : chain(add('ingress', ingress)),
      ...(node ? { node: chain(node) } : {}),
    };
    this.#profiles.set(key, entry);
    for (const { way, number } of sides) {
      const toNode = way === 'egress' ? (node?.number ?? 'silent') : undefined;
      this.#set(`profile ${number}`, planProfileChain(this.#register, way, number, toNode));
    }
    for (const side of sides) {
      this.#setCell(side, NO_CLASS, new Set());
      for (const group of side.groups) {
        for (const c of this.#classesIn.get(group) ?? []) this.#addCell(side, c);
        addTo(this.#sidesWith, group, side);
      }
    }
  }

  #dropProfile(key: string): void {
    for (const side of this.#profiles.get(key)?.sides ?? []) {
      this.#set(`profile ${side.number}`, undefined);
      this.#set(cellOwner(side.number, NO_CLASS), undefined);
      for (const group of side.groups) {
        removeFrom(this.#sidesWith, group, side);
        for (const c of this.#classesIn.get(group) ?? []) this.#dropCell(side, c);
      }
      this.#profileNumbers.free(`${key} ${side.way}`);
      for (const size of side.sizes.values()) this.#budget.add(side.entry.account, -size);
      side.sizes.clear();
    }
    this.#profiles.delete(key);
  }

  /** Drops first: what the namespace has then is below its budget again. */
  #closeProfile(key: string): void {
    const namespace = this.#profiles.get(key)?.account.namespace ?? '';
    const item = this.#config.profile.get(key);
    this.#dropProfile(key);
    this.#addProfile(key, OVER_PROFILE);
    if (item) this.#over.set(key, { item, why: whyClosed(namespace) });
  }

  #addClass(c: Class): void {
    for (const group of c.groups) for (const side of this.#sidesWith.get(group) ?? []) this.#addCell(side, c);
  }

  /** Only where the class means something to the profile: else it is looked up as one that means nothing. */
  #addCell(side: Side, c: Class): void {
    if (c.sides.has(side)) return;
    c.sides.add(side);
    this.#setCell(side, c.number, new Set([...c.groups].filter((g) => side.groups.has(g))));
  }

  #dropCell(side: Side, c: Class): void {
    if (!c.sides.delete(side)) return;
    this.#set(cellOwner(side.number, c.number), undefined);
    this.#budget.add(side.entry.account, -(side.sizes.get(c.number) ?? 0));
    side.sizes.delete(c.number);
  }

  /** Many classes look alike to one profile. */
  #setCell(side: Side, cls: number, groups: ReadonlySet<string>): void {
    if (!this.#budget.hasRoom(side.entry.account)) return; // it will be closed as a whole
    const key = this.#keyOf(groups);
    const cell = side.cells.get(key) ?? compileCell(side.side, groups, { ownNode: side.way === 'node' });
    side.cells.set(key, cell);
    const objects = planCell(side.way, side.number, cls, cell, this.#rules);
    const size = objects.reduce((n, o) => n + (o.kind === 'element' ? 1 : 0), 0);
    this.#budget.add(side.entry.account, size - (side.sizes.get(cls) ?? 0));
    side.sizes.set(cls, size);
    this.#set(cellOwner(side.number, cls), objects);
  }

  /** Whether an address that had a class has another one now. */
  #updateGroups(wanted: ReadonlySet<string>): boolean {
    const touched = new Set<string>();
    let prefixes = false;
    for (const key of new Set([...this.#groups.keys(), ...wanted])) {
      const old = this.#groups.get(key);
      const now = wanted.has(key) ? this.#config.group.get(key) : undefined;
      if (old === now) continue;
      const has = new Set(now?.addresses);
      const had = new Set(old?.addresses);
      for (const ip of had) if (!has.has(ip)) touched.add(this.#unlist(ip, key));
      for (const ip of has) if (!had.has(ip)) touched.add(this.#list(ip, key));
      prefixes ||= (old?.prefixes ?? []).join() !== (now?.prefixes ?? []).join();
      if (now) this.#groups.set(key, now);
      else {
        this.#groups.delete(key);
        this.#gone.push(key);
      }
    }
    if (prefixes) {
      this.#prefixes = new PrefixClasses(this.#groups);
      for (const ip of this.#listed.keys()) touched.add(ip);
    }
    let moved = prefixes;
    for (const ip of touched) moved = this.#classify(ip) || moved;
    if (prefixes) this.#classifyRanges();
    return moved;
  }

  #list(ip: string, group: string): string {
    const groups = this.#listed.get(ip) ?? new Set();
    this.#listed.set(ip, groups.add(group));
    return ip;
  }

  #unlist(ip: string, group: string): string {
    const groups = this.#listed.get(ip);
    groups?.delete(group);
    if (groups?.size === 0) this.#listed.delete(ip);
    return ip;
  }

  /** One address: in the class of its prefix as long as nothing lists it. */
  #classify(ip: string): boolean {
    const groups = this.#listed.has(ip) ? this.groupsOf(ip) : undefined;
    const key = groups && this.#keyOf(groups);
    const before = this.#classOf.get(ip);
    if (key === before) return false;
    if (key === undefined || !groups) {
      this.#classOf.delete(ip);
      this.#setElement(...classElement(ip));
    } else {
      this.#classOf.set(ip, key);
      this.#setElement(...classElement(ip, this.#use(key, groups)));
    }
    if (before !== undefined) this.#release(before);
    return before !== undefined;
  }

  #classifyRanges(): void {
    const keys: string[] = [];
    const elements = this.#prefixes.pieces.map(({ prefix, groups }) => {
      const key = this.#keyOf(groups);
      keys.push(key);
      return planClassRange(prefix, this.#use(key, groups));
    });
    this.#set('cls ranges', elements);
    for (const key of this.#ranges) this.#release(key);
    this.#ranges = keys;
  }

  /** By numbers: the text of a group may be long, and a class may have many. */
  #keyOf(groups: ReadonlySet<string>): string {
    return [...groups]
      .map((g) => this.#groupNumbers.take(g))
      .sort((a, b) => a - b)
      .join(' ');
  }

  #use(key: string, groups: ReadonlySet<string>): number {
    const known = this.#classes.get(key);
    if (known) {
      known.uses++;
      return known.number;
    }
    const number = this.#classNumbers.take(key);
    const made: Class = { number, groups: new Set(groups), sides: new Set(), uses: 1 };
    this.#classes.set(key, made);
    this.#fresh.push(made);
    for (const group of made.groups) addTo(this.#classesIn, group, made);
    return number;
  }

  #release(key: string): void {
    const known = this.#classes.get(key);
    if (!known || --known.uses > 0) return;
    this.#classes.delete(key);
    this.#classNumbers.free(key);
    for (const group of known.groups) removeFrom(this.#classesIn, group, known);
    for (const side of [...known.sides]) this.#dropCell(side, known);
  }
}

const cellOwner = (profile: number, cls: number): string => `cell ${profile} ${cls}`;

const groupsKnown = new WeakMap<ProfileItem, ReadonlySet<string>>();
function groupsIn(item: ProfileItem): ReadonlySet<string> {
  const before = groupsKnown.get(item);
  if (before) return before;
  const groups = new Set([...groupsOfSide(item.egress), ...groupsOfSide(item.ingress)]);
  groupsKnown.set(item, groups);
  return groups;
}

const groupsOfSide = (side: ProfileSide): Set<string> =>
  new Set(side.rules.flatMap((r) => r.matches.flatMap((m) => (m.peers === 'any' ? [] : m.peers))));

function addTo<T>(map: Map<string, Set<T>>, key: string, value: T): void {
  const set = map.get(key) ?? new Set();
  map.set(key, set.add(value));
}

function removeFrom<T>(map: Map<string, Set<T>>, key: string, value: T): void {
  const set = map.get(key);
  set?.delete(value);
  if (set?.size === 0) map.delete(key);
}
