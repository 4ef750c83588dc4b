import type { NetworkItem, OpeningItem, PeerItem, Protocol, ServiceItem, SourceItem } from '../../api/nodeconfig.ts';
import { admits } from '../../core/cluster/ports.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { mustPrefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import { type Flow, PROTOCOL_NUMBER } from '../../lib/netlink/flow.ts';
import type { Place } from '../../lib/servicenat/endpoints.ts';
import { ALLOWED_MARK, FAMILIES } from './names.ts';
import { partsAt } from './peers.ts';
import { backendsHere, type Dialled, type ServiceReach } from './services.ts';

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

/** Protocols whose senders would go on for ever towards a backend that is gone: pitfalls kubernetes#48370, #101607. */
const TCP_SYN_SENT = 1;

/**
 * Connections that were made when other rules held and that these would not let be made: they are forgotten, so that what was
 * taken away ends now and not when the last client hangs up. An established TCP connection to a backend that is merely leaving
 * its Service goes on, as everywhere.
 */
export function staleFlows(flows: readonly Flow[], rules: FlowRules): Flow[] {
  const own = prefixSet(rules.own);
  const pods = prefixSet(rules.pods);
  const cluster = prefixSet(rules.cluster);
  const nodes = new Set(rules.nodes);
  const probes = new Set(rules.probes);
  const apiServers = new Set(rules.apiServers);
  const isExposed = exposedBy(rules);
  const mayComeIn = apiServerMay(rules);
  const leaves = leavesBy(rules.network);
  const isOpened = openedBy(rules);
  const parts = rules.peers.map(partsAt);
  const peersAdmit = (side: 'pods' | 'services', ip: string, protocol: Protocol | 'ICMP', port: number): boolean =>
    parts.some((at) => at(ip).some((part) => admits(part[side], protocol, port)));
  const frontends = frontendsOf(rules);
  const marked = Number(ALLOWED_MARK);
  return flows.filter((flow) => {
    const protocol = protocolOf(flow.protocol);
    const { src } = flow.orig;
    const dst = flow.reply.src;
    const port = flow.reply.sport;
    const translated = flow.orig.dst !== dst || flow.orig.dport !== port;
    const waiting = protocol === 'UDP' || (protocol !== 'ICMP' && flow.tcpState === TCP_SYN_SENT);
    if (translated && protocol !== 'ICMP') {
      const frontend = frontends.get(flow.orig.dst, protocol, flow.orig.dport);
      if (flow.mark === marked) {
        if (!frontend) return true;
        if (typeof frontend.reach === 'function' && !frontend.reach(protocol, dst, port)) return true;
      }
      if (isIn(own, src) && waiting && !frontend?.backends.has(`${dst} ${port}`)) return true;
    }
    if (flow.mark === marked) return false;
    const out = isIn(own, src);
    const into = isIn(own, dst);
    if (out && !into) {
      if (isIn(cluster, dst)) return !peersAdmit('pods', dst, protocol, port);
      return !leaves(dst, protocol, port);
    }
    if (!out && into && apiServers.has(src)) return !mayComeIn(dst, protocol, port);
    if (!out && into && isIn(pods, src) && !nodes.has(src))
      return !(
        peersAdmit('pods', src, protocol, port) ||
        isOpened(src, dst, protocol, port) ||
        (frontends.isBackend(dst, protocol, port) && peersAdmit('services', src, protocol, port))
      );
    // From the outside, or masqueraded by a node: by a node port, an outer address or a host port that may have gone since.
    if (!out && into && waiting && !probes.has(src)) return !isExposed(dst, protocol, port);
    return false;
  });
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

/** Where the API server's hosts may connect to. */
function apiServerMay({ network: { apiServerAccess = 'All' }, services }: FlowRules): Asks {
  if (apiServerAccess !== 'Registered') return () => apiServerAccess === 'All';
  const own = services.flatMap(({ service, reach }) => (reach === 'own' ? service.ports : []));
  const registered = new Set(
    own.flatMap((p) => (p.registered ? p.backends.map((b) => `${b.ip} ${p.protocol} ${b.port}`) : [])),
  );
  return (ip, protocol, port) => registered.has(`${ip} ${protocol} ${port}`);
}

type Frontends = {
  readonly get: (
    ip: string,
    protocol: Protocol | 'ICMP',
    port: number,
  ) => { readonly reach: ServiceReach; readonly backends: ReadonlySet<string> } | undefined;
  readonly isBackend: (ip: string, protocol: Protocol | 'ICMP', port: number) => boolean;
};

function frontendsOf({ services, place, nodeAddresses }: FlowRules): Frontends {
  const map = new Map<string, { reach: ServiceReach; backends: Set<string> }>();
  const nodePorts = new Map<string, { reach: ServiceReach; backends: Set<string> }>();
  const nodes = new Set(nodeAddresses);
  const own = new Set<string>();
  for (const { service, reach } of services) {
    for (const servicePort of service.ports) {
      const { protocol, port, nodePort, backends } = servicePort;
      const known = (dialled: Dialled): { reach: ServiceReach; backends: Set<string> } => {
        const here = FAMILIES.flatMap((f) => backendsHere(service, servicePort, f, dialled, { place, reach }));
        return { reach, backends: new Set(here.map((b) => `${b.ip} ${b.port}`)) };
      };
      const inner = known('ClusterIP');
      for (const ip of service.clusterIPs) map.set(`${ip} ${protocol} ${port}`, inner);
      if (reach !== 'own') continue;
      const outer = known('NodePort');
      for (const { ip } of service.frontends ?? []) map.set(`${ip} ${protocol} ${port}`, outer);
      if (nodePort !== undefined) nodePorts.set(`${protocol} ${nodePort}`, outer);
      for (const b of backends) own.add(`${b.ip} ${protocol} ${b.port}`);
    }
  }
  return {
    get: (ip, protocol, port) =>
      map.get(`${ip} ${protocol} ${port}`) ?? (nodes.has(ip) ? nodePorts.get(`${protocol} ${port}`) : undefined),
    isBackend: (ip, protocol, port) => own.has(`${ip} ${protocol} ${port}`),
  };
}

type Asks = (ip: string, protocol: Protocol | 'ICMP', port: number) => boolean;

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
  const from = new Map([...named].map((n) => [n, prefixSet(sources.get(n)?.prefixes ?? [])]));
  return (src: string, dst: string, protocol: Protocol | 'ICMP', port: number): boolean =>
    (byIp.get(dst) ?? []).some(
      (o) => admits(o.ports, protocol, port) && o.namespaces.some((n) => isIn(from.get(n) ?? NONE, src)),
    );
}

function leavesBy({ egress, egressAllow }: FlowRules['network']): Asks {
  if (egress === 'None') return () => false;
  if (!egressAllow) return () => true;
  const parts = new PrefixMap(egressAllow.map((a) => [mustPrefix(a.prefix), a.ports] as const)); // disjoint
  return (ip, protocol, port) => {
    const ports = parts.get(mustIp(ip));
    return ports !== undefined && admits(ports, protocol, port);
  };
}

const prefixSet = (texts: readonly string[]): PrefixMap<true> =>
  new PrefixMap(texts.map((t) => [mustPrefix(t), true] as const));
const NONE = prefixSet([]);
const isIn = (prefixes: PrefixMap<true>, ip: string): boolean => prefixes.has(mustIp(ip));

function protocolOf(number: number): Protocol | 'ICMP' {
  if (number === PROTOCOL_NUMBER.TCP) return 'TCP';
  if (number === PROTOCOL_NUMBER.UDP) return 'UDP';
  return number === PROTOCOL_NUMBER.SCTP ? 'SCTP' : 'ICMP';
}
