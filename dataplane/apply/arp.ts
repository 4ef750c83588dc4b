import type { Nft } from '../../lib/nft/nft.ts';
import { ARP_TABLE } from '../plan/names.ts';

/** Every neighbour of ours is permanent: what speaks ARP there only wants to be one. */
const CHAINS = {
  /** In an instance. */
  all: 'type filter hook input priority 0; policy drop;',
  /** In the root, where others have devices. */
  ours: 'type filter hook input priority 0; policy accept;',
} as const;
const RULE = 'iifname "bh*" drop';

/** Sees to it that ARP is dropped: in an instance all of it, in the root what comes from our devices. */
export function dropArp(nft: Nft, which: keyof typeof CHAINS): void {
  if (stands(nft, which)) return;
  const rules = which === 'ours' ? `add rule ${ARP_TABLE} input ${RULE}\n` : '';
  nft.run(
    `add table ${ARP_TABLE}\ndelete table ${ARP_TABLE}\nadd table ${ARP_TABLE}\nadd chain ${ARP_TABLE} input { ${CHAINS[which]} }\n${rules}`,
  );
}

function stands(nft: Nft, which: keyof typeof CHAINS): boolean {
  if (!nft.list('list tables').includes(`table ${ARP_TABLE}\n`)) return false;
  const text = nft.list(`list table ${ARP_TABLE}`);
  return which === 'all' ? text.includes('policy drop') : text.includes('iifname "bh*"');
}
