import type { GroupItem, NodeConfig, ProfileItem, ProfileSide } from '../../api/nodeconfig.ts';
import { type Cell, compileCell } from '../../core/policy/cell.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { PrefixClasses, rangeOf } from '../plan/prefix-classes.ts';
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

/** For pods whose policies do not stand in the table yet. */
export const UNPLANNED: PodChains = {
  from: { name: 'unplanned', ask: false },
  to: { name: 'unplanned', ask: false },
};

/** For pods that may be selected by a policy that nobody has told of yet. */
export const CLOSED = '(closed)';
const closedSide: ProfileSide = { isolatedBy: ['(the controller has not told of this pod yet)'], rules: [] };
const CLOSED_PROFILE: ProfileItem = { egress: closedSide, ingress: closedSide };

/** For pods whose policies are too much for this node. */
const overSide: ProfileSide = { isolatedBy: ['(over the budget of this node)'], rules: [] };
const OVER_PROFILE: ProfileItem = { egress: overSide, ingress: overSide };

/** Elements of one step, each some ten microseconds. */
const WORK_AT_ONCE = 256;
/** A chain and a counter go through nft's parser. */
const WORK_OF_RULE = 4;

type NftElement = NftObject & { readonly kind: 'element' };

type Side = {
  /** By the groups that matter. */
  readonly cells: Map<string, Cell>;
  readonly way: Way;
  readonly number: number;
  readonly numberKey: string;
  readonly side: ProfileSide;
  readonly groups: ReadonlySet<string>;
  readonly entry: Entry;
  /** What stands for each class, by the class's number. Its elements are not kept: they are planned again when they go. */
  readonly made: Map<number, Made>;
};
type Made = { readonly cell: Cell; readonly size: number };
type Entry = {
  readonly item: ProfileItem;
  readonly sides: Side[];
  chains: PodChains;
  readonly account: Account;
};
type Class = {
  readonly key: string;
  readonly number: number;
  readonly groups: ReadonlySet<string>;
  /** Sides of profiles that have a cell for it. */
  readonly sides: Set<Side>;
  uses: number;
};

/** Groups as they will be once an update has come to its end: the class that each address moves to, and all prefixes with theirs. */
type Moves = {
  readonly addresses: Map<string, Class | undefined>;
  readonly prefixes: { readonly classes: PrefixClasses; readonly ranges: ReadonlyMap<string, Class> } | undefined;
  /** Whether an address that had a class has another one. */
  readonly moved: boolean;
};

/**
 * Between two steps others may have their turn. `write`: what has been set so far may go into the kernel, since nothing leads to it.
 * `switch`: all that was set since the last write goes into the kernel in one transaction, with the pods that have other chains now.
 */
export type Step = 'breath' | 'write' | 'switch';

/** A change of one element. `before`: the value that it has, when it has one. */
export type SetElement = (set: string, key: string, value: string | undefined, before?: string) => void;

/**
 * Policies in one table: the profiles of the pods that are there, and classes for all addresses that those speak of. Each update
 * costs what has changed: a group's new address is one element, unless it is the first of its class.
 *
 * An update is made of steps, since one tenant's policies may be many thousands of elements. First comes what is new, under numbers
 * that nothing leads to; then, at once, addresses get their new classes and pods their new profiles; then what is old goes.
 */
export class PolicyTable {
  readonly #register: Register;
  readonly #config: NodeConfig;
  readonly #rules: Rules;
  readonly #set: (owner: string, nft: readonly NftObject[] | undefined) => void;
  readonly #setElement: SetElement;
  readonly #atOnce: number;
  readonly #profiles = new Map<string, Entry>();
  readonly #profileNumbers = new Numbers(1, MOST_PROFILES);
  /** Makes the keys of profile numbers unique. */
  #entries = 0;
  /** Since the last step. */
  #work = 0;
  readonly #groups = new Map<string, GroupItem>();
  /** Groups that list an address. */
  readonly #listed = new Map<string, Set<string>>();
  readonly #classOf = new Map<string, Class>();
  readonly #classes = new Map<string, Class>();
  /** Whom a group concerns: classes of addresses in it, sides of profiles with rules that name it. */
  readonly #classesIn = new Map<string, Set<Class>>();
  readonly #sidesWith = new Map<string, Set<Side>>();
  /** How many cells end up with a rule, by the name of its objects. */
  readonly #ruleUses = new Map<string, number>();
  readonly #groupNumbers = new Numbers(0, 2 ** 31);
  readonly #classNumbers = new Numbers(NO_CLASS + 1, MOST_CLASSES);
  /** Profiles that were closed since they make too much, each as it was then. */
  readonly #over = new Map<string, { readonly item: ProfileItem; readonly why: string }>();
  readonly #budget = new CellBudget();
  #prefixes = new PrefixClasses([]);
  #ranges: ReadonlyMap<string, Class> = new Map();

  /**
   * @param set chains and counters that one owner wants in the table from now on
   * @param setElement an element comes, changes or, without a value, goes
   * @param atOnce elements of one step
   */
  constructor(o: {
    readonly register: Register;
    readonly config: NodeConfig;
    readonly rules: Rules;
    readonly set: (owner: string, nft: readonly NftObject[] | undefined) => void;
    readonly setElement: SetElement;
    readonly atOnce?: number;
  }) {
    this.#register = o.register;
    this.#config = o.config;
    this.#rules = o.rules;
    this.#set = o.set;
    this.#setElement = o.setElement;
    this.#atOnce = o.atOnce ?? WORK_AT_ONCE;
  }

  /** Chains of a profile that the last update was told of. */
  chainsOf(profile: string | undefined): PodChains {
    return profile === undefined ? NO_POLICY : (this.#profiles.get(profile)?.chains ?? UNPLANNED);
  }

  has(profile: string): boolean {
    return this.#profiles.has(profile);
  }

  /** Whether a profile stands as the configuration has it now. */
  isCurrent(profile: string): boolean {
    return this.#profiles.get(profile)?.item === this.#itemFor(profile);
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

  /** All elements that stand once the present step is written: for a table that is written whole. */
  *elements(): Generator<NftObject> {
    for (const { sides } of this.#profiles.values())
      for (const side of sides)
        for (const [cls, { cell }] of side.made)
          yield* planCell(side.way, side.number, cls, cell, this.#rules).filter((o) => o.kind === 'element');
    for (const [ip, { number }] of this.#classOf) yield elementOf(...classElement(ip, number));
    for (const [prefix, { number }] of this.#ranges) yield planClassRange(prefix, number);
  }

  /** As {@link steps}, all of them at once. */
  update(inUse: ReadonlySet<string>): boolean {
    const steps = this.steps(inUse);
    for (let next = steps.next(); ; next = steps.next()) if (next.done) return next.value;
  }

  /**
   * Makes the table fit these profiles, and the groups as the configuration has them now. One update at a time.
   *
   * @returns whether connections that stand may have to be looked at again: new pods alone change nothing for those
   */
  *steps(inUse: ReadonlySet<string>): Generator<Step, boolean> {
    for (const [key, { item }] of this.#over)
      if (!inUse.has(key) || this.#config.profile.get(key) !== item) this.#over.delete(key);
    const wanted = new Map([...inUse].map((key) => [key, this.#itemFor(key)]));
    const changed = new Set<string>();
    const known = new Set(this.#profiles.keys());
    for (const [key, { item }] of this.#profiles) if (wanted.get(key) !== item) changed.add(key);
    for (const key of wanted.keys()) if (!this.#profiles.has(key)) changed.add(key);
    const old = [...changed].flatMap((key) => this.#profiles.get(key) ?? []);
    for (const entry of old) this.#detach(entry);

    // As they are now: the configuration changes while the steps are made.
    const groups = new Map(
      [...wanted.values()].flatMap((item) => [...groupsIn(item)].map((g) => [g, this.#config.group.get(g)] as const)),
    );
    const { moves, fresh, gone } = yield* this.#moveGroups(groups);
    const dying = this.#releaseMoved(moves);
    const made = new Map<string, Entry>();
    for (const key of changed) {
      const item = wanted.get(key);
      if (item) made.set(key, yield* this.#addProfile(key, item));
    }
    for (const c of fresh) if (c.uses > 0) yield* this.#addClass(c);
    const over = yield* this.#closeOver(made, old, wanted);

    yield* this.#switch(moves);
    for (const key of changed) this.#profiles.delete(key);
    for (const [key, entry] of made) this.#profiles.set(key, entry);
    yield 'switch';

    for (const entry of old) yield* this.#removeProfile(entry);
    for (const c of dying) yield* this.#removeClass(c);
    yield 'write';
    // Now that the kernel has none of them any more, their numbers may be given to others.
    for (const { sides } of old) for (const { numberKey } of sides) this.#profileNumbers.free(numberKey);
    for (const c of dying) this.#classNumbers.free(c.key);
    for (const key of gone) if (!this.#groups.has(key)) this.#groupNumbers.free(key);
    return moves.moved || over || [...changed].some((key) => known.has(key));
  }

  /** A profile that is not whole yet is closed: without its groups nobody knows whom a denial means. */
  #itemFor(key: string): ProfileItem {
    const item = this.#config.profile.get(key);
    if (item && this.#over.has(key)) return OVER_PROFILE;
    return item && [...groupsIn(item)].every((g) => this.#config.group.has(g)) ? item : CLOSED_PROFILE;
  }

  *#addProfile(key: string, item: ProfileItem): Generator<Step, Entry> {
    const entry: Entry = { item, sides: [], chains: NO_POLICY, account: this.#budget.open(item) };
    const { sides } = entry;
    const add = (way: Way, side: ProfileSide): Side => {
      const numberKey = `${key} ${way} ${this.#entries++}`;
      const number = this.#profileNumbers.take(numberKey);
      const made: Side = {
        entry,
        way,
        number,
        numberKey,
        side,
        groups: groupsOfSide(side),
        cells: new Map(),
        made: new Map(),
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
    for (const { way, number } of sides) {
      const toNode = way === 'egress' ? (node?.number ?? 'silent') : undefined;
      this.#set(`profile ${number}`, planProfileChain(this.#register, way, number, toNode));
    }
    for (const side of sides) {
      yield* this.#setCell(side, NO_CLASS, new Set());
      for (const group of side.groups) {
        for (const c of this.#classesIn.get(group) ?? []) yield* this.#addCell(side, c);
        addTo(this.#sidesWith, group, side);
      }
    }
    return entry;
  }

  /** From now on the entry gets no more cells, and its namespace has what it used of its budget. */
  #detach({ sides, account }: Entry): void {
    for (const side of sides) {
      for (const group of side.groups) {
        removeFrom(this.#sidesWith, group, side);
        for (const c of this.#classesIn.get(group) ?? []) c.sides.delete(side);
      }
      for (const { size } of side.made.values()) this.#budget.add(account, -size);
    }
  }

  *#removeProfile({ sides }: Entry): Generator<Step> {
    // At once: the chain of one side goes on in that of another.
    for (const { number } of sides) this.#set(`profile ${number}`, undefined);
    for (const side of sides) {
      for (const cls of [...side.made.keys()]) yield* this.#removeCell(side, cls);
    }
  }

  /** Those that have become too much make way for ones that are closed: the new ones of `made`, and others that have grown. */
  *#closeOver(
    made: Map<string, Entry>,
    old: Entry[],
    wanted: ReadonlyMap<string, ProfileItem>,
  ): Generator<Step, boolean> {
    const over = [...this.#profiles, ...made].filter(([, e]) => !e.account.whole && !old.includes(e));
    for (const [key, entry] of over) {
      const item = wanted.get(key);
      this.#detach(entry);
      old.push(entry);
      made.set(key, yield* this.#addProfile(key, OVER_PROFILE));
      if (item) this.#over.set(key, { item, why: whyClosed(entry.account.namespace) });
    }
    return over.length > 0;
  }

  *#addClass(c: Class): Generator<Step> {
    for (const group of c.groups) for (const side of this.#sidesWith.get(group) ?? []) yield* this.#addCell(side, c);
  }

  *#removeClass(c: Class): Generator<Step> {
    for (const side of c.sides) yield* this.#removeCell(side, c.number);
  }

  /** Only where the class means something to the profile: else it is looked up as one that means nothing. */
  *#addCell(side: Side, c: Class): Generator<Step> {
    if (c.sides.has(side)) return;
    c.sides.add(side);
    yield* this.#setCell(side, c.number, new Set([...c.groups].filter((g) => side.groups.has(g))));
  }

  /** Many classes look alike to one profile. */
  *#setCell(side: Side, cls: number, groups: ReadonlySet<string>): Generator<Step> {
    if (!this.#budget.hasRoom(side.entry.account)) return; // it will be closed as a whole
    const key = this.#keyOf(groups);
    const cell = side.cells.get(key) ?? compileCell(side.side, groups, { ownNode: side.way === 'node' });
    side.cells.set(key, cell);
    const { elements, rules } = this.#planned(side, cls, cell);
    this.#budget.add(side.entry.account, elements.length);
    side.made.set(cls, { cell, size: elements.length });
    for (const [name, objects] of rules) {
      const uses = this.#ruleUses.get(name) ?? 0;
      this.#ruleUses.set(name, uses + 1);
      if (uses > 0) continue;
      this.#set(name, objects);
      if (this.#hasDone(WORK_OF_RULE)) yield 'write';
    }
    for (const { set, key: at, value } of elements) {
      this.#setElement(set, at, value);
      if (this.#hasDone(1)) yield 'write';
    }
  }

  *#removeCell(side: Side, cls: number): Generator<Step> {
    const made = side.made.get(cls);
    if (!made) return;
    side.made.delete(cls);
    const { elements, rules } = this.#planned(side, cls, made.cell);
    for (const { set, key, value } of elements) {
      this.#setElement(set, key, undefined, value);
      if (this.#hasDone(1)) yield 'write';
    }
    for (const name of rules.keys()) {
      const uses = (this.#ruleUses.get(name) ?? 1) - 1;
      if (uses > 0) this.#ruleUses.set(name, uses);
      else {
        this.#ruleUses.delete(name);
        this.#set(name, undefined);
        if (this.#hasDone(WORK_OF_RULE)) yield 'write';
      }
    }
  }

  #planned(side: Side, cls: number, cell: Cell): { elements: NftElement[]; rules: Map<string, NftObject[]> } {
    const elements: NftElement[] = [];
    const rules = new Map<string, NftObject[]>();
    let objects: NftObject[] = [];
    for (const o of planCell(side.way, side.number, cls, cell, this.#rules)) {
      if (o.kind === 'element') elements.push(o);
      else {
        objects.push(o);
        if (o.kind !== 'chain') continue;
        rules.set(`rule ${o.name}`, objects);
        objects = [];
      }
    }
    return { elements, rules };
  }

  /** What the groups will be. Nothing leads to it yet, and nothing is written. */
  *#moveGroups(
    wanted: ReadonlyMap<string, GroupItem | undefined>,
  ): Generator<Step, { moves: Moves; fresh: Class[]; gone: string[] }> {
    const touched = new Set<string>();
    const gone: string[] = [];
    const fresh: Class[] = [];
    let changed = false;
    for (const key of new Set([...this.#groups.keys(), ...wanted.keys()])) {
      const old = this.#groups.get(key);
      const now = wanted.get(key);
      if (old === now) continue;
      const has = new Set(now?.addresses);
      const had = new Set(old?.addresses);
      for (const ip of had) if (!has.has(ip)) touched.add(this.#unlist(ip, key));
      for (const ip of has) if (!had.has(ip)) touched.add(this.#list(ip, key));
      changed ||= (old?.prefixes ?? []).join() !== (now?.prefixes ?? []).join();
      if (now) this.#groups.set(key, now);
      else {
        this.#groups.delete(key);
        gone.push(key);
      }
      if (this.#hasDone(has.size + had.size)) yield 'breath';
    }
    const classes = changed ? yield* PrefixClasses.inSteps(this.#groups) : this.#prefixes;
    if (changed) for (const ip of this.#listed.keys()) touched.add(ip);
    const addresses = new Map<string, Class | undefined>();
    let moved = changed;
    for (const ip of touched) {
      if (this.#hasDone(4)) yield 'breath';
      const listed = this.#listed.get(ip);
      const groups = listed && new Set([...listed, ...classes.groupsOf(ip)]);
      const before = this.#classOf.get(ip);
      const key = groups && this.#keyOf(groups);
      if (key === before?.key) continue;
      addresses.set(ip, key === undefined || !groups ? undefined : this.#use(key, groups, fresh));
      moved ||= before !== undefined;
    }
    const ranges = new Map<string, Class>();
    for (const piece of changed ? classes.pieces : []) {
      const { groups } = piece;
      ranges.set(rangeOf(piece), this.#use(this.#keyOf(groups), groups, fresh));
      if (this.#hasDone(4)) yield 'breath';
    }
    return { moves: { addresses, prefixes: changed ? { classes, ranges } : undefined, moved }, fresh, gone };
  }

  /** Classes that nothing will be in any more. They stand until the switch is done. */
  #releaseMoved({ addresses, prefixes }: Moves): Set<Class> {
    const dying = new Set<Class>();
    const release = (c: Class | undefined): void => {
      if (c && --c.uses === 0) dying.add(c);
    };
    for (const ip of addresses.keys()) release(this.#classOf.get(ip));
    if (prefixes) for (const c of this.#ranges.values()) release(c);
    for (const c of dying) {
      this.#classes.delete(c.key);
      for (const group of c.groups) removeFrom(this.#classesIn, group, c);
      for (const { entry, made } of c.sides) this.#budget.add(entry.account, -(made.get(c.number)?.size ?? 0));
    }
    return dying;
  }

  *#switch({ addresses, prefixes }: Moves): Generator<Step> {
    yield 'write';
    for (const [ip, now] of addresses) {
      const before = this.#classOf.get(ip);
      const [set, key, value] = classElement(ip, now?.number);
      this.#setElement(set, key, value, before && classElement(ip, before.number)[2]);
      if (this.#hasDone(1)) yield 'breath';
    }
    if (prefixes) {
      const { ranges } = prefixes;
      const put = (prefix: string, now: Class | undefined, before: Class | undefined): void => {
        const { set, key } = planClassRange(prefix, 0);
        const value = (c: Class | undefined): string | undefined => c && planClassRange(prefix, c.number).value;
        this.#setElement(set, key, value(now), value(before));
      };
      for (const [prefix, before] of this.#ranges) {
        if (!ranges.has(prefix)) put(prefix, undefined, before);
        if (this.#hasDone(1)) yield 'breath';
      }
      for (const [prefix, now] of ranges) {
        const before = this.#ranges.get(prefix);
        if (before !== now) put(prefix, now, before);
        if (this.#hasDone(1)) yield 'breath';
      }
      this.#prefixes = prefixes.classes;
      this.#ranges = ranges;
    }
    for (const [ip, now] of addresses)
      if (now) this.#classOf.set(ip, now);
      else this.#classOf.delete(ip);
  }

  /** Whether it is time for a step. */
  #hasDone(work: number): boolean {
    this.#work += work;
    if (this.#work < this.#atOnce) return false;
    this.#work = 0;
    return true;
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

  /** By numbers: the text of a group may be long, and a class may have many. */
  #keyOf(groups: ReadonlySet<string>): string {
    return [...groups]
      .map((g) => this.#groupNumbers.take(g))
      .sort((a, b) => a - b)
      .join(' ');
  }

  #use(key: string, groups: ReadonlySet<string>, fresh: Class[]): Class {
    const known = this.#classes.get(key);
    if (known) {
      known.uses++;
      return known;
    }
    const made: Class = {
      key,
      number: this.#classNumbers.take(key),
      groups: new Set(groups),
      sides: new Set(),
      uses: 1,
    };
    this.#classes.set(key, made);
    fresh.push(made);
    for (const group of made.groups) addTo(this.#classesIn, group, made);
    return made;
  }
}

const elementOf = (set: string, key: string, value: string | undefined): NftElement => ({
  kind: 'element',
  set,
  key,
  ...(value === undefined ? {} : { value }),
});

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
