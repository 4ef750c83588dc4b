import type { NetworkKey } from '../../api/nodeconfig.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { contains, formatPrefix, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import { type ClusterState, keyOf, type Service } from '../cluster/state.ts';
import { DEFAULT_CEILINGS, parsedPrefixes } from '../networks/ceiling.ts';

type Seen = Pick<
  ClusterState,
  'services' | 'nodes' | 'networks' | 'conflicts' | 'podCIDRs' | 'serviceCIDRs' | 'settings'
>;

/** Services with the outer addresses that they get, and for each the others in words. */
export type ServedFrontends = {
  readonly services: ReadonlyMap<string, Service>;
  readonly unserved: ReadonlyMap<string, readonly string[]>;
};

/**
 * Which external and load balancer addresses Services get.
 *
 * An external address is the word of a user who may edit the Service, so it must be one that the administrator lists, and never one that
 * has another owner already: of another Service, a pod, a node. A load balancer address is the word of the cluster's own
 * controller, and may be a node's. Of two Services of one network with one address and port the older keeps it.
 */
export function servedFrontends(state: Seen, networkOf: (service: Service) => NetworkKey | undefined): ServedFrontends {
  const asking = [...state.services.values()].filter((s) => s.frontends.length > 0);
  if (asking.length === 0) return { services: state.services, unserved: new Map() };
  const owner = ownersOf(state);
  const { externalIPs } = (state.settings?.ceilings ?? DEFAULT_CEILINGS).services;
  const pools = parsedPrefixes(externalIPs);
  const claims = new Map<string, string>();
  const services = new Map(state.services);
  const unserved = new Map<string, string[]>();
  for (const service of asking.sort(byAge)) {
    const key = keyOf(service);
    const network = networkOf(service) ?? '';
    const problems: string[] = [];
    const frontends = service.frontends.filter(({ ip }, i) => {
      const external = i < service.externalIPs;
      const field = external ? 'spec.externalIPs' : 'status.loadBalancer.ingress';
      const why =
        (external && !pools.some((p) => contains(p, mustIp(ip)))
          ? 'is not among those that BulkheadConfig default (services.externalIPs) allows'
          : undefined) ??
        owner(ip, external) ??
        claimedBy(claims, network, service, ip);
      if (why !== undefined) problems.push(`${field}: ${ip} ${why}; networks do not serve it`);
      return why === undefined;
    });
    if (problems.length === 0) continue;
    services.set(key, { ...service, frontends });
    unserved.set(key, problems);
  }
  return { services, unserved };
}

const byAge = (a: Service, b: Service): number => a.created - b.created || (keyOf(a) < keyOf(b) ? -1 : 1);

/** Takes an address with the Service's ports, unless an older one of the network has one of them. */
function claimedBy(claims: Map<string, string>, network: string, service: Service, ip: string): string | undefined {
  const wanted = service.ports.map(({ protocol, port }) => `${network} ${ip} ${protocol} ${port}`);
  const mine = keyOf(service);
  const other = wanted.map((w) => claims.get(w)).find((c) => c !== undefined && c !== mine);
  if (other !== undefined) return `belongs to Service ${other} on this port already`;
  for (const w of wanted) claims.set(w, mine);
  return undefined;
}

/** Who has an address already, in words. */
function ownersOf(state: Seen): (ip: string, external: boolean) => string | undefined {
  const ranges = new PrefixMap<{ readonly prefix: Prefix; readonly what: string }>();
  const add = (texts: readonly string[], what: string): void => {
    for (const prefix of texts.map(mustPrefix)) if (!ranges.at(prefix)) ranges.set(prefix, { prefix, what });
  };
  add(state.serviceCIDRs, 'the Service range of the cluster');
  add(state.podCIDRs, 'the pod range of the cluster');
  for (const n of state.nodes.values()) add(n.podCIDRs, `the pod range of node ${n.name}`);
  for (const [key, n] of state.networks) if (!state.conflicts?.has(key)) add(n.spec?.subnets ?? [], `network ${key}`);
  const clusterIPs = new Map([...state.services.values()].flatMap((s) => s.clusterIPs.map((ip) => [ip, keyOf(s)])));
  const nodes = new Map(
    [...state.nodes.values()].flatMap((n) => [...n.addresses, ...n.further].map((a) => [a, n.name] as const)),
  );
  return (ip, external) => {
    const service = clusterIPs.get(ip);
    if (service !== undefined) return `is the cluster IP of Service ${service}`;
    const node = external ? nodes.get(ip) : undefined;
    if (node !== undefined) return `is an address of node ${node}`;
    const range = [...ranges.all(mustIp(ip))].at(-1); // the widest
    return range && `is in ${formatPrefix(range.prefix)}, which belongs to ${range.what}`;
  };
}
