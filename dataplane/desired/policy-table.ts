import type { NodeConfig, ProfileItem, ProfileSide } from '../../api/nodeconfig.ts';
import { type Cell, compileCell } from '../../core/policy/cell.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import {
  MOST_PROFILES,
  NO_CLASS,
  planCell,
  planProfileChain,
  profileChain,
  type Register,
  type Rules,
  type Way,
} from '../plan/policy.ts';
import type { PodChain, PodChains } from '../plan/pod.ts';
import { type AddressClass, AddressClasses } from './address-classes.ts';
import { type Account, CellBudget, whyClosed } from './cell-budget.ts';
import { Numbers } from './numbers.ts';
import { Pace, type SetElement, type Step } from './steps.ts';
import { addTo, removeFrom } from './sets-by-key.ts';

/** Pods that no policy selects. */
export const NO_POLICY: PodChains = {};

/** For pods whose policies do not stand in the table yet. */
export const UNPLANNED: PodChains = {
  from: { name: 'unplanned', ask: false },
  to: { name: 'unplanned', ask: false },
};

/** For pods that may be selected by a policy that the controller has not sent yet. */
export const CLOSED = '(closed)';
const closedSide: ProfileSide = { isolatedBy: ['(the controller has not sent this pod yet)'], rules: [] };
const CLOSED_PROFILE: ProfileItem = { egress: closedSide, ingress: closedSide };

/** For pods whose policies are too much for this node. */
const overSide: ProfileSide = { isolatedBy: ['(over the budget of this node)'], rules: [] };
const OVER_PROFILE: ProfileItem = { egress: overSide, ingress: overSide };

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
export type PolicyTableOptions = {
  readonly register: Register;
  readonly config: NodeConfig;
  readonly rules: Rules;
  /** Chains and counters that one owner wants in the table from now on. */
  readonly set: (owner: string, nft: readonly NftObject[] | undefined) => void;
  /** An element comes, changes or, without a value, goes. */
  readonly setElement: SetElement;
  /** Elements of one step. */
  readonly atOnce?: number;
};

/**
 * Policies in one table: the profiles of the pods that are there, and classes for all addresses that those speak of. Each update
 * costs what has changed: a group's new address is one element, unless it is the first of its class.
 *
 * An update is made of steps, since one tenant's policies may be many thousands of elements. First comes what is new, under numbers
 * that nothing leads to; then, at once, addresses get their new classes and pods their new profiles; then what is old goes.
 */
export class PolicyTable {
  readonly #options: PolicyTableOptions;
  readonly #pace: Pace;
  readonly #classes: AddressClasses;
  readonly #profiles = new Map<string, Entry>();
  readonly #profileNumbers = new Numbers(1, MOST_PROFILES);
  /** Makes the keys of profile numbers unique. */
  #entries = 0;
  /** Sides of profiles with rules that name a group. */
  readonly #sidesWith = new Map<string, Set<Side>>();
  /** Sides of profiles that have a cell for a class. */
  readonly #sidesOf = new Map<AddressClass, Set<Side>>();
  /** How many cells end up with a rule, by the name of its objects. */
  readonly #ruleUses = new Map<string, number>();
  /** Profiles that were closed since they make too much, each as it was then. */
  readonly #over = new Map<string, { readonly item: ProfileItem; readonly why: string }>();
  readonly #budget = new CellBudget();

  constructor(options: PolicyTableOptions) {
    this.#options = options;
    this.#pace = new Pace(options.atOnce);
    this.#classes = new AddressClasses(options.setElement, this.#pace);
  }

  /** Chains of a profile that the last update knew. */
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
    return this.#classes.groupsOf(address);
  }

  /** All elements that stand once the present step is written: for a table that is written whole. */
  *elements(): Generator<NftObject> {
    for (const { sides } of this.#profiles.values())
      for (const side of sides)
        for (const [cls, { cell }] of side.made)
          yield* planCell(side.way, side.number, cls, cell, this.#options.rules).filter((o) => o.kind === 'element');
    yield* this.#classes.elements();
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
      if (!inUse.has(key) || this.#options.config.profile.get(key) !== item) this.#over.delete(key);
    const wanted = new Map([...inUse].map((key) => [key, this.#itemFor(key)]));
    const changed = new Set<string>();
    const known = new Set(this.#profiles.keys());
    for (const [key, { item }] of this.#profiles) if (wanted.get(key) !== item) changed.add(key);
    for (const key of wanted.keys()) if (!this.#profiles.has(key)) changed.add(key);
    const old = [...changed].flatMap((key) => this.#profiles.get(key) ?? []);
    for (const entry of old) this.#detach(entry);

    // As they are now: the configuration changes while the steps are made.
    const groups = new Map(
      [...wanted.values()].flatMap((item) =>
        [...groupsIn(item)].map((g) => [g, this.#options.config.group.get(g)] as const),
      ),
    );
    const { moves, fresh, gone } = yield* this.#classes.move(groups);
    const dying = this.#classes.release(moves);
    for (const c of dying)
      for (const { entry, made } of this.#sidesOf.get(c) ?? [])
        this.#budget.add(entry.account, -(made.get(c.number)?.size ?? 0));
    const made = new Map<string, Entry>();
    for (const key of changed) {
      const item = wanted.get(key);
      if (item) made.set(key, yield* this.#addProfile(key, item));
    }
    for (const c of fresh) if (c.uses > 0) yield* this.#addClass(c);
    const over = yield* this.#closeOver(made, old, wanted);

    yield* this.#classes.switch(moves);
    for (const key of changed) this.#profiles.delete(key);
    for (const [key, entry] of made) this.#profiles.set(key, entry);
    yield 'switch';

    for (const entry of old) yield* this.#removeProfile(entry);
    for (const c of dying) yield* this.#removeClass(c);
    yield 'write';
    // Now that the kernel has none of them any more, their numbers may be given to others.
    for (const { sides } of old) for (const { numberKey } of sides) this.#profileNumbers.free(numberKey);
    this.#classes.freeNumbers(dying, gone);
    return moves.moved || over || [...changed].some((key) => known.has(key));
  }

  /** A profile that is not whole yet is closed: without its groups it is not known whom a denial means. */
  #itemFor(key: string): ProfileItem {
    const item = this.#options.config.profile.get(key);
    if (item && this.#over.has(key)) return OVER_PROFILE;
    return item && [...groupsIn(item)].every((g) => this.#options.config.group.has(g)) ? item : CLOSED_PROFILE;
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
      this.#options.set(`profile ${number}`, planProfileChain(this.#options.register, way, number, toNode));
    }
    for (const side of sides) {
      yield* this.#setCell(side, NO_CLASS, new Set());
      for (const group of side.groups) {
        for (const c of this.#classes.in(group)) yield* this.#addCell(side, c);
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
        for (const c of this.#classes.in(group)) this.#sidesOf.get(c)?.delete(side);
      }
      for (const { size } of side.made.values()) this.#budget.add(account, -size);
    }
  }

  *#removeProfile({ sides }: Entry): Generator<Step> {
    // At once: the chain of one side goes on in that of another.
    for (const { number } of sides) this.#options.set(`profile ${number}`, undefined);
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

  *#addClass(c: AddressClass): Generator<Step> {
    for (const group of c.groups) for (const side of this.#sidesWith.get(group) ?? []) yield* this.#addCell(side, c);
  }

  *#removeClass(c: AddressClass): Generator<Step> {
    for (const side of this.#sidesOf.get(c) ?? []) yield* this.#removeCell(side, c.number);
    this.#sidesOf.delete(c);
  }

  /** Only where the class means something to the profile: else it is looked up as one that means nothing. */
  *#addCell(side: Side, c: AddressClass): Generator<Step> {
    if (this.#sidesOf.get(c)?.has(side)) return;
    addTo(this.#sidesOf, c, side);
    yield* this.#setCell(side, c.number, new Set([...c.groups].filter((g) => side.groups.has(g))));
  }

  /** Many classes look alike to one profile. */
  *#setCell(side: Side, cls: number, groups: ReadonlySet<string>): Generator<Step> {
    if (!this.#budget.hasRoom(side.entry.account)) return; // it will be closed as a whole
    const key = this.#classes.keyOf(groups);
    const cell = side.cells.get(key) ?? compileCell(side.side, groups, { ownNode: side.way === 'node' });
    side.cells.set(key, cell);
    const { elements, rules } = this.#planned(side, cls, cell);
    this.#budget.add(side.entry.account, elements.length);
    side.made.set(cls, { cell, size: elements.length });
    for (const [name, objects] of rules) {
      const uses = this.#ruleUses.get(name) ?? 0;
      this.#ruleUses.set(name, uses + 1);
      if (uses > 0) continue;
      this.#options.set(name, objects);
      if (this.#pace.hasDone(WORK_OF_RULE)) yield 'write';
    }
    for (const { set, key: at, value } of elements) {
      this.#options.setElement(set, at, value);
      if (this.#pace.hasDone(1)) yield 'write';
    }
  }

  *#removeCell(side: Side, cls: number): Generator<Step> {
    const made = side.made.get(cls);
    if (!made) return;
    side.made.delete(cls);
    const { elements, rules } = this.#planned(side, cls, made.cell);
    for (const { set, key, value } of elements) {
      this.#options.setElement(set, key, undefined, value);
      if (this.#pace.hasDone(1)) yield 'write';
    }
    for (const name of rules.keys()) {
      const uses = (this.#ruleUses.get(name) ?? 1) - 1;
      if (uses > 0) this.#ruleUses.set(name, uses);
      else {
        this.#ruleUses.delete(name);
        this.#options.set(name, undefined);
        if (this.#pace.hasDone(WORK_OF_RULE)) yield 'write';
      }
    }
  }

  #planned(side: Side, cls: number, cell: Cell): { elements: NftElement[]; rules: Map<string, NftObject[]> } {
    const elements: NftElement[] = [];
    const rules = new Map<string, NftObject[]>();
    let objects: NftObject[] = [];
    for (const o of planCell(side.way, side.number, cls, cell, this.#options.rules)) {
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
}

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
