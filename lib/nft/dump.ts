import { isGone } from '../netlink/error.ts';
import { listAttributes, type Message, MessageWriter, readAttributes } from '../netlink/message.ts';
import { NLM_F_DUMP, NLM_F_REQUEST, type NetlinkSocket } from '../netlink/socket.ts';
import { decodeKey, type NftSet } from './elements.ts';
import type { NftObject, TableName } from './program.ts';

type Element = Extract<NftObject, { kind: 'element' }>;
type Counter = Extract<NftObject, { kind: 'counter' }>;

/** NFNL_SUBSYS_NFTABLES with NFT_MSG_GETSETELEM and NFT_MSG_GETOBJ. */
const GET_ELEMENTS = (10 << 8) | 13;
const GET_OBJECTS = (10 << 8) | 19;
const COUNTER = 1;
const NFPROTO: Readonly<Record<string, number>> = { inet: 1, ip: 2, ip6: 10 };

/** NFTA_SET_ELEM_EXPR and NFTA_SET_ELEM_EXPRESSIONS. */
const STATE = [7, 17];

/**
 * Elements that a set has in the kernel, with the time that each still lives. Those of types that our tables do not use are left out, and
 * those with a state of their own, as a rate limit: without it they would mean something else. None when there is no such set. Of a map,
 * the keys alone.
 */
export function dumpElements(socket: NetlinkSocket, table: TableName, set: NftSet): Element[] {
  const messages = dump(socket, 'dump elements', GET_ELEMENTS, table, (w) => w.text(2, set.name));
  return messages.flatMap((m) => {
    const list = readAttributes(m.payload.subarray(4)).get(3);
    return [...listAttributes(list ?? Buffer.alloc(0))].flatMap(([, element]): Element[] => {
      const parts = readAttributes(element);
      const value = parts.get(1) && readAttributes(parts.get(1) as Buffer).get(1);
      const key = value && decodeKey(set, value);
      const expires = parts.get(5)?.readBigUInt64BE(0);
      if (key === undefined || STATE.some((type) => parts.has(type))) return [];
      return [{ kind: 'element', set: set.name, key, ...(expires === undefined ? {} : { expires: Number(expires) }) }];
    });
  });
}

/** Named counters of a table, with what they have counted. None when there is no such table. */
export function dumpCounters(socket: NetlinkSocket, table: TableName): Counter[] {
  const type = Buffer.alloc(4);
  type.writeUInt32BE(COUNTER);
  return dump(socket, 'dump counters', GET_OBJECTS, table, (w) => w.bytes(3, type)).flatMap((m): Counter[] => {
    const parts = readAttributes(m.payload.subarray(4));
    const name = parts.get(2)?.toString().replace(/\0.*$/, '');
    const data = readAttributes(parts.get(4) ?? Buffer.alloc(0));
    const [bytes, packets] = [data.get(1), data.get(2)];
    if (name === undefined || !bytes || !packets) return [];
    return [{ kind: 'counter', name, from: { packets: packets.readBigUInt64BE(0), bytes: bytes.readBigUInt64BE(0) } }];
  });
}

function dump(
  socket: NetlinkSocket,
  what: string,
  type: number,
  table: TableName,
  fill: (w: MessageWriter) => MessageWriter,
): Message[] {
  const [family = '', name = ''] = table.split(' ');
  try {
    return socket.dump(what, () =>
      fill(
        new MessageWriter(type, NLM_F_REQUEST | NLM_F_DUMP)
          .fixed(Buffer.of(NFPROTO[family] ?? 0, 0, 0, 0))
          .text(1, name),
      ),
    );
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}
