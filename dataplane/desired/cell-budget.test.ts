import { expect, test } from 'vitest';
import { BUDGETS } from '../../api/budgets.ts';
import { emptyNodeConfig, type ProfileItem, type ProfileSide } from '../../api/nodeconfig.ts';
import { PolicyTable } from './policy-table.ts';
import { RuleNumbers } from './rule-numbers.ts';

const NOTHING: ProfileSide = { isolatedBy: [], rules: [] };

/** Every address is in groups of its own choice of `rules`: as many classes as addresses, each with the ports of all of them. */
function profile(namespace: string, rules: number, ports: number): ProfileItem {
  const policy = `NetworkPolicy ${namespace}/p`;
  return {
    egress: NOTHING,
    ingress: {
      isolatedBy: [policy],
      rules: Array.from({ length: rules }, (_, r) => ({
        tier: 'NetworkPolicy',
        policy,
        rule: `ingress[${r}]`,
        action: 'Accept',
        matches: [
          {
            peers: [`${namespace} g${r}`],
            ports: Array.from({ length: ports }, (__, p) => ({
              protocol: 'TCP',
              first: 1 + 2 * (r * ports + p),
              last: 1 + 2 * (r * ports + p),
            })),
          },
        ],
      })),
    },
  };
}

function tableWith(addresses: number) {
  const config = emptyNodeConfig();
  const elements = new Set<string>();
  const rules = new RuleNumbers();
  const table = new PolicyTable({
    register: 'meta mark',
    config,
    rules: { of: (o) => rules.of(o), log: false },
    set: () => undefined,
    setElement: (set, key, value) =>
      void (value === undefined ? elements.delete(`${set} ${key}`) : elements.add(`${set} ${key}`)),
  });
  const RULES = 10;
  const add = (namespace: string, ports: number): string => {
    config.profile.set(namespace, profile(namespace, RULES, ports));
    for (let r = 0; r < RULES; r++)
      config.group.set(`${namespace} g${r}`, {
        addresses: Array.from({ length: addresses }, (_, i) => i + 1).flatMap((i) =>
          i & (1 << r) ? [`10.1.${i >> 8}.${i & 255}`] : [],
        ),
        prefixes: [],
      });
    return namespace;
  };
  const size = (): number => [...elements].filter((e) => !e.startsWith('cls')).length;
  return { table, add, size };
}

test('what overlaps more than was estimated is closed, says so, and leaves the others', () => {
  const { table, add, size } = tableWith(1_000);
  const [mine, other] = [add('mine', 100), add('other', 1)];
  expect(table.update(new Set([mine, other]))).toBe(true);
  expect([...table.overBudget]).toEqual([expect.stringContaining('policies of namespace mine')]);
  expect(table.itemOf(mine)?.ingress.rules).toEqual([]);
  expect(table.chainsOf(mine)).toMatchObject({ from: { ask: true }, to: { ask: true } });
  expect(table.itemOf(other)?.ingress.rules).toHaveLength(10);
  expect(size()).toBeLessThan(2 * BUDGETS.namespaceCells);
  // It stays closed without another try, and opens when it asks for less.
  table.update(new Set([mine, other]));
  expect(table.update(new Set([mine, other]))).toBe(false);
  add('mine', 1);
  table.update(new Set([mine, other]));
  expect(table.overBudget.size).toBe(0);
  expect(table.itemOf(mine)?.ingress.rules).toHaveLength(10);
});
