import fc from 'fast-check';
import { expect, test } from 'vitest';
import { emptyNodeConfig, type GroupItem, type ProfileItem, type ProfileRule } from '../../api/nodeconfig.ts';
import { type Cell, compileCell, lookUp } from '../../core/policy/cell.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { mustIp } from '../../lib/ip/address.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { PolicyTable } from './policy-table.ts';
import { RuleNumbers } from './rule-numbers.ts';

// What the kernel's lookups say at each moment at which an update may be written: before the switch what was, behind it what is to be.

const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.1.1', '20.0.0.1', '30.0.0.1'];
const PORTS = [79, 80, 81, 443, 8_000];

/** The elements in a kernel, and its lookups. */
class Kernel {
  readonly elements = new Map<string, string>();
  readonly chains = new Map<string, readonly NftObject[]>();
  #staged: (() => void)[] = [];

  readonly set = (owner: string, nft: readonly NftObject[] | undefined): void => {
    this.#staged.push(() => (nft ? this.chains.set(owner, nft) : this.chains.delete(owner)));
  };

  readonly setElement = (set: string, key: string, value: string | undefined, before?: string): void => {
    this.#staged.push(() => {
      expect([set, key, this.elements.get(`${set} ${key}`)]).toEqual([set, key, before]);
      if (value === undefined) this.elements.delete(`${set} ${key}`);
      else this.elements.set(`${set} ${key}`, value);
    });
  };

  write(): void {
    for (const each of this.#staged.splice(0)) each();
  }

  /** The verdict of the chain that a connection from an address ends in; the profile is the number in `in_N`. */
  asks(profile: number, address: string, port: number): string {
    const cls = this.#classOf(address);
    const chain = this.#find(profile * 2 ** 20 + cls, port) ?? this.#find(profile * 2 ** 20, port);
    if (chain === undefined) return 'unknown';
    const name = chain.replace('goto ', '');
    if (name.startsWith('ok_in') && !/\d/.test(name)) return 'Accept';
    expect([...this.chains.keys()]).toContain(`rule ${name}`);
    return name.startsWith('ok') ? 'Accept' : 'Deny';
  }

  #classOf(address: string): number {
    const own = this.elements.get(`cls4 ${address}`);
    if (own !== undefined) return Number(own);
    for (const [at, value] of this.elements) {
      const [set, range = ''] = at.split(' ');
      const [first = '', last = first] = range.split('-');
      const { value: ip } = mustIp(address);
      if (set === 'cls_range4' && mustIp(first).value <= ip && ip <= mustIp(last).value) return Number(value);
    }
    return 0;
  }

  #find(key: number, port: number): string | undefined {
    const at = `0x${key.toString(16).padStart(8, '0')}`;
    const single = this.elements.get(`in_port ${at} . tcp . ${port}`);
    if (single !== undefined) return single;
    for (const [name, value] of this.elements) {
      const range = name.startsWith(`in_range ${at} . tcp . `)
        ? name.split(' . ')[2]?.split('-').map(Number)
        : undefined;
      if (range && (range[0] ?? 0) <= port && port <= (range[1] ?? 0)) return value;
    }
    return this.elements.get(`in_proto ${at} . tcp`) ?? this.elements.get(`in_rest ${at}`);
  }
}

const group: fc.Arbitrary<GroupItem> = fc.record({
  addresses: fc.subarray(ADDRESSES, { maxLength: 3 }),
  prefixes: fc.subarray(['10.0.0.0/24', '10.0.0.0/16', '20.0.0.0/8', '0.0.0.0/0']),
});
const GROUPS = ['g0', 'g1', 'g2'];
const rule: fc.Arbitrary<ProfileRule> = fc.record({
  tier: fc.constantFrom('Admin', 'NetworkPolicy'),
  policy: fc.constant('NetworkPolicy x/p'),
  rule: fc.integer({ min: 0, max: 3 }).map((n) => `rule ${n}`),
  action: fc.constantFrom('Accept', 'Deny'),
  matches: fc.array(
    fc.record({
      peers: fc.oneof(fc.constant('any' as const), fc.subarray(GROUPS, { minLength: 1 })),
      ports: fc.oneof(
        fc.constant('any' as const),
        fc
          .subarray(PORTS)
          .map((all) => all.map((p) => ({ protocol: 'TCP' as const, first: p, last: p + (p > 400 ? 20 : 0) }))),
      ),
    }),
    { maxLength: 2 },
  ),
});
const profile: fc.Arbitrary<ProfileItem> = fc.array(rule, { maxLength: 4 }).map((rules) => ({
  egress: { isolatedBy: [], rules: [] },
  ingress: {
    isolatedBy: ['NetworkPolicy x/p'],
    rules: rules.map((r) => (r.tier === 'NetworkPolicy' ? { ...r, action: 'Accept' as const } : r)),
  },
}));
type State = {
  readonly groups: readonly GroupItem[];
  readonly profiles: Readonly<Record<string, ProfileItem>>;
};
/** What is undefined stays as it was. */
const change = fc.record({
  groups: fc.tuple(...GROUPS.map(() => fc.option(group, { nil: undefined }))),
  profiles: fc.option(fc.dictionary(fc.constantFrom('p', 'q', 'r'), profile), { nil: undefined }),
});

test('at each moment of an update every pod has the verdicts of before, and from the switch on those of now', () => {
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 5 }), (changes) => {
      const config = emptyNodeConfig();
      const kernel = new Kernel();
      const rules = new RuleNumbers();
      const { set, setElement } = kernel;
      const table = new PolicyTable({
        register: 'meta mark',
        config,
        rules: { of: (o) => rules.of(o), log: false },
        ...{ set, setElement },
        atOnce: 1,
      });
      let pods: readonly (readonly [string, number])[] = [];
      let before: State = { groups: [empty, empty, empty], profiles: {} };
      const check = (of: State): void => {
        for (const [key, number] of pods)
          for (const address of ADDRESSES)
            for (const port of PORTS)
              expect([key, address, port, kernel.asks(number, address, port)]).toEqual([
                key,
                address,
                port,
                verdictOf(of, key, address, port),
              ]);
      };
      for (const { groups, profiles = before.profiles } of changes) {
        const now: State = { groups: groups.map((g, i) => g ?? before.groups[i] ?? empty), profiles };
        for (const [i, g] of GROUPS.entries()) config.group.set(g, now.groups[i] as GroupItem);
        config.profile.clear();
        for (const [key, item] of Object.entries(now.profiles)) config.profile.set(key, item);
        const inUse = new Set(Object.keys(now.profiles));
        for (const step of table.steps(inUse)) {
          if (step === 'breath') continue;
          if (step === 'switch') {
            pods = [...inUse].map((key) => [key, numberOf(table.chainsOf(key).to?.name)] as const);
            before = now;
          }
          kernel.write();
          check(before);
          // A write of the whole table now writes what stands.
          if (step === 'switch') {
            const whole = new Set(
              [...table.elements()].map((o) => (o.kind === 'element' ? `${o.set} ${o.key} ${o.value}` : '')),
            );
            for (const [at, value] of kernel.elements) whole.delete(`${at} ${value}`);
            expect([...whole]).toEqual([]);
          }
        }
        const left = [...table.elements()].flatMap((o) =>
          o.kind === 'element' ? [[`${o.set} ${o.key}`, o.value] as const] : [],
        );
        expect(new Map([...kernel.elements].sort())).toEqual(
          new Map(left.map(([k, v]) => [k, v ?? ''] as const).sort()),
        );
      }
      for (const _ of table.steps(new Set())) kernel.write();
      kernel.write();
      expect([[...kernel.elements.keys()], [...kernel.chains.keys()]]).toEqual([[], []]);
    }),
    { numRuns: 30 },
  );
});

const empty: GroupItem = { addresses: [], prefixes: [] };
const numberOf = (chain: string | undefined): number => Number(/\d+$/.exec(chain ?? '')?.[0]);

const cells = new WeakMap<ProfileItem, Map<string, Cell>>();
function verdictOf(of: State, key: string, address: string, port: number): string {
  const item = of.profiles[key];
  if (!item) return 'unknown';
  const inside = GROUPS.filter((_, i) => {
    const { addresses, prefixes } = of.groups[i] ?? empty;
    return addresses.includes(address) || prefixes.some((p) => contains(mustPrefix(p), mustIp(address)));
  });
  const known = cells.get(item) ?? new Map<string, Cell>();
  cells.set(item, known);
  const cell = known.get(inside.join()) ?? compileCell(item.ingress, new Set(inside));
  known.set(inside.join(), cell);
  return lookUp(cell, 'TCP', port).verdict;
}
