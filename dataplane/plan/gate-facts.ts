import type { NetworkItem, OpeningItem, PeerItem, Protocol, ServiceItem, SourceItem } from '../../api/nodeconfig.ts';
import { admits } from '../../core/cluster/ports.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { mustPrefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import type { Place } from '../../lib/servicenat/endpoints.ts';
import type { GateFacts } from './gate.ts';
import { partsAt } from './peers.ts';
import type { ServiceReach } from './services.ts';

/** All that decides in an instance whether a connection may be made. */
export type FlowRules = {
  readonly network: Pick<NetworkItem, 'egress' | 'egressAllow' | 'apiServerAccess'>;
  /** As who API servers of other hosts come in. */
  readonly apiServers?: readonly string[];
  /** Addresses of this network's pods. */
  readonly own: readonly string[];
  /** Addresses of all pods. */
  readonly pods: readonly string[];
  /** Pods, Services, nodes: all that is inside the cluster. */
  readonly cluster: readonly string[];
  /** The nodes' own addresses inside the pod ranges: sources of probes, and what kube-proxy masquerades to. */
  readonly nodes: readonly string[];
  /** Those of them that kube-proxy masquerades to. */
  readonly masqueraded: readonly string[];
  /** Sources of this node's own processes: they reach its pods whatever is exposed. */
  readonly probes: readonly string[];
  /** Ports of pods that host ports of this node lead to, as `exposedKey` writes them. */
  readonly mapped: ReadonlySet<string>;
  readonly peers: readonly PeerItem[];
  readonly openings: readonly OpeningItem[];
  /** By namespace; what `namespaces` of openings means. */
  readonly sources: ReadonlyMap<string, SourceItem>;
  readonly services: readonly { readonly service: ServiceItem; readonly reach: ServiceReach }[];
  /** This node, as it chooses backends. */
  readonly place: Place;
  /** Addresses at which node ports are dialled. */
  readonly nodeAddresses: readonly string[];
};

type Protocols = Protocol | 'ICMP';
type Asks = (ip: string, protocol: Protocols, port: number) => boolean;

/** What the gates' sets hold under these rules, as the plans write them. */
export function gateFacts(rules: FlowRules): GateFacts {
  const parts = rules.peers.map(partsAt);
  const peersAdmit = (side: 'pods' | 'services', ip: string, protocol: Protocols, port: number): boolean =>
    parts.some((at) => at(ip).some((part) => admits(part[side], protocol, port)));
  const isOpened = openedBy(rules);
  const own = rules.services.filter((s) => s.reach === 'own').map((s) => s.service);
  const backends = portsOf(own.flatMap((s) => s.ports));
  return {
    probe: inSet(rules.probes),
    node: inSet(rules.masqueraded),
    pods: inPrefixes(rules.pods),
    cluster: inPrefixes(rules.cluster),
    own: inPrefixes(rules.own),
    api: inSet(rules.apiServers ?? []),
    registered: portsOf(own.flatMap((s) => s.ports.filter((p) => p.registered))),
    exposed: exposedBy(rules),
    ...egressList(rules.network),
    peerOut: ({ dst, protocol, port }) => peersAdmit('pods', dst, protocol, port),
    peerIn: ({ src, dst, protocol, port }) =>
      peersAdmit('pods', src, protocol, port) ||
      isOpened(src, dst, protocol, port) ||
      (backends(dst, protocol, port) && peersAdmit('services', src, protocol, port)),
  };
}

/** How a port of a pod that is open to the outside is written. */
export const exposedKey = (ip: string, protocol: string, port: number): string =>
  `${ip} ${protocol.toUpperCase()} ${port}`;

/** Whether the gate lets the outside in there. */
function exposedBy({ services, mapped }: FlowRules): Asks {
  const open = services.flatMap(({ service, reach }) => (reach === 'own' && service.exposed ? service.ports : []));
  const exposed = new Set(
    open.flatMap(({ protocol, backends }) => backends.map((b) => exposedKey(b.ip, protocol, b.port))),
  );
  return (ip, protocol, port) => {
    const key = exposedKey(ip, protocol, port);
    return exposed.has(key) || mapped.has(key);
  };
}

/** Ports of the backends of these ports of Services. */
function portsOf(ports: ServiceItem['ports']): Asks {
  const known = new Set(ports.flatMap((p) => p.backends.map((b) => exposedKey(b.ip, p.protocol, b.port))));
  return (ip, protocol, port) => known.has(exposedKey(ip, protocol, port));
}

/** Whether a pod opens itself to a source: by the pod, and by the namespace that the source belongs to. */
function openedBy({ openings, sources }: FlowRules) {
  const byIp = new Map<string, OpeningItem[]>();
  for (const opening of openings)
    for (const ip of opening.ips) {
      const list = byIp.get(ip);
      if (list) list.push(opening);
      else byIp.set(ip, [opening]);
    }
  const named = new Set(openings.flatMap((o) => o.namespaces));
  const from = new Map([...named].map((n) => [n, inPrefixes(sources.get(n)?.prefixes ?? [])]));
  return (src: string, dst: string, protocol: Protocol | 'ICMP', port: number): boolean =>
    protocol !== 'ICMP' &&
    (byIp.get(dst) ?? []).some(
      (o) => admits(o.ports, protocol, port) && o.namespaces.some((n) => from.get(n)?.(src) === true),
    );
}

/** Outside the cluster: prefixes with all ports, and ports of prefixes. */
function egressList({ egressAllow = [] }: FlowRules['network']): Pick<GateFacts, 'egress_ok' | 'egress_ok_port'> {
  const parts = new PrefixMap(egressAllow.map((a) => [mustPrefix(a.prefix), a.ports] as const)); // disjoint
  return {
    egress_ok: (ip) => parts.get(mustIp(ip)) === 'any',
    egress_ok_port: (ip, protocol, port) => {
      const ports = parts.get(mustIp(ip));
      return ports !== undefined && ports !== 'any' && admits(ports, protocol, port);
    },
  };
}

const inSet = (texts: readonly string[]): ((ip: string) => boolean) => {
  const known = new Set(texts);
  return (ip) => known.has(ip);
};
/** Whether an address is in one of these prefixes. */
export const inPrefixes = (texts: readonly string[]): ((ip: string) => boolean) => {
  const known = new PrefixMap(texts.map((t) => [mustPrefix(t), true] as const));
  return (ip) => known.has(mustIp(ip));
};
