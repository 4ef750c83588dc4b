import type { OpeningItem, PeerItem, PortSet, ServiceItem, SourceItem } from '../../api/nodeconfig.ts';
import { EVERY_NAMESPACE } from '../../core/openings/openings.ts';
import { admits, isFew } from '../../core/cluster/ports.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { mustPrefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { addrType, hex } from './names.ts';
import { element, type Fragment } from './fragment.ts';

/**
 * Sets of one family in which routers are written. A connection between two networks passes both gates, so what one side says
 * alone opens nothing.
 */
export function peerSets(family: 4 | 6): NftObject[] {
  const addr = addrType(family);
  const ports = `${addr} . inet_proto . inet_service`;
  const set = (name: string, type: string): NftObject => ({
    kind: 'set',
    name: `${name}${family}`,
    type,
    flags: ['interval'],
  });
  const numbered = 'mark . inet_proto . inet_service';
  return [
    set('peer_out', addr),
    set('peer_in', addr),
    // Where only some ports pass: the number of a prefix's ports, then that with protocol and port.
    { kind: 'set', name: `peer_ports${family}`, type: addr, to: 'mark', flags: ['interval'] },
    set('peer_out_port', numbered),
    set('peer_in_port', numbered),
    // From here only what stands behind a Service is reached: beside it, `backend` must match.
    set('peer_in_service', numbered),
    { kind: 'set', name: `backend${family}`, type: ports },
    // What pods open of themselves to flat pods: the number of a source's namespace, then that with pod, protocol and port.
    { kind: 'set', name: `open_from${family}`, type: addr, to: 'mark' },
    set('open_any', addr),
    { kind: 'set', name: `opened${family}`, type: `mark . ${ports}` },
    set('opened_range', `mark . ${ports}`),
  ];
}

/** Rules of the gate towards other networks, for one family. */
export const peerOutRules = (ip: string, family: 4 | 6): string[] => [
  `${ip} daddr @peer_out${family} accept`,
  // The mark of a packet is free here: the sender's policies have been asked, the receiver's begin with none.
  `meta mark set 0`,
  `meta mark set ${ip} daddr map @peer_ports${family}`,
  `meta mark . meta l4proto . th dport @peer_out_port${family} meta mark set 0 accept`,
  `meta mark set 0`,
];

/** Rules of the gate for what comes from other networks, for one family. */
export const peerInRules = (ip: string, family: 4 | 6): string[] => [
  `${ip} saddr @peer_in${family} return`,
  `meta mark set 0`,
  `meta mark set ${ip} saddr map @peer_ports${family}`,
  `meta mark . meta l4proto . th dport @peer_in_port${family} meta mark set 0 return`,
  `meta mark . meta l4proto . th dport @peer_in_service${family} ${ip} daddr . meta l4proto . th dport @backend${family} meta mark set 0 return`,
  `meta mark set 0`,
  `${ip} saddr @open_any${family} meta mark set ${ANY_MARK}`,
  ...openedRules(ip, family),
  `meta mark set ${ip} saddr map @open_from${family}`,
  ...openedRules(ip, family),
  `meta mark set 0`,
];

const openedRules = (ip: string, family: 4 | 6): string[] =>
  ['opened', 'opened_range'].map(
    (set) => `meta mark . ${ip} daddr . meta l4proto . th dport @${set}${family} meta mark set 0 return`,
  );

/** Number of "every namespace"; those of single ones are above it. */
const ANY_MARK = hex(1);
export const FIRST_NAMESPACE_NUMBER = 2;

/**
 * What one peer adds to both gates: an element for each prefix, and one for each port of those that have the same ports.
 *
 * @param numberOf a number for ports, the same for the same ports
 */
export function planPeer(peer: PeerItem, numberOf: (ports: string) => number): Fragment {
  const nft: NftObject[] = [];
  for (const { prefixes, pods, services } of peer.parts) {
    if (pods === 'any') {
      for (const prefix of prefixes)
        for (const set of ['peer_out', 'peer_in'] as const) nft.push(element(`${set}${familyOf(prefix)}`, prefix));
      continue;
    }
    const number = hex(numberOf(JSON.stringify([pods, services])));
    for (const prefix of prefixes) nft.push(element(`peer_ports${familyOf(prefix)}`, prefix, number));
    for (const family of new Set(prefixes.map(familyOf))) {
      for (const ports of portKeys(pods))
        for (const set of ['peer_out_port', 'peer_in_port'] as const)
          nft.push(element(`${set}${family}`, `${number} . ${ports}`));
      for (const ports of portKeys(services)) nft.push(element(`peer_in_service${family}`, `${number} . ${ports}`));
    }
  }
  return { nft };
}

/** What one pod opens of itself: an element for each namespace and port, however many pods there are in the namespace. */
export function planOpening(
  { ips, ports, namespaces }: OpeningItem,
  numberOf: (namespace: string) => number,
): Fragment {
  const nft: NftObject[] = [];
  for (const ip of ips) {
    const family = familyOf(ip);
    for (const namespace of namespaces) {
      const at = `${namespace === EVERY_NAMESPACE ? ANY_MARK : hex(numberOf(namespace))} . ${ip}`;
      for (const { set, key } of openKeys(ports)) nft.push(element(`${set}${family}`, `${at} . ${key}`));
    }
  }
  return { nft };
}

/** Where the flat pods of a namespace come from, for all pods that open themselves to it. */
export function planSource(namespace: string, { prefixes }: SourceItem, number: number): Fragment {
  return {
    nft: prefixes.map((prefix) => {
      const family = familyOf(prefix);
      if (namespace === EVERY_NAMESPACE) return element(`open_any${family}`, prefix);
      return element(`open_from${family}`, prefix.slice(0, prefix.lastIndexOf('/')), hex(number));
    }),
  };
}

type OpenKey = { readonly set: 'opened' | 'opened_range'; readonly key: string };

/** Single ports go into a hash, ranges into a set of intervals. */
function openKeys(ports: PortSet): OpenKey[] {
  if (ports === 'any') return portKeys(ports).map((key) => ({ set: 'opened_range', key }));
  return ports.flatMap((range): OpenKey[] => {
    const protocol = range.protocol.toLowerCase();
    if (!isFew(range)) return [{ set: 'opened_range', key: `${protocol} . ${range.first}-${range.last}` }];
    const count = range.last - range.first + 1;
    return Array.from({ length: count }, (_, i) => ({ set: 'opened', key: `${protocol} . ${range.first + i}` }));
  });
}

/** Whether a backend of a peer's Service may be reached: it must be one of the peer's own addresses, and its port open. */
export function peerAdmits(peer: PeerItem, service: Pick<ServiceItem, 'namespace' | 'name'>) {
  const known = servicesOf(peer).has(`${service.namespace}/${service.name}`);
  const parts = partsAt(peer);
  return (protocol: 'TCP' | 'UDP' | 'SCTP', ip: string, port: number): boolean =>
    known && parts(ip).some(({ services }) => admits(services, protocol, port));
}

/** The parts of a peer that an address is in. Items never change: each peer's prefixes are read once. */
export function partsAt(peer: PeerItem): (ip: string) => PeerItem['parts'] {
  const known = partsKnown.get(peer) ?? new PrefixMap<PeerItem['parts'][number][]>();
  if (!partsKnown.has(peer))
    for (const part of peer.parts)
      for (const text of part.prefixes) {
        const prefix = mustPrefix(text);
        known.set(prefix, [...(known.at(prefix) ?? []), part]);
      }
  partsKnown.set(peer, known);
  return (ip) => [...known.all(mustIp(ip))].flat();
}

const partsKnown = new WeakMap<PeerItem, PrefixMap<PeerItem['parts'][number][]>>();

/** Keys of a peer's Services. */
export function servicesOf(peer: PeerItem): ReadonlySet<string> {
  const known = servicesKnown.get(peer) ?? new Set(peer.services);
  servicesKnown.set(peer, known);
  return known;
}

const servicesKnown = new WeakMap<PeerItem, ReadonlySet<string>>();

/** "tcp . 80-90" for each range. ICMP has no ports and passes only where everything does. */
export function portKeys(ports: PortSet): string[] {
  if (ports === 'any') return ['tcp . 0-65535', 'udp . 0-65535', 'sctp . 0-65535'];
  return ports.map(
    ({ protocol, first, last }) => `${protocol.toLowerCase()} . ${first === last ? first : `${first}-${last}`}`,
  );
}
