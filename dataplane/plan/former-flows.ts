import type { Protocol } from '../../api/nodeconfig.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix, sizeOf } from '../../lib/ip/prefix.ts';
import type { FlowFilter } from '../../lib/netlink/conntrack.ts';
import { type Flow, PROTOCOL_NUMBER } from '../../lib/netlink/flow.ts';

/** What has, or may have, changed hands in one namespace since its connections were looked at. */
export type ChangedHands = {
  /** Addresses of pods, as prefixes: those that went, and blocks that came from elsewhere. */
  readonly prefixes: ReadonlySet<string>;
  /** Ports of the node that lead to another pod than before. */
  readonly hostPorts: readonly HostPort[];
  /** Node ports, and ports of outer addresses, that pods of the flat network may not use any more. */
  readonly closed?: readonly ClosedPort[];
  /** Backends that pods of the flat network may not use any more but as themselves. */
  readonly closedBackends?: readonly Required<ClosedPort>[];
};

/** A port that is closed, on an outer address or, without one, on every node. */
export type ClosedPort = HostPort & { readonly ip?: string };

/** A port of the node. */
export type HostPort = { readonly protocol: Lowercase<Protocol>; readonly port: number };

/** Who has what now. */
export type PresentOwners = {
  /** Whether an address belongs to a pod that is wired here, or to the node itself. */
  readonly owns: (ip: string) => boolean;
  /** Whether an address is one of the node's own, on whichever device. */
  readonly isLocal: (ip: string) => boolean;
  /** Whether an address is one of any node's. */
  readonly isNode: (ip: string) => boolean;
  /** Whether an address belongs to a pod of the flat network here. */
  readonly isFlat: (ip: string) => boolean;
  /** Whether a port is closed itself, by its own number: a node's connection to it is that node's own. */
  readonly isClosedPort: (port: Required<ClosedPort>) => boolean;
  /** Where a host port leads: "address port"; undefined where no pod has it. */
  readonly mappedTo: (ip: string, protocol: Lowercase<Protocol>, port: number) => string | undefined;
};

/**
 * Whether a connection belongs to a former owner. It was judged, and translated, for that one: its packets would go on past all rules
 * that hold for the present one. Ask only when the present rules stand, or the next packet brings the connection back.
 */
export function isFormer(changed: ChangedHands, owners: PresentOwners): (flow: Flow) => boolean {
  const single = new Set([...changed.prefixes].map(addressOf));
  const ranges = [...changed.prefixes].map(mustPrefix).filter((p) => sizeOf(p) > 1n);
  const isIn = (ip: string): boolean => ranges.some((r) => contains(r, mustIp(ip)));
  const changedHands = (ip: string): boolean => (single.has(ip) || isIn(ip)) && !owners.owns(ip);
  const ports = new Set(changed.hostPorts.map((p) => `${p.protocol} ${p.port}`));
  const closed = new Set((changed.closed ?? []).map(closedKey));
  const backends = new Set((changed.closedBackends ?? []).map(closedKey));
  const isClosed = (ip: string, port: string): boolean =>
    closed.has(`${port} ${ip}`) || (closed.has(`${port} `) && (owners.isLocal(ip) || owners.isNode(ip)));
  return (flow) => {
    const { orig, reply } = flow;
    if (changed.prefixes.size > 0 && [orig.src, orig.dst, reply.src, reply.dst].some(changedHands)) return true;
    const protocol = PROTOCOL[flow.protocol];
    // Whatever these ports lead to is translated: a connection that is not goes elsewhere.
    const isTranslated = orig.dst !== reply.src || orig.dport !== reply.sport;
    if (isTranslated && owners.isFlat(orig.src) && isClosed(orig.dst, `${protocol} ${orig.dport}`)) return true;
    if (protocol !== undefined && backends.has(closedKey({ protocol, port: reply.sport, ip: reply.src })))
      if (isDisguised({ flow, protocol, isTranslated }, owners)) return true;
    if (protocol === undefined || !ports.has(`${protocol} ${orig.dport}`) || !owners.isLocal(orig.dst)) return false;
    const to = owners.mappedTo(orig.dst, protocol, orig.dport);
    if (to === undefined || to === `${reply.src} ${reply.sport}`) return false;
    // A process of the node may have connections on the port from before: only new ones go to the pod.
    return isTranslated || protocol !== 'tcp' || flow.tcpState === TCP_SYN_SENT;
  };
}

/** Whether a connection to a closed backend is, or may be, that of a pod of the flat network under another address. */
function isDisguised(
  { flow, protocol, isTranslated }: { flow: Flow; protocol: Lowercase<Protocol>; isTranslated: boolean },
  owners: PresentOwners,
): boolean {
  const { orig, reply } = flow;
  if (owners.mappedTo(orig.dst, protocol, orig.dport) === `${reply.src} ${reply.sport}`) return false;
  if (owners.isFlat(orig.src)) return reply.dst !== orig.src;
  if (!isTranslated || !owners.isNode(orig.src) || owners.isLocal(orig.src)) return false;
  return !owners.isClosedPort({ protocol, port: orig.dport, ip: orig.dst });
}

/** What the kernel is asked for; none: everything. Each filter is a walk over all connections of the node, whatever it finds. */
export function filtersFor({ prefixes, hostPorts, closed = [], closedBackends = [] }: ChangedHands): FlowFilter[] {
  const addresses = [...prefixes].map(mustPrefix);
  const behind = new Set(closedBackends.map((b) => b.ip));
  const count = addresses.length + hostPorts.length + closed.length + behind.size;
  if (addresses.some((p) => sizeOf(p) > 1n) || count > MOST_FILTERED) return [];
  return [
    ...[...behind].map((src): FlowFilter => ({ direction: 'reply', src })),
    ...[...prefixes].flatMap((cidr): FlowFilter[] => {
      const src = addressOf(cidr);
      // Of its own connections, and, behind any translation, of those to it.
      return [
        { direction: 'orig', src },
        { direction: 'reply', src },
      ];
    }),
    ...[...hostPorts, ...closed].flatMap(({ protocol, port }): FlowFilter[] =>
      ([4, 6] as const).map((family) => ({ family, protocol: NUMBER[protocol], dport: port })),
    ),
  ];
}

/** What tells closed ports apart. */
export const closedKey = ({ protocol, port, ip = '' }: ClosedPort): string => `${protocol} ${port} ${ip}`;

const addressOf = (cidr: string): string => cidr.slice(0, cidr.lastIndexOf('/'));

/** Beyond this, one dump of all costs less. */
const MOST_FILTERED = 4;
const TCP_SYN_SENT = 1;
const NUMBER = { tcp: PROTOCOL_NUMBER.TCP, udp: PROTOCOL_NUMBER.UDP, sctp: PROTOCOL_NUMBER.SCTP } as const;
const PROTOCOL: Readonly<Record<number, Lowercase<Protocol>>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };
