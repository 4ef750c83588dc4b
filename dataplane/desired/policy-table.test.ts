import { describe, expect, test } from 'vitest';
import { emptyNodeConfig, type ProfileItem, type ProfileRule } from '../../api/nodeconfig.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { PolicyTable } from './policy-table.ts';
import { RuleNumbers } from './rule-numbers.ts';

type Match = ProfileRule['matches'][number];
type Port = Exclude<Match['ports'], 'any'>[number];
const rule = (name: string, ports: Port[]): ProfileRule => ({
  tier: 'NetworkPolicy',
  policy: 'NetworkPolicy x/p',
  rule: name,
  action: 'Accept',
  matches: [{ peers: ['g'], ports }],
});
const ingress = (...rules: ProfileRule[]): ProfileItem => ({
  egress: { isolatedBy: [], rules: [] },
  ingress: { isolatedBy: ['NetworkPolicy x/p'], rules },
});

/** A table, and what it wants in the kernel. */
function table() {
  const config = emptyNodeConfig();
  const rules = new RuleNumbers();
  const owners = new Map<string, readonly NftObject[]>();
  const elements = new Map<string, string>();
  const written: string[] = [];
  const made = new PolicyTable({
    register: 'meta mark',
    config,
    rules: { of: (o) => rules.of(o), log: false },
    set: (owner, nft) => {
      written.push(owner);
      if (nft) owners.set(owner, nft);
      else owners.delete(owner);
    },
    setElement: (set, key, value) => {
      written.push(`${set} ${key}`);
      if (value === undefined) elements.delete(`${set} ${key}`);
      else elements.set(`${set} ${key}`, value);
    },
  });
  const texts = (set: string): string[] =>
    [...elements].flatMap(([at, value]) =>
      at.startsWith(`${set} `) ? [`${at.slice(set.length + 1)} : ${value}`] : [],
    );
  return { config, made, texts, elements, written };
}

describe('the table of policies', () => {
  test('a rule for SCTP is one for SCTP: its port, a range, and nothing of TCP or UDP', () => {
    const { config, made, texts } = table();
    config.group.set('g', { addresses: ['10.0.0.1'], prefixes: [] });
    const ports: Port[] = [
      { protocol: 'SCTP', first: 3868, last: 3868 },
      { protocol: 'SCTP', first: 5000, last: 5999 },
    ];
    config.profile.set('p', ingress(rule('diameter', ports)));
    made.update(new Set(['p']));
    expect(texts('in_port')).toEqual([expect.stringMatching(/^0x[0-9a-f]+ \. sctp \. 3868 : goto ok_in_\d+$/)]);
    expect(texts('in_range')).toEqual([expect.stringMatching(/ \. sctp \. 5000-5999 : goto ok_in_\d+$/)]);
    // Everything else of that peer, and all others, are what the isolation says.
    expect(texts('in_rest').map((t) => t.split(' : ')[1])).toEqual(
      expect.arrayContaining([expect.stringMatching(/^goto no_in_\d+$/)]),
    );
    expect(texts('in_rest').filter((t) => t.includes('ok_in'))).toEqual([]);
  });

  test('a new member of a group is one element, and so is one that leaves', () => {
    const { config, made, elements, written } = table();
    config.group.set('g', { addresses: ['10.0.0.1', '10.0.0.2'], prefixes: [] });
    for (const p of ['p', 'q', 'r'])
      config.profile.set(p, ingress(rule(p, [{ protocol: 'TCP', first: 80, last: 80 }])));
    const all = new Set(['p', 'q', 'r']);
    made.update(all);
    written.length = 0;
    config.group.set('g', { addresses: ['10.0.0.1', '10.0.0.2', '10.0.0.3'], prefixes: [] });
    expect(made.update(all)).toBe(false);
    expect(written).toEqual(['cls4 10.0.0.3']);
    expect(elements.get('cls4 10.0.0.3')).toBe(elements.get('cls4 10.0.0.1'));
    written.length = 0;
    config.group.set('g', { addresses: ['10.0.0.1', '10.0.0.3'], prefixes: [] });
    expect(made.update(all)).toBe(true);
    expect(written).toEqual(['cls4 10.0.0.2']);
    expect(elements.has('cls4 10.0.0.2')).toBe(false);
  });

  test('a profile whose group has not come yet is closed, and opens when it comes', () => {
    const { config, made, texts } = table();
    config.profile.set('p', ingress(rule('web', [{ protocol: 'TCP', first: 80, last: 80 }])));
    made.update(new Set(['p']));
    expect([texts('in_port'), made.itemOf('p')?.ingress.rules]).toEqual([[], []]);
    config.group.set('g', { addresses: ['10.0.0.1'], prefixes: [] });
    made.update(new Set(['p']));
    expect(texts('in_port')).toEqual([expect.stringContaining('tcp . 80 : goto ok_in_')]);
  });
});
