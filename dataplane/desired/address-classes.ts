import type { GroupItem } from '../../api/nodeconfig.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { classElement, MOST_CLASSES, NO_CLASS, planClassRange } from '../plan/policy.ts';
import { PrefixClasses, rangeOf } from '../plan/prefix-classes.ts';
import { Numbers } from './numbers.ts';
import type { Pace, SetElement, Step } from './steps.ts';
import { addTo, removeFrom } from './sets-by-key.ts';

/** A set of groups that some address is in, of those that matter. */
export type AddressClass = {
  readonly key: string;
  readonly number: number;
  readonly groups: ReadonlySet<string>;
  uses: number;
};

/** Groups as they will be once an update has come to its end: the class that each address moves to, and all prefixes with theirs. */
export type Moves = {
  readonly addresses: Map<string, AddressClass | undefined>;
  readonly prefixes:
    | { readonly classes: PrefixClasses; readonly ranges: ReadonlyMap<string, AddressClass> }
    | undefined;
  /** Whether an address that had a class has another one. */
  readonly moved: boolean;
};

/** What a change of groups comes to: the moves, classes that are new, and groups that are gone. */
type Moved = { readonly moves: Moves; readonly fresh: AddressClass[]; readonly gone: string[] };

/** The class of every address that the groups of policies speak of: a number for the set of groups that it is in. */
export class AddressClasses {
  readonly #setElement: SetElement;
  readonly #pace: Pace;
  readonly #groups = new Map<string, GroupItem>();
  /** Groups that list an address. */
  readonly #listed = new Map<string, Set<string>>();
  readonly #classOf = new Map<string, AddressClass>();
  readonly #classes = new Map<string, AddressClass>();
  readonly #classesIn = new Map<string, Set<AddressClass>>();
  readonly #numbers = { groups: new Numbers(0, 2 ** 31), classes: new Numbers(NO_CLASS + 1, MOST_CLASSES) };
  #prefixes = new PrefixClasses([]);
  #ranges: ReadonlyMap<string, AddressClass> = new Map();

  constructor(setElement: SetElement, pace: Pace) {
    this.#setElement = setElement;
    this.#pace = pace;
  }

  /** All groups that an address is in, of those that matter here. */
  groupsOf(address: string): ReadonlySet<string> {
    return new Set([...(this.#listed.get(address) ?? []), ...this.#prefixes.groupsOf(address)]);
  }

  /** Classes of addresses that are in a group. */
  in(group: string): Iterable<AddressClass> {
    return this.#classesIn.get(group) ?? [];
  }

  /** All elements that stand once the present step is written. */
  *elements(): Generator<NftObject> {
    for (const [ip, { number }] of this.#classOf) {
      const [set, key, value = ''] = classElement(ip, number);
      yield { kind: 'element', set, key, value };
    }
    for (const [prefix, { number }] of this.#ranges) yield planClassRange(prefix, number);
  }

  /** Now that the kernel has none of them any more, their numbers may be given to others. */
  freeNumbers(dying: Iterable<AddressClass>, gone: readonly string[]): void {
    for (const c of dying) this.#numbers.classes.free(c.key);
    for (const key of gone) if (!this.#groups.has(key)) this.#numbers.groups.free(key);
  }

  /** What the groups will be. Nothing leads to it yet, and nothing is written. */
  *move(wanted: ReadonlyMap<string, GroupItem | undefined>): Generator<Step, Moved> {
    const touched = new Set<string>();
    const gone: string[] = [];
    const fresh: AddressClass[] = [];
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
      if (this.#pace.hasDone(has.size + had.size)) yield 'breath';
    }
    const classes = changed ? yield* PrefixClasses.inSteps(this.#groups) : this.#prefixes;
    if (changed) for (const ip of this.#listed.keys()) touched.add(ip);
    const addresses = new Map<string, AddressClass | undefined>();
    let moved = changed;
    for (const ip of touched) {
      if (this.#pace.hasDone(4)) yield 'breath';
      const listed = this.#listed.get(ip);
      const groups = listed && new Set([...listed, ...classes.groupsOf(ip)]);
      const before = this.#classOf.get(ip);
      const key = groups && this.keyOf(groups);
      if (key === before?.key) continue;
      addresses.set(ip, key === undefined || !groups ? undefined : this.#use(key, groups, fresh));
      moved ||= before !== undefined;
    }
    const ranges = new Map<string, AddressClass>();
    for (const piece of changed ? classes.pieces : []) {
      const { groups } = piece;
      ranges.set(rangeOf(piece), this.#use(this.keyOf(groups), groups, fresh));
      if (this.#pace.hasDone(4)) yield 'breath';
    }
    return { moves: { addresses, prefixes: changed ? { classes, ranges } : undefined, moved }, fresh, gone };
  }

  /** Classes that nothing will be in any more. They stand until the switch is done. */
  release({ addresses, prefixes }: Moves): Set<AddressClass> {
    const dying = new Set<AddressClass>();
    const release = (c: AddressClass | undefined): void => {
      if (c && --c.uses === 0) dying.add(c);
    };
    for (const ip of addresses.keys()) release(this.#classOf.get(ip));
    if (prefixes) for (const c of this.#ranges.values()) release(c);
    for (const c of dying) {
      this.#classes.delete(c.key);
      for (const group of c.groups) removeFrom(this.#classesIn, group, c);
    }
    return dying;
  }

  *switch({ addresses, prefixes }: Moves): Generator<Step> {
    yield 'write';
    for (const [ip, now] of addresses) {
      const before = this.#classOf.get(ip);
      const [set, key, value] = classElement(ip, now?.number);
      this.#setElement(set, key, value, before && classElement(ip, before.number)[2]);
      if (this.#pace.hasDone(1)) yield 'breath';
    }
    if (prefixes) {
      const { ranges } = prefixes;
      const put = (prefix: string, now: AddressClass | undefined, before: AddressClass | undefined): void => {
        const { set, key } = planClassRange(prefix, 0);
        const value = (c: AddressClass | undefined): string | undefined => c && planClassRange(prefix, c.number).value;
        this.#setElement(set, key, value(now), value(before));
      };
      for (const [prefix, before] of this.#ranges) {
        if (!ranges.has(prefix)) put(prefix, undefined, before);
        if (this.#pace.hasDone(1)) yield 'breath';
      }
      for (const [prefix, now] of ranges) {
        const before = this.#ranges.get(prefix);
        if (before !== now) put(prefix, now, before);
        if (this.#pace.hasDone(1)) yield 'breath';
      }
      this.#prefixes = prefixes.classes;
      this.#ranges = ranges;
    }
    for (const [ip, now] of addresses)
      if (now) this.#classOf.set(ip, now);
      else this.#classOf.delete(ip);
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
  keyOf(groups: ReadonlySet<string>): string {
    return [...groups]
      .map((g) => this.#numbers.groups.take(g))
      .sort((a, b) => a - b)
      .join(' ');
  }

  #use(key: string, groups: ReadonlySet<string>, fresh: AddressClass[]): AddressClass {
    const known = this.#classes.get(key);
    if (known) {
      known.uses++;
      return known;
    }
    const made: AddressClass = {
      key,
      number: this.#numbers.classes.take(key),
      groups: new Set(groups),
      uses: 1,
    };
    this.#classes.set(key, made);
    fresh.push(made);
    for (const group of made.groups) addTo(this.#classesIn, group, made);
    return made;
  }
}
