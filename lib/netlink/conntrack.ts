import { formatIp, ipFromBytes } from '../ip/address.ts';
import { isGone } from './error.ts';
import type { Flow, FlowSide } from './flow.ts';
import { MessageWriter, readAttributes } from './message.ts';
import { NETLINK_NETFILTER, NetlinkSocket, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from './socket.ts';

/** NFNL_SUBSYS_CTNETLINK with IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_DELETE. */
const GET = (1 << 8) | 1;
const DELETE = (1 << 8) | 2;
const NESTED = 0x8000;
const CTA = { orig: 1, reply: 2, protoinfo: 4, mark: 8, id: 12 } as const;

/** Connection tracking of one network namespace. */
export type Conntrack = {
  flows(): Flow[];
  /** Forgets flows. What is gone already is no error. */
  remove(flows: readonly Flow[]): void;
};

/** In the namespace at `netns`, or in this process's own. Seldom used, so it holds no file between calls. */
export function openConntrack(netns?: string): Conntrack {
  const open = (): NetlinkSocket => NetlinkSocket.open(netns, NETLINK_NETFILTER);
  return {
    flows() {
      using socket = open();
      const messages = socket.dump('dump flows', () =>
        new MessageWriter(GET, NLM_F_REQUEST | NLM_F_DUMP).fixed(nfgenmsg(0)),
      );
      return messages.flatMap((m) => readFlow(m.payload) ?? []);
    },
    remove(flows) {
      if (flows.length === 0) return;
      using socket = open();
      const results = socket.send(
        flows.map(({ family, handle }) => {
          const writer = new MessageWriter(DELETE, NLM_F_REQUEST | NLM_F_ACK)
            .fixed(nfgenmsg(family === 4 ? 2 : 10))
            .bytes(CTA.orig | NESTED, handle.tuple);
          return { what: 'delete flow', writer: handle.id ? writer.bytes(CTA.id, handle.id) : writer };
        }),
      );
      const failed = results.find((e) => e !== undefined && !isGone(e));
      if (failed) throw failed;
    },
  };
}

const nfgenmsg = (family: number): Buffer => Buffer.from([family, 0, 0, 0]);

function readFlow(payload: Buffer): Flow | undefined {
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
    mark: attributes.get(CTA.mark)?.readUInt32BE(0) ?? 0,
    tcpState: tcp ? readAttributes(tcp).get(1)?.[0] : undefined,
    handle: { tuple: Buffer.from(tuple), id: attributes.get(CTA.id) },
  };
}

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
    sport: ports.get(2)?.readUInt16BE(0) ?? 0,
    dport: ports.get(3)?.readUInt16BE(0) ?? 0,
  };
}
