import { familyOf, formatIp, ipFromBytes, ipToBytes, mustIp } from '../ip/address.ts';
import { readSysctl } from '../netns/sysctl.ts';
import { isGone, NetlinkError } from './error.ts';
import type { Flow, FlowSide } from './flow.ts';
import { type Message, MessageWriter, readAttributes } from './message.ts';
import { NETLINK_NETFILTER, NetlinkSocket, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from './socket.ts';

/** NFNL_SUBSYS_CTNETLINK with IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_DELETE. */
const GET = (1 << 8) | 1;
const DELETE = (1 << 8) | 2;
const NESTED = 0x8000;
const CTA = { orig: 1, reply: 2, status: 3, protoinfo: 4, mark: 8, id: 12, filter: 25 } as const;
/** CTA_FILTER_*_FLAGS, and of those CTA_FILTER_F_CTA_*: Linux 5.8. */
const FILTER = { orig: 1, reply: 2, src: 1 << 0, protocol: 1 << 3, dport: 1 << 5 } as const;

/**
 * Which flows a dump is for: from an address in one of its directions, or a protocol and destination port. The kernel picks them, so that
 * the dump of a large table costs little. A kernel that does not know the filter gives more: ask again of each flow.
 */
export type FlowFilter =
  | { readonly direction: 'orig' | 'reply'; readonly src: string }
  | { readonly family: 4 | 6; readonly protocol: number; readonly dport: number };

/** Connection tracking of one network namespace. */
export type Conntrack = {
  flows(): Flow[];
  /** Forgets flows. What is gone already is no error. */
  remove(flows: readonly Flow[]): void;
  /** How many entries there are; undefined when connection tracking is not there. Cheap. */
  count(): number | undefined;
  /** How many entries each source has, by the address of who began them. Does not hold up the thread. */
  sources(): Promise<Map<string, number>>;
  /** Forgets so many entries of each of these sources, first those that were never answered. Returns how many. Does not hold up the thread. */
  forget(excess: ReadonlyMap<string, number>): Promise<number>;
};

/** In the namespace at `netns`, or in this process's own. Seldom used, so it holds no file between calls. */
export function openConntrack(netns?: string): Conntrack {
  const open = (): NetlinkSocket => NetlinkSocket.open(netns, NETLINK_NETFILTER);
  return {
    flows() {
      using socket = open();
      const messages = socket.dump('dump flows', () => dumpMessage(undefined));
      return messages.flatMap((m) => readFlow(m.payload) ?? []);
    },
    remove(flows) {
      if (flows.length === 0) return;
      using socket = open();
      removeFlows(socket, flows);
    },
    count() {
      const text = readSysctl('net/netfilter/nf_conntrack_count', netns);
      return text === undefined ? undefined : Number(text);
    },
    async sources() {
      using socket = open();
      return await countSources(socket);
    },
    async forget(excess) {
      using socket = open();
      return await forgetExcess(socket, excess);
    },
  };
}

async function countSources(socket: NetlinkSocket): Promise<Map<string, number>> {
  // By the bytes of the address: to write each as text costs more than all the rest.
  const counts = new Map<string, number>();
  await dumpAgain(socket, undefined, (messages) => {
    for (const { payload } of messages) {
      const bytes = sourceOf(payload)?.toString('latin1');
      if (bytes !== undefined) counts.set(bytes, (counts.get(bytes) ?? 0) + 1);
    }
  });
  return new Map([...counts].map(([bytes, n]) => [formatIp(ipFromBytes(Buffer.from(bytes, 'latin1'))), n]));
}

async function forgetExcess(socket: NetlinkSocket, excess: ReadonlyMap<string, number>): Promise<number> {
  const of = new Map([...excess].map(([ip]) => [Buffer.from(ipToBytes(mustIp(ip))).toString('latin1'), ip]));
  const flows = { unanswered: [] as Flow[], answered: [] as Flow[] };
  await dumpAgain(socket, undefined, (messages) => {
    for (const { payload } of messages) {
      if (!of.has(sourceOf(payload)?.toString('latin1') ?? '')) continue;
      const flow = readFlow(payload);
      const status = readAttributes(payload.subarray(4)).get(CTA.status)?.readUInt32BE(0) ?? 0;
      if (flow) flows[status & SEEN_REPLY ? 'answered' : 'unanswered'].push({ ...flow, handle: copied(flow.handle) });
    }
  });
  const left = new Map(excess);
  const chosen = [...flows.unanswered, ...flows.answered].filter(({ orig: { src } }) => {
    const n = left.get(src) ?? 0;
    left.set(src, n - 1);
    return n > 0;
  });
  await removeAside(socket, chosen);
  return chosen.length;
}

/** IPS_SEEN_REPLY of linux/netfilter/nf_conntrack_common.h. */
const SEEN_REPLY = 2;

/** The first attribute of an entry is its original tuple, and the first of that its addresses, the source before the destination. */
function sourceOf(payload: Buffer): Buffer | undefined {
  const TUPLE = 4; // behind nfgenmsg
  if (payload.length < TUPLE + 28) return undefined;
  const type = (at: number): number => payload.readUInt16LE(at + 2) & ~NESTED;
  const [family, address] = [type(TUPLE + 8), TUPLE + 12];
  if (type(TUPLE) !== CTA.orig || type(TUPLE + 4) !== 1 || (family !== 1 && family !== 3)) return undefined;
  return payload.subarray(address, address + (family === 1 ? 4 : 16));
}

/**
 * Forgets flows of the namespace at `netns`, or of this process's own, without holding up the thread: the kernel looks through the
 * connections of all namespaces for any dump, some milliseconds at least.
 *
 * @param filters what the kernel picks; none: all flows
 * @param doomed asked of each that it gives
 * @returns how many were forgotten
 */
export async function sweepFlows(
  netns: string | undefined,
  filters: readonly FlowFilter[],
  doomed: (flow: Flow) => boolean,
): Promise<number> {
  using socket = NetlinkSocket.open(netns, NETLINK_NETFILTER);
  const found: Flow[] = [];
  for (const filter of filters.length > 0 ? filters : [undefined])
    await dumpAgain(socket, filter, (messages) => {
      for (const m of messages) {
        const flow = readFlow(m.payload);
        // What is kept must not lie in the buffer that the next portion is received in.
        if (flow && doomed(flow)) found.push({ ...flow, handle: copied(flow.handle) });
      }
    });
  await removeAside(socket, found);
  return found.length;
}

async function removeAside(socket: NetlinkSocket, flows: readonly Flow[]): Promise<void> {
  for (let i = 0; i < flows.length; i += 256) {
    removeFlows(socket, flows.slice(i, i + 256));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function dumpAgain(
  socket: NetlinkSocket,
  filter: FlowFilter | undefined,
  take: (messages: Message[]) => void,
): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await socket.dumpAside('dump flows', dumpMessage(filter), take);
    } catch (error) {
      if (!(error instanceof NetlinkError && error.code === 'EAGAIN') || attempt >= 5) throw error;
    }
  }
}

function removeFlows(socket: NetlinkSocket, flows: readonly Flow[]): void {
  const results = socket.send(
    flows.map(({ family, handle }) => {
      const writer = new MessageWriter(DELETE, NLM_F_REQUEST | NLM_F_ACK)
        .fixed(nfgenmsg(AF[family]))
        .bytes(CTA.orig | NESTED, handle.tuple);
      return { what: 'delete flow', writer: handle.id ? writer.bytes(CTA.id, handle.id) : writer };
    }),
  );
  const failed = results.find((e) => e !== undefined && !isGone(e));
  if (failed) throw failed;
}

const copied = ({ tuple, id }: Flow['handle']): Flow['handle'] => ({
  tuple: Buffer.from(tuple),
  id: id && Buffer.from(id),
});

function dumpMessage(filter: FlowFilter | undefined): MessageWriter {
  const writer = new MessageWriter(GET, NLM_F_REQUEST | NLM_F_DUMP);
  if (!filter) return writer.fixed(nfgenmsg(0));
  if ('src' in filter) {
    const { direction, src } = filter;
    return writer
      .fixed(nfgenmsg(AF[familyOf(src)]))
      .nest(CTA[direction] | NESTED, (tuple) =>
        tuple.nest(1 | NESTED, (ip) => ip.bytes(familyOf(src) === 4 ? 1 : 3, ipToBytes(mustIp(src)))),
      )
      .nest(CTA.filter | NESTED, (f) =>
        f
          .u32(FILTER.orig, direction === 'orig' ? FILTER.src : 0)
          .u32(FILTER.reply, direction === 'reply' ? FILTER.src : 0),
      );
  }
  const { family, protocol, dport } = filter;
  return writer
    .fixed(nfgenmsg(AF[family]))
    .nest(CTA.orig | NESTED, (tuple) => tuple.nest(2 | NESTED, (proto) => proto.u8(1, protocol).u16be(3, dport)))
    .nest(CTA.filter | NESTED, (f) => f.u32(FILTER.orig, FILTER.protocol | FILTER.dport).u32(FILTER.reply, 0));
}

const AF = { 4: 2, 6: 10 } as const;
const nfgenmsg = (family: number): Buffer => Buffer.from([family, 0, 0, 0]);

/** A flow out of a message of ctnetlink. */
export function readFlow(payload: Buffer): Flow | undefined {
  const attributes = readAttributes(payload.subarray(4));
  const tuple = attributes.get(CTA.orig);
  const orig = readTuple(tuple);
  const reply = readTuple(attributes.get(CTA.reply));
  if (!tuple || !orig || !reply) return undefined;
  const protoinfo = attributes.get(CTA.protoinfo);
  const tcp = protoinfo ? readAttributes(protoinfo).get(1) : undefined;
  const { protocol, ...side } = orig;
  const { protocol: _, ...back } = reply;
  return {
    family: payload[0] === 2 ? 4 : 6,
    protocol,
    orig: side,
    reply: back,
    mark: bigEndian(attributes.get(CTA.mark), 4),
    tcpState: tcp ? readAttributes(tcp).get(1)?.[0] : undefined,
    handle: { tuple: Buffer.from(tuple), id: attributes.get(CTA.id) },
  };
}

/** 0 where there is none, or too little of it. */
const bigEndian = (data: Buffer | undefined, bytes: 2 | 4): number =>
  data && data.length >= bytes ? data.readUIntBE(0, bytes) : 0;

function readTuple(data: Buffer | undefined): (FlowSide & { readonly protocol: number }) | undefined {
  if (!data) return undefined;
  const parts = readAttributes(data);
  const addresses = parts.get(1);
  const proto = parts.get(2);
  if (!addresses || !proto) return undefined;
  const ips = readAttributes(addresses);
  const src = ips.get(1) ?? ips.get(3);
  const dst = ips.get(2) ?? ips.get(4);
  const ports = readAttributes(proto);
  if (!src || !dst) return undefined;
  return {
    src: formatIp(ipFromBytes(src)),
    dst: formatIp(ipFromBytes(dst)),
    protocol: ports.get(1)?.[0] ?? 0,
    sport: bigEndian(ports.get(2), 2),
    dport: bigEndian(ports.get(3), 2),
  };
}
