import { MessageWriter } from '../netlink/message.ts';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, type NetlinkSocket, type Request } from '../netlink/socket.ts';
import { type EncodedElement, encodeElement, type NftSet } from './elements.ts';
import type { NftChange, TableName } from './program.ts';

/** Everything of a change that concerns one set, as the kernel takes it. */
type SetChange = { readonly removed: EncodedElement[]; readonly added: EncodedElement[] };

/** Messages that go straight to the kernel: libnftables first reads all sets and chains of the namespace again, whatever the change. */
export type ElementBatch = { readonly removed: readonly Request[]; readonly added: readonly Request[] };

/** These changes as the kernel takes them; undefined when they are more than plain elements, or too many. */
export function encodeChanges(
  table: TableName,
  changes: readonly NftChange[],
  setOf: (name: string) => NftSet | undefined,
): ElementBatch | undefined {
  if (changes.length > MOST_CHANGES) return undefined;
  const bySet = new Map<string, SetChange>();
  for (const { verb, object, ...change } of changes) {
    if (object.kind !== 'element') return undefined;
    const set = setOf(object.set);
    const elements = set && encodeElement(set, object);
    if (!elements) return undefined;
    const of = bySet.get(object.set) ?? { removed: [], added: [] };
    bySet.set(object.set, of);
    // The value of an element cannot be changed in place.
    if (verb === 'delete' || ('before' in change && change.before)) of.removed.push(...elements);
    if (verb === 'set') {
      if (set.to !== undefined && object.value === undefined) return undefined;
      of.added.push(...elements);
    }
  }
  const messages = (verb: 'removed' | 'added'): Request[] =>
    [...bySet].flatMap(([set, of]) =>
      chunks(of[verb]).map((part) => ({ what: `${verb} in ${set}`, writer: message(verb, table, set, part) })),
    );
  return { removed: messages('removed'), added: messages('added') };
}

/** One transaction for all of these: first all that goes. Throws NetlinkError. */
export function sendElements(socket: NetlinkSocket, batches: readonly ElementBatch[]): void {
  const requests = [...batches.flatMap((b) => b.removed), ...batches.flatMap((b) => b.added)];
  if (requests.length > 0) socket.transaction(NFNL_SUBSYS_NFTABLES, requests);
}

/** What the socket takes at once: 80 bytes for an element, at most. */
const MOST_CHANGES = 20_000;
/** In one message: a list is no longer than 64 KiB. */
const MOST_ELEMENTS = 500;

function chunks<T>(all: readonly T[]): T[][] {
  const parts: T[][] = [];
  for (let i = 0; i < all.length; i += MOST_ELEMENTS) parts.push(all.slice(i, i + MOST_ELEMENTS));
  return parts;
}

const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG = { added: (NFNL_SUBSYS_NFTABLES << 8) | 12, removed: (NFNL_SUBSYS_NFTABLES << 8) | 14 } as const;
const NFPROTO: Readonly<Record<string, number>> = { inet: 1, ip: 2, ip6: 10 };
const NESTED = 0x8000;
/** NFTA_SET_ELEM_LIST_*, NFTA_SET_ELEM_*, NFTA_DATA_*, NFTA_VERDICT_* of linux/netfilter/nf_tables.h. */
const LIST = { table: 1, set: 2, elements: 3 | NESTED, element: 1 | NESTED } as const;
const ELEMENT = { key: 1 | NESTED, data: 2 | NESTED, flags: 3, keyEnd: 10 | NESTED } as const;
/** NFT_SET_ELEM_INTERVAL_END, in network byte order. */
const INTERVAL_END = Buffer.of(0, 0, 0, 1);
const DATA = { value: 1, verdict: 2 | NESTED } as const;
const VERDICT = { code: 1, chain: 2 } as const;

function message(
  verb: 'removed' | 'added',
  table: TableName,
  set: string,
  elements: readonly EncodedElement[],
): MessageWriter {
  const [family = '', name = ''] = table.split(' ');
  const flags = NLM_F_REQUEST | NLM_F_ACK | (verb === 'added' ? NLM_F_CREATE : 0);
  return new MessageWriter(NFT_MSG[verb], flags)
    .fixed(Buffer.of(NFPROTO[family] ?? 0, 0, 0, 0))
    .text(LIST.table, name)
    .text(LIST.set, set)
    .nest(LIST.elements, (list) => {
      for (const { key, keyEnd, end, data } of elements)
        list.nest(LIST.element, (element) => {
          if (end) element.bytes(ELEMENT.flags, INTERVAL_END);
          element.nest(ELEMENT.key, (k) => k.bytes(DATA.value, key));
          if (keyEnd) element.nest(ELEMENT.keyEnd, (k) => k.bytes(DATA.value, keyEnd));
          if (!data || verb === 'removed') return; // the key is enough

          element.nest(ELEMENT.data, (d) => {
            if ('value' in data) d.bytes(DATA.value, data.value);
            else
              d.nest(DATA.verdict, (v) => {
                const code = Buffer.alloc(4);
                code.writeInt32BE(data.verdict);
                v.bytes(VERDICT.code, code);
                if (data.chain !== undefined) v.text(VERDICT.chain, data.chain);
              });
          });
        });
    });
}
