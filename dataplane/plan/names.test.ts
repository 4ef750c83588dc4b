import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CHAINS, COUNTERS, FAMILIES, FAMILY_SETS, NUMBERED_CHAINS, SETS } from './names.ts';

// One list of names: what rules are made of, what `bulkhead trace` says, and what packet-flow.md explains.

const root = join(import.meta.dirname, '../..');
const golden = readdirSync(join(import.meta.dirname, 'golden'))
  .filter((f) => f.endsWith('.nft'))
  .map((f) => readFileSync(join(import.meta.dirname, 'golden', f), 'utf8'))
  .join('\n');

const chains: ReadonlySet<string> = new Set(Object.values(CHAINS).flat());
const sets: ReadonlySet<string> = new Set([...SETS, ...FAMILY_SETS.flatMap((s) => FAMILIES.map((f) => `${s}${f}`))]);
const counters: ReadonlySet<string> = new Set(COUNTERS);

/** Sets and chains of one Service, and the log of one rule: named by what they are for. */
const isOfOne = (name: string): boolean =>
  name.includes('/') || NUMBERED_CHAINS.some((p) => name.startsWith(p) && /^\d+$/.test(name.slice(p.length)));
const namesIn = (pattern: RegExp, text = golden): string[] => [
  ...new Set([...text.matchAll(pattern)].map(([, name = '']) => name)),
];
const unknown = (names: readonly string[], known: ReadonlySet<string>): string[] =>
  names.filter((n) => !known.has(n) && !isOfOne(n));

describe('names of the table', () => {
  test('every chain, set and counter of the golden texts is in the list, and every one of the list in the texts', () => {
    expect(unknown(namesIn(/^ {2}chain (\S+)$/gm), chains)).toEqual([]);
    expect(unknown(namesIn(/^ {2}(?:set|map) (\S+)$/gm), sets)).toEqual([]);
    expect([...chains].filter((n) => !golden.includes(`  chain ${n}\n`))).toEqual([]);
    expect([...sets].filter((n) => !new RegExp(`^  (set|map) ${n}$`, 'm').test(golden))).toEqual([]);
    expect(unknown(namesIn(/counter name (\w+)/g), counters).filter((n) => !/^rule_\d+$/.test(n))).toEqual([]);
  });

  test('what a rule refers to is there', () => {
    expect(unknown(namesIn(/@([\w/.]+)/g), sets)).toEqual([]);
    expect(unknown(namesIn(/(?:goto|jump) ([^\s,]+)/g), chains)).toEqual([]);
  });

  test('`bulkhead trace` speaks of chains and sets that are there', () => {
    const trace = readdirSync(join(root, 'core'), { recursive: true, encoding: 'utf8' }).find((f) =>
      /(^|\/)trace\.ts$/.test(f),
    );
    const text = readFileSync(join(root, 'core', trace ?? ''), 'utf8');
    const spoken = {
      chains: namesIn(/(?:, |['`])chain (\w+)/g, text),
      sets: namesIn(/(?:by: ['`]|\bor )(?:set|map) (\w+)/g, text),
    };
    expect(spoken.chains.length).toBeGreaterThan(4);
    expect(spoken.sets.length).toBeGreaterThan(4);
    expect(unknown(spoken.chains, chains)).toEqual([]);
    // Of both families: "set src" is src4 or src6.
    expect(spoken.sets.filter((n) => !sets.has(n) && !sets.has(`${n}4`))).toEqual([]);
  });

  test('packet-flow.md explains names that are there', () => {
    const page = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).find((f) =>
      f.endsWith('packet-flow.md'),
    );
    const text = readFileSync(join(root, 'docs', page ?? ''), 'utf8');
    const words = namesIn(/`([a-z][a-z_]*(?:_[a-z]+|_N|_?…|[46])?)`/g, text);
    const known = new Set([...chains, ...sets, ...counters]);
    const isThere = (word: string): boolean =>
      known.has(word) ||
      (word.endsWith('_N') && NUMBERED_CHAINS.some((p) => p === word.slice(0, -1))) ||
      (word.endsWith('…') && [...known, ...NUMBERED_CHAINS].some((n) => n.startsWith(word.slice(0, -1))));
    expect(words.filter((w) => !isThere(w) && !NOT_OURS.includes(w))).toEqual([]);
    for (const chain of ['raw_pre', 'forward', 'gate_in', 'gate_out', 'instance_to_node', 'vxlan', 'nat_post'])
      expect(words).toContain(chain);
  });
});

/** Words of the page that name something else: devices, programs, switches of the kernel. */
const NOT_OURS = ['vx0', 'up0', 'bh0', 'ip', 'nft', 'rp_filter'];
