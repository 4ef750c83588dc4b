import type { OpeningItem, PeerItem, PortSet, ServiceItem } from '../../api/nodeconfig.ts';
import { admits } from '../../core/routers/ports.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { addrType } from './names.ts';
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
  return [
    set('peer_out', addr),
    set('peer_out_port', ports),
    set('peer_in', addr),
    set('peer_in_port', ports),
    // From here only what stands behind a Service is reached: beside it, `backend` must match.
    set('peer_in_service', ports),
    { kind: 'set', name: `backend${family}`, type: ports },
    // What pods open of themselves to pods of the flat network: source, pod, protocol, port.
    set('opened', `${addr} . ${ports}`),
  ];
}

/** Rules of the gate towards other networks, for one family. */
export const peerOutRules = (ip: string, family: 4 | 6): string[] => [
  `${ip} daddr @peer_out${family} accept`,
  `${ip} daddr . meta l4proto . th dport @peer_out_port${family} accept`,
];

/** Rules of the gate for what comes from other networks, for one family. */
export const peerInRules = (ip: string, family: 4 | 6): string[] => [
  `${ip} saddr @peer_in${family} return`,
  `${ip} saddr . meta l4proto . th dport @peer_in_port${family} return`,
  `${ip} saddr . meta l4proto . th dport @peer_in_service${family} ${ip} daddr . meta l4proto . th dport @backend${family} return`,
  `${ip} saddr . ${ip} daddr . meta l4proto . th dport @opened${family} return`,
];

/** What one peer adds to both gates. */
export function planPeer(peer: PeerItem): Fragment {
  const nft: NftObject[] = [];
  for (const { prefixes, pods, services } of peer.parts) {
    for (const prefix of prefixes) {
      const family = familyOf(prefix);
      if (pods === 'any') nft.push(element(`peer_out${family}`, prefix), element(`peer_in${family}`, prefix));
      else {
        for (const ports of portKeys(pods))
          nft.push(
            element(`peer_out_port${family}`, `${prefix} . ${ports}`),
            element(`peer_in_port${family}`, `${prefix} . ${ports}`),
          );
        for (const ports of portKeys(services)) nft.push(element(`peer_in_service${family}`, `${prefix} . ${ports}`));
      }
    }
  }
  return { nft };
}

/** What one pod opens of itself. */
export function planOpening({ ips, ports, sources }: OpeningItem): Fragment {
  const nft = ips.flatMap((ip) => {
    const family = familyOf(ip);
    const mine = sources.filter((s) => familyOf(s) === family);
    return mine.flatMap((s) => portKeys(ports).map((key) => element(`opened${family}`, `${s} . ${ip} . ${key}`)));
  });
  return { nft };
}

/** Whether a backend of a peer's Service may be reached: it must be one of the peer's own addresses, and its port open. */
export function peerAdmits(peer: PeerItem, service: Pick<ServiceItem, 'namespace' | 'name'>) {
  const known = peer.services.includes(`${service.namespace}/${service.name}`);
  const parts = peer.parts.map(({ prefixes, services }) => ({ prefixes: prefixes.map(mustPrefix), services }));
  return (protocol: 'TCP' | 'UDP' | 'SCTP', ip: string, port: number): boolean =>
    known &&
    parts.some(
      ({ prefixes, services }) => admits(services, protocol, port) && prefixes.some((p) => contains(p, mustIp(ip))),
    );
}

/** "tcp . 80-90" for each range. ICMP has no ports and passes only where everything does. */
export function portKeys(ports: PortSet): string[] {
  if (ports === 'any') return ['tcp . 0-65535', 'udp . 0-65535', 'sctp . 0-65535'];
  return ports.map(
    ({ protocol, first, last }) => `${protocol.toLowerCase()} . ${first === last ? first : `${first}-${last}`}`,
  );
}
