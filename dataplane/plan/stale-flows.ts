import type { NetworkItem, OpeningItem, PeerItem, Protocol, ServiceItem } from '../../api/nodeconfig.ts';
import { admits } from '../../core/routers/ports.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { type Flow, PROTOCOL_NUMBER } from '../../lib/netlink/flow.ts';
import type { Place } from '../../lib/servicenat/endpoints.ts';
import { ALLOWED_MARK, FAMILIES } from './names.ts';
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
  readonly peers: readonly PeerItem[];
  readonly openings: readonly OpeningItem[];
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
  const own = rules.own.map(mustPrefix);
  const pods = rules.pods.map(mustPrefix);
  const cluster = rules.cluster.map(mustPrefix);
  const frontends = frontendsOf(rules);
  const marked = Number(ALLOWED_MARK);
  return flows.filter((flow) => {
    const protocol = protocolOf(flow.protocol);
    const { src } = flow.orig;
    const dst = flow.reply.src;
    const port = flow.reply.sport;
    const translated = flow.orig.dst !== dst || flow.orig.dport !== port;
    if (translated && protocol !== 'ICMP') {
      const frontend = frontends.get(flow.orig.dst, protocol, flow.orig.dport);
      const waiting = protocol === 'UDP' || flow.tcpState === TCP_SYN_SENT;
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
      if (isIn(cluster, dst)) return !peersAdmit(rules.peers, dst, protocol, port);
      return !leaves(rules.network, dst, protocol, port);
    }
    if (!out && into && rules.apiServers?.includes(src)) return !apiServerMay(rules, dst, protocol, port);
    if (!out && into && isIn(pods, src) && !rules.nodes.includes(src))
      return !(
        peersAdmit(rules.peers, src, protocol, port) ||
        isOpened(rules.openings, src, dst, protocol, port) ||
        (frontends.isBackend(dst, protocol, port) && peersAdmitServices(rules.peers, src, protocol, port))
      );
    return false;
  });
}

function apiServerMay(
  { network: { apiServerAccess = 'All' }, services }: FlowRules,
  ip: string,
  protocol: Protocol | 'ICMP',
  port: number,
): boolean {
  if (apiServerAccess !== 'Registered') return apiServerAccess === 'All';
  return services.some(({ service, reach }) =>
    service.ports.some(
      (p) =>
        reach === 'own' &&
        p.registered &&
        p.protocol === protocol &&
        p.backends.some((b) => b.ip === ip && b.port === port),
    ),
  );
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

function peersAdmit(peers: readonly PeerItem[], ip: string, protocol: Protocol | 'ICMP', port: number): boolean {
  return peers.some((p) => p.parts.some((x) => admits(x.pods, protocol, port) && isIn(x.prefixes.map(mustPrefix), ip)));
}

function isOpened(
  openings: readonly OpeningItem[],
  src: string,
  dst: string,
  protocol: Protocol | 'ICMP',
  port: number,
): boolean {
  return openings.some(
    (o) => o.ips.includes(dst) && admits(o.ports, protocol, port) && isIn(o.sources.map(mustPrefix), src),
  );
}

function peersAdmitServices(
  peers: readonly PeerItem[],
  ip: string,
  protocol: Protocol | 'ICMP',
  port: number,
): boolean {
  return peers.some((p) =>
    p.parts.some((x) => admits(x.services, protocol, port) && isIn(x.prefixes.map(mustPrefix), ip)),
  );
}

function leaves(
  { egress, egressAllow }: FlowRules['network'],
  ip: string,
  protocol: Protocol | 'ICMP',
  port: number,
): boolean {
  if (egress === 'None') return false;
  return !egressAllow || egressAllow.some((a) => admits(a.ports, protocol, port) && isIn([mustPrefix(a.prefix)], ip));
}

function isIn(prefixes: readonly Prefix[], text: string): boolean {
  const ip = mustIp(text);
  return prefixes.some((p) => contains(p, ip));
}

function protocolOf(number: number): Protocol | 'ICMP' {
  if (number === PROTOCOL_NUMBER.TCP) return 'TCP';
  if (number === PROTOCOL_NUMBER.UDP) return 'UDP';
  return number === PROTOCOL_NUMBER.SCTP ? 'SCTP' : 'ICMP';
}
