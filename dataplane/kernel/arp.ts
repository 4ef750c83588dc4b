import type { Nft } from '../../lib/nft/nft.ts';
import { ARP_TABLE } from '../plan/names.ts';

// Every neighbour of ours is permanent: what speaks ARP there only wants to be one.

/** Drops all ARP, in an instance. Done again it changes nothing. */
export function dropArp(nft: Nft): void {
  nft.run(`add table ${ARP_TABLE}\nadd chain ${ARP_TABLE} input { type filter hook input priority 0; policy drop; }\n`);
}

/** Drops ARP on our devices, in the root, where others have devices too. */
export function dropOurArp(nft: Nft): void {
  const stands = nft.list('list tables').includes(`table ${ARP_TABLE}\n`);
  if (stands && nft.list(`list table ${ARP_TABLE}`).includes(RULE)) return;
  nft.run(
    `add table ${ARP_TABLE}\ndelete table ${ARP_TABLE}\nadd table ${ARP_TABLE}\n` +
      `add chain ${ARP_TABLE} input { type filter hook input priority 0; policy accept; }\n` +
      `add rule ${ARP_TABLE} input ${RULE}\n`,
  );
}

const RULE = 'iifname "bh*" drop';
