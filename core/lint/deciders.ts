import type { ProfileSide } from '../../api/nodeconfig.ts';
import { AddressClasses } from '../policy/address-classes.ts';
import { compileCell, lookUp, meets, speakingRules } from '../policy/cell.ts';
import type { Profile } from '../policy/profile.ts';
import type { Direction } from '../cluster/policy.ts';

/** A rule in its place. */
export type RuleKey = string;
export const ruleKey = (policy: string, direction: Direction, rule: string): RuleKey =>
  `${policy} ${direction} ${rule}`;

/** What profiles make of their rules. Each profile is looked at once, however many pods share it. */
export class Deciders {
  /** Rules that have a say, for some pod, some address and some port. */
  readonly speaking = new Set<RuleKey>();
  /** A profile for each rule that is in any. */
  readonly #profiles = new Map<RuleKey, Profile>();
  readonly #seen = new Map<string, { readonly dns: boolean }>();
  readonly #addresses = new AddressClasses();
  readonly #classes = new WeakMap<Profile, readonly ReadonlySet<string>[]>();
  readonly #dnsPorts: readonly number[];

  /** @param dnsPorts UDP ports by which names may be resolved */
  constructor(dnsPorts: readonly number[]) {
    this.#dnsPorts = dnsPorts;
  }

  /** @returns whether any question to a DNS server may leave */
  add(profile: Profile): { readonly dns: boolean } {
    const known = this.#seen.get(profile.key);
    if (known) return known;
    const classes = this.#classesOf(profile);
    for (const direction of ['ingress', 'egress'] as const) {
      const side = profile.item[direction];
      for (const { policy, rule } of side.rules) {
        const key = ruleKey(policy, direction, rule);
        if (!this.#profiles.has(key)) this.#profiles.set(key, profile);
      }
      for (const narrow of sidesByClass(side, classes)) this.#listen(narrow.side, direction, narrow.groups);
    }
    const found = { dns: asksDns(profile.item.egress, classes, this.#dnsPorts) };
    this.#seen.set(profile.key, found);
    return found;
  }

  #classesOf(profile: Profile): readonly ReadonlySet<string>[] {
    const known = this.#classes.get(profile) ?? this.#addresses.of(profile.groups);
    this.#classes.set(profile, known);
    return known;
  }

  #listen(side: ProfileSide, direction: Direction, groups: ReadonlySet<string>): void {
    const baseline = direction === 'egress' && side.rules.some((r) => r.tier === 'Baseline');
    // NetworkPolicies do not stand between a pod and its node: there Baseline may have the first word.
    for (const ownNode of baseline ? [false, true] : [false])
      for (const { policy, rule } of speakingRules(side, groups, { ownNode }))
        if (rule !== '') this.speaking.add(ruleKey(policy, direction, rule));
  }

  /** Some of the rules that have a say where this one matches. */
  before(key: RuleKey, direction: Direction): string[] {
    const profile = this.#profiles.get(key);
    if (!profile) return [];
    const side = profile.item[direction];
    const own = side.rules.find((r) => ruleKey(r.policy, direction, r.rule) === key);
    const found = new Set<string>();
    const note = ({ policy, rule }: { readonly policy: string; readonly rule: string }): void => {
      if (rule !== '') found.add(`${policy} ${rule}`);
    };
    let asked = 0;
    for (const groups of this.#classesOf(profile)) {
      const ports = own?.matches.flatMap((m) => (meets(m.peers, groups) ? [m.ports] : [])) ?? [];
      if (ports.length === 0) continue;
      const cell = compileCell(side, groups);
      for (const set of ports)
        if (set === 'any') note(cell.other);
        else for (const { protocol, first } of set) note(lookUp(cell, protocol, first));
      if (found.size >= MOST_NAMED || ++asked >= MOST_ASKED) break;
    }
    return [...found].slice(0, MOST_NAMED);
  }
}

/** Classes that are asked for the names of other rules. */
const MOST_ASKED = 16;
const MOST_NAMED = 3;

type Narrow = { readonly side: ProfileSide; readonly groups: ReadonlySet<string> };

/** The rules that matter to each class, found by group: a policy of a hundred rules has a hundred classes. */
function sidesByClass(side: ProfileSide, classes: readonly ReadonlySet<string>[]): Narrow[] {
  const anyPeer: number[] = [];
  const byGroup = new Map<string, number[]>();
  for (const [at, { matches }] of side.rules.entries())
    for (const { peers } of matches)
      if (peers === 'any') anyPeer.push(at);
      else
        for (const key of peers) {
          const places = byGroup.get(key);
          if (places) places.push(at);
          else byGroup.set(key, [at]);
        }
  const found = new Map<string, Narrow>();
  for (const groups of classes) {
    const places = new Set([...anyPeer, ...[...groups].flatMap((key) => byGroup.get(key) ?? [])]);
    const sorted = [...places].sort((a, b) => a - b);
    // A class may meet the groups of one rule in different ways: by different ports.
    const key = `${sorted.join()} ${[...groups].filter((g) => byGroup.has(g)).join('\n')}`;
    if (!found.has(key))
      found.set(key, { side: { ...side, rules: sorted.flatMap((at) => side.rules[at] ?? []) }, groups });
  }
  return [...found.values()];
}

function asksDns(side: ProfileSide, classes: readonly ReadonlySet<string>[], ports: readonly number[]): boolean {
  if (side.isolatedBy.length === 0) return true;
  return sidesByClass(side, classes).some((narrow) => {
    const cell = compileCell(narrow.side, narrow.groups);
    return ports.some((port) => lookUp(cell, 'UDP', port).verdict === 'Accept');
  });
}
