import { formatIp, mustIp } from '../../lib/ip/address.ts';
import type { HeldBlocks } from './held-blocks.ts';
import type { IpamEvent } from './ipam-event.ts';

/** Replays what happened before. Events that contradict the state are refused with a RangeError. */
export function replay(held: HeldBlocks, event: IpamEvent): void {
  switch (event.op) {
    case 'block':
      held.add(event.cidr, event.network, event.given ?? false);
      return;
    case 'unblock':
      held.delete(event.cidr);
      return;
    case 'take': {
      const block = held.at(event.ip);
      const { value } = mustIp(event.ip);
      const owner = block?.taken.get(value);
      if (!block) throw new RangeError(`journal: address ${event.ip} is in no block`);
      if (owner !== undefined && owner !== event.owner)
        throw new RangeError(`journal: address ${event.ip} has two owners, ${owner} and ${event.owner}`);
      block.taken.set(value, event.owner);
      block.resting.delete(value);
      if (event.fixed) block.fixed.add(value);
      else block.next = value + 1n;
      return;
    }
    case 'release': {
      const block = held.at(event.ip);
      const { value } = mustIp(event.ip);
      block?.taken.delete(value);
      block?.fixed.delete(value);
      block?.resting.set(value, event.at);
    }
  }
}

/** The events that rebuild this state from empty: what a compacted journal holds. */
export function snapshotOf(held: HeldBlocks): IpamEvent[] {
  return held.all.flatMap((b): IpamEvent[] => {
    const text = (value: bigint): string => formatIp({ family: b.prefix.family, value });
    return [
      { op: 'block', cidr: b.cidr, network: b.network, ...(b.given ? { given: true as const } : {}) },
      ...[...b.resting].map(([value, at]): IpamEvent => ({ op: 'release', ip: text(value), at })),
      ...[...b.taken].map(
        ([value, owner]): IpamEvent => ({
          op: 'take',
          ip: text(value),
          owner,
          ...(b.fixed.has(value) ? { fixed: true } : {}),
        }),
      ),
    ];
  });
}

/** Takes back events that were just returned, and could not be written down: as if they had never been. */
export function undo(held: HeldBlocks, events: readonly IpamEvent[]): void {
  for (const e of [...events].reverse()) undoOne(held, e);
}

function undoOne(held: HeldBlocks, event: IpamEvent): void {
  if (event.op === 'block') held.delete(event.cidr);
  else if (event.op === 'unblock') held.add(event.cidr, event.network, event.given ?? false);
  else if (event.op === 'take') {
    const block = held.at(event.ip);
    block?.taken.delete(mustIp(event.ip).value);
    block?.fixed.delete(mustIp(event.ip).value);
  }
}
