import { familyOf, formatIp, ipFromBytes, ipToBytes, mustIp } from '../ip/address.ts';
import { MessageWriter, readAttributes } from './message.ts';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST } from './socket.ts';

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const IFF_UP = 1;
const ADDRESS = 1;
const IFNAME = 3;
const MTU = 4;
const LINKINFO = 18;
const GROUP = 27;
const NET_NS_FD = 28;
const AF_SPEC = 26;
const INFO_KIND = 1;
const INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const VXLAN = { id: 1, local4: 4, learning: 7, port: 15, local6: 17, zeroCsum6Tx: 19, zeroCsum6Rx: 20 } as const;
/** IFLA_VXLAN_* of switches: those with a value count as set. */
const VXLAN_SWITCHES: Readonly<Record<string, number>> = {
  group: 2,
  link: 3,
  ttl: 5,
  tos: 6,
  learning: VXLAN.learning,
  limit: 10,
  proxy: 11,
  rsc: 12,
  l2miss: 13,
  l3miss: 14,
  group6: 16,
  zeroCsum6Tx: VXLAN.zeroCsum6Tx,
  zeroCsum6Rx: VXLAN.zeroCsum6Rx,
  remCsumTx: 21,
  remCsumRx: 22,
  gbp: 23,
  external: 25,
  gpe: 27,
};

/** A device as the kernel shows it. */
export type Link = {
  readonly index: number;
  readonly name: string;
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly group: number;
  /** ifindex of the other end (veth) or of the underlay, in its own namespace. 0 when none. */
  readonly peerIndex: number;
  /** How it was made, of a VXLAN device; undefined for other kinds. */
  readonly vxlan: VxlanDetails | undefined;
};

/** All that a VXLAN device was made with and that no later change of the link can mend. */
export type VxlanDetails = {
  readonly vni: number;
  /** Source of what it sends; "" when it was given none. */
  readonly local: string;
  readonly port: number;
  /** Names of the switches that are on, sorted. */
  readonly on: readonly string[];
};

/** Which namespace a device is born in: an open file of it, or undefined for the socket's own. */
export type NetnsFd = number | undefined;

/** What a new veth end looks like. */
export type VethEnd = {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly netns?: NetnsFd;
  readonly group?: number;
};

/** A VXLAN device without learning: neighbours and FDB are written by us. */
export type VxlanSpec = {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly vni: number;
  readonly local: string;
  readonly port: number;
  readonly netns?: NetnsFd;
};

/** What {@link newVxlan} gives for a specification. */
export const vxlanDetails = ({ vni, local, port }: Pick<VxlanSpec, 'vni' | 'local' | 'port'>): VxlanDetails => ({
  vni,
  local,
  port,
  on: familyOf(local) === 6 ? ['zeroCsum6Rx', 'zeroCsum6Tx'] : [],
});

export function newVeth(here: VethEnd, peer: VethEnd): MessageWriter {
  return create(here, (w) => {
    w.text(INFO_KIND, 'veth').nest(INFO_DATA, (d) => {
      d.nest(VETH_INFO_PEER, (p) => {
        p.fixed(ifinfo({}));
        endAttributes(p, peer);
      });
    });
  });
}

export function newVxlan(spec: VxlanSpec): MessageWriter {
  const local = mustIp(spec.local);
  return create(spec, (w) => {
    w.text(INFO_KIND, 'vxlan').nest(INFO_DATA, (d) => {
      d.u32(VXLAN.id, spec.vni).u8(VXLAN.learning, 0).u16be(VXLAN.port, spec.port);
      d.bytes(local.family === 4 ? VXLAN.local4 : VXLAN.local6, ipToBytes(local));
      if (local.family === 6) d.u8(VXLAN.zeroCsum6Tx, 1).u8(VXLAN.zeroCsum6Rx, 1);
    });
  });
}

export function newBridge(name: string): MessageWriter {
  return new MessageWriter(RTM_NEWLINK, CREATE)
    .fixed(ifinfo({}))
    .text(IFNAME, name)
    .nest(LINKINFO, (w) => {
      w.text(INFO_KIND, 'bridge');
    });
}

/** Changes of a link that exists. `master` 0 takes it out of its bridge. */
export type LinkChange = {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  readonly group?: number;
  readonly master?: number;
  readonly noAddrGen?: boolean;
};

export function setLink(which: number | string, change: LinkChange): MessageWriter {
  const w = new MessageWriter(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK).fixed(
    ifinfo({ index: typeof which === 'number' ? which : 0, ...(change.up === undefined ? {} : { up: change.up }) }),
  );
  if (typeof which === 'string') w.text(IFNAME, which);
  if (change.mac !== undefined) w.bytes(ADDRESS, macBytes(change.mac));
  if (change.mtu !== undefined) w.u32(MTU, change.mtu);
  if (change.group !== undefined) w.u32(GROUP, change.group);
  if (change.master !== undefined) w.u32(10, change.master);
  if (change.noAddrGen) w.nest(AF_SPEC, (s) => s.nest(10, (inet6) => inet6.u8(8, 1))); // IN6_ADDR_GEN_MODE_NONE
  return w;
}

export function deleteLink(name: string): MessageWriter {
  return new MessageWriter(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK).fixed(ifinfo({})).text(IFNAME, name);
}

/** Deletes all links of a group in one RCU wait: some 40 times cheaper than one by one. */
export function deleteLinkGroup(group: number): MessageWriter {
  return new MessageWriter(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK).fixed(ifinfo({})).u32(GROUP, group);
}

export function dumpLinks(): MessageWriter {
  return new MessageWriter(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP).fixed(ifinfo({}));
}

export function readLink(payload: Buffer): Link {
  const attributes = readAttributes(payload.subarray(16));
  const info = attributes.get(LINKINFO);
  const linkinfo = info ? readAttributes(info) : undefined;
  const kind = cstring(linkinfo?.get(INFO_KIND));
  const data = linkinfo?.get(INFO_DATA);
  return {
    index: payload.readInt32LE(4),
    name: cstring(attributes.get(IFNAME)),
    kind,
    mac: [...(attributes.get(ADDRESS) ?? [])].map((b) => b.toString(16).padStart(2, '0')).join(':'),
    mtu: attributes.get(MTU)?.readUInt32LE(0) ?? 0,
    up: (payload.readUInt32LE(8) & IFF_UP) !== 0,
    group: attributes.get(GROUP)?.readUInt32LE(0) ?? 0,
    peerIndex: attributes.get(5)?.readUInt32LE(0) ?? 0,
    vxlan: kind === 'vxlan' && data ? readVxlan(data) : undefined,
  };
}

function readVxlan(data: Buffer): VxlanDetails {
  const values = readAttributes(data);
  const local = [VXLAN.local4, VXLAN.local6]
    .flatMap((type) => values.get(type) ?? [])
    .find((b) => b.some((x) => x !== 0));
  return {
    vni: values.get(VXLAN.id)?.readUInt32LE(0) ?? 0,
    local: local ? formatIp(ipFromBytes(local)) : '',
    port: values.get(VXLAN.port)?.readUInt16BE(0) ?? 0,
    on: Object.entries(VXLAN_SWITCHES)
      .flatMap(([name, type]) => {
        const value = values.get(type);
        // A flag without a value is there or not.
        return value && (value.length === 0 || value.some((x) => x !== 0)) ? [name] : [];
      })
      .sort(),
  };
}

/** Six bytes of "02:00:…". */
export function macBytes(mac: string): Uint8Array {
  const bytes = mac.split(':').map((h) => Number.parseInt(h, 16));
  if (bytes.length !== 6 || bytes.some((b) => !(b >= 0 && b <= 255)))
    throw new RangeError(`not a MAC address: "${mac}"`);
  return Uint8Array.from(bytes);
}

const CREATE = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

function create(end: VethEnd, info: (w: MessageWriter) => void): MessageWriter {
  const w = new MessageWriter(RTM_NEWLINK, CREATE).fixed(ifinfo({}));
  endAttributes(w, end);
  return w.nest(LINKINFO, info);
}

function endAttributes(w: MessageWriter, end: VethEnd): void {
  w.text(IFNAME, end.name).bytes(ADDRESS, macBytes(end.mac)).u32(MTU, end.mtu);
  if (end.netns !== undefined) w.u32(NET_NS_FD, end.netns);
  if (end.group !== undefined) w.u32(GROUP, end.group);
}

function ifinfo({ index = 0, up }: { index?: number; up?: boolean }): Buffer {
  const b = Buffer.alloc(16);
  b.writeInt32LE(index, 4);
  if (up !== undefined) {
    b.writeUInt32LE(up ? IFF_UP : 0, 8);
    b.writeUInt32LE(IFF_UP, 12);
  }
  return b;
}

const cstring = (b: Buffer | undefined): string => b?.toString().replace(/\0.*$/, '') ?? '';
