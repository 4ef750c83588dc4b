import { setImmediate } from 'node:timers/promises';
import type { Outcome } from '../../core/policy/cell.ts';
import type { Nft } from '../../lib/nft/nft.ts';
import { TABLE } from '../plan/names.ts';
import { ruleOfCounter } from '../plan/policy.ts';

/** How often a rule has decided since the tables were made. */
export type RuleHits = {
  readonly tier: string;
  readonly policy: string;
  readonly rule: string;
  readonly verdict: string;
  readonly hits: number;
};

/** Packets so far. */
export type Counters = {
  /** Refused or dropped, by reason and network. */
  readonly drops: Map<string, { network: string; packets: number }[]>;
  /** What rules of policies decided. */
  readonly rules: RuleHits[];
};

/**
 * Reads the named counters of our table in each of the networks; one network after the other, with room for other work between. One
 * that cannot be read is left out.
 */
export async function readCounters(
  networks: Iterable<readonly [network: string, nft: Nft]>,
  ruleOf: (number: number) => Outcome | undefined,
): Promise<Counters> {
  const drops: Counters['drops'] = new Map();
  const rules = new Map<number, RuleHits>();
  for (const [network, nft] of networks) {
    const text = listCounters(nft);
    await setImmediate();
    for (const [, name = '', count] of text.matchAll(/counter (\w+) \{\s*packets (\d+)/g)) {
      const packets = Number(count);
      const number = ruleOfCounter(name);
      if (number === undefined) {
        drops.set(name, [...(drops.get(name) ?? []), { network, packets }]);
        continue;
      }
      const rule = ruleOf(number);
      if (rule) rules.set(number, { ...rule, hits: packets + (rules.get(number)?.hits ?? 0) });
    }
  }
  return { drops, rules: [...rules.values()] };
}

function listCounters(nft: Nft): string {
  try {
    return nft.list(`list counters table ${TABLE}`);
  } catch {
    return ''; // it is on its way in or out, or no file is left for it
  }
}
