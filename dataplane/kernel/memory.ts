import type { Nft } from '../../lib/nft/nft.ts';
import { keyOf, type NftObject, type TableName } from '../../lib/nft/program.ts';
import { ruleOfCounter } from '../plan/policy.ts';

/**
 * A program with what the table in the kernel has learnt since it was written: elements that packets have added (which backend a
 * client is with) and how long they still live, and what counters have counted. A table that is written anew goes on with it.
 *
 * @param rules whether counters of rules go on too: their numbers mean other rules after a restart of the agent
 */
export function withMemory(
  nft: Pick<Nft, 'elements' | 'counters'>,
  table: TableName,
  program: readonly NftObject[],
  { rules }: { readonly rules: boolean },
): NftObject[] {
  const wanted = new Set(program.map(keyOf));
  const counted = new Map(nft.counters(table).map((c) => [c.name, c]));
  return program.flatMap((o): NftObject[] => {
    if (o.kind === 'counter') {
      const before = rules || ruleOfCounter(o.name) === undefined ? counted.get(o.name) : undefined;
      return [before ?? o];
    }
    if (o.kind !== 'set' || o.timeout === undefined) return [o];
    const most = o.timeout * 1000;
    const learnt = nft.elements(table, o).filter((e) => !wanted.has(keyOf(e)));
    return [o, ...learnt.map((e) => ({ ...e, expires: Math.min(e.expires ?? most, most) }))];
  });
}
