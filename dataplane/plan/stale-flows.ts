import type { NetworkItem, OpeningItem, PeerItem, Protocol, ServiceItem } from '../../api/nodeconfig.ts';
import { admits } from '../../core/routers/ports.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { type Flow, PROTOCOL_NUMBER } from '../../lib/netlink/flow.ts';
import { ALLOWED_MARK } from './names.ts';
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
  readonly peers: readonly PeerItem[];
  readonly openings: readonly OpeningItem[];
  readonly services: readonly { readonly service: ServiceItem; readonly reach: ServiceReach }[];
  readonly node: string;
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
      const frontend = frontends.get(`${flow.orig.dst} ${protocol} ${flow.orig.dport}`);
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
  readonly get: (key: string) => { readonly reach: ServiceReach; readonly backends: ReadonlySet<string> } | undefined;
  readonly isBackend: (ip: string, protocol: Protocol | 'ICMP', port: number) => boolean;
};

function frontendsOf({ services, node }: FlowRules): Frontends {
  const map = new Map<string, { reach: ServiceReach; backends: Set<string> }>();
  const own = new Set<string>();
  for (const { service, reach } of services) {
    for (const { protocol, port, backends } of service.ports) {
      const usable = backends.filter((b) => service.internalTrafficPolicy === 'Cluster' || b.node === node);
      const known = new Set(usable.map((b) => `${b.ip} ${b.port}`));
      for (const ip of [...service.clusterIPs, ...(service.frontends ?? []).map((f) => f.ip)])
        map.set(`${ip} ${protocol} ${port}`, { reach, backends: known });
      if (reach === 'own') for (const b of backends) own.add(`${b.ip} ${protocol} ${b.port}`);
    }
  }
  return {
    get: (key) => map.get(key),
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
