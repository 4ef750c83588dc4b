import type { GroupItem } from '../../api/nodeconfig.ts';
import { type Ip, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';

/** Which of some known addresses are in a group, worked out once for each group: to ask again costs one look-up. */
export class Membership {
  readonly #known: readonly { readonly text: string; readonly ip: Ip }[];
  readonly #members = new WeakMap<GroupItem, ReadonlySet<string>>();

  constructor(addresses: Iterable<string>) {
    this.#known = [...new Set(addresses)]
      .map((text) => ({ text, ip: mustIp(text) }))
      .sort((a, b) => compare(a.ip, b.ip));
  }

  of(item: GroupItem): ReadonlySet<string> {
    const known = this.#members.get(item);
    if (known) return known;
    const members = new Set(item.addresses);
    for (const text of item.prefixes) for (const address of this.#inside(mustPrefix(text))) members.add(address);
    this.#members.set(item, members);
    return members;
  }

  *#inside(prefix: Prefix): Generator<string> {
    let [low, high] = [0, this.#known.length];
    const first = { family: prefix.family, value: prefix.first };
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare((this.#known[middle] as { ip: Ip }).ip, first) < 0) low = middle + 1;
      else high = middle;
    }
    for (let at = low; at < this.#known.length; at++) {
      const { text, ip } = this.#known[at] as { text: string; ip: Ip };
      if (!contains(prefix, ip)) return;
      yield text;
    }
  }
}

const compare = (a: Ip, b: Ip): number => a.family - b.family || (a.value < b.value ? -1 : a.value > b.value ? 1 : 0);
