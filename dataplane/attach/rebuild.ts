import type { IpamEvent } from '../../core/ipam/ipam-event.ts';
import type { NodeIpam } from '../../core/ipam/node-ipam.ts';
import { replay } from '../../core/ipam/replay.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import type { Attachment, JournalEntry } from './attachment.ts';

/** What a journal tells. */
export type Rebuilt = {
  readonly byId: ReadonlyMap<string, Attachment>;
  /** Assigned blocks that the node has done with. */
  readonly returned: ReadonlySet<string>;
  /** Addresses that were taken, also for an ADD which never came to its end. */
  readonly owned: ReadonlySet<string>;
  /** Entries that contradict those before them. */
  readonly passedOver: number;
};

/**
 * Replays a journal on an empty {@link NodeIpam}. Entries that cannot be used (something else has written into the file, or memory has failed)
 * are passed over: the node must come up, and what the others tell of running pods counts. Addresses of pods that run stay theirs.
 */
export function rebuild(entries: readonly JournalEntry[], ipam: NodeIpam): Rebuilt {
  const byId = new Map<string, Attachment>();
  const returned = new Set<string>();
  const owned = new Set<string>();
  let passedOver = 0;
  for (const entry of entries) {
    if (entry.op === 'attach') byId.set(entry.attachment.id, entry.attachment);
    else if (entry.op === 'detach') byId.delete(entry.id);
    else if (canReplay(ipam, entry)) {
      if (entry.op === 'block') returned.delete(entry.cidr);
      if (entry.op === 'unblock' && entry.given) returned.add(entry.cidr);
      if (entry.op === 'take') owned.add(entry.ip);
    } else passedOver++;
  }
  for (const { id, network, ips } of byId.values())
    for (const ip of ips) {
      if (ipam.ownerOf(ip) !== undefined || canReplay(ipam, { op: 'take', ip, owner: id })) continue;
      canReplay(ipam, { op: 'block', cidr: hostCidr(ip), network });
      canReplay(ipam, { op: 'take', ip, owner: id });
    }
  return { byId, returned, owned, passedOver };
}

function canReplay({ held }: NodeIpam, event: IpamEvent): boolean {
  try {
    replay(held, event);
    return true;
  } catch {
    return false;
  }
}
