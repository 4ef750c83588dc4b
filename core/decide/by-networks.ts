import { FLAT_NETWORK, VXLAN_PORT } from '../../api/names.ts';
import type { VirtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { keyOf, type Pod, type Service } from '../cluster/state.ts';
import { destinationOf } from './destination.ts';
import type { Decision, Destination, Target, Verdict } from './decision.ts';
import { hostPortAt } from './host-port.ts';
import { holderOf } from '../egress/holder.ts';
import { opens } from '../openings/openings.ts';
import { combine } from '../routers/connect.ts';
import { admits, describePorts, isEmpty, NO_PORTS, portSet } from '../cluster/ports.ts';
import { isAllowed } from '../services/allowed.ts';
import { networkOf, type View } from '../view/view.ts';
import { serviceItem } from '../services/backends.ts';
import { closedFrontends, closedNodePorts } from '../services/node-ports.ts';
import { dialledPort, dialsFromInside, serviceAtNodePort, translatorOf, usableBackends } from '../services/usable.ts';

/**
 * What networks, routers and gates say when `from` opens a connection to `target`; policies come in decide.ts. Uses the cluster's
 * objects only.
 *
 * Isolation answers with a rejection, so that a mistake shows at once and not after a timeout.
 */
export function decideByNetworks(view: View, from: Pod, target: Target): Decision {
  const network = sourceNetwork(view, from, target.address);
  const destination = destinationOf(view, target.address, network === FLAT_NETWORK ? { node: from.node } : {});
  const own = network === undefined || network === FLAT_NETWORK ? undefined : view.state.networks.get(network);
  const say = (verdict: Verdict, decidedBy: Decision['decidedBy'], why: string): Decision => ({
    verdict,
    decidedBy,
    why,
    destination,
    policies: [],
  });
  if (network === undefined) return say('closed', 'no route', withoutNetwork(view, from));
  if (ipsOf(view, from).includes(target.address)) return say('open', undefined, 'a pod reaches itself');

  switch (destination.kind) {
    case 'Pod': {
      if (destination.network === network) return say('open', undefined, `both pods are on ${nameOf(network)}`);
      if (network === FLAT_NETWORK && opens(view, destination.pod, from.namespace, target.protocol, target.port))
        return say('open', undefined, `pod ${keyOf(destination.pod)} opens this port to namespace ${from.namespace}`);
      const way = routed(view, from, network, destination, target);
      if (way.open)
        return say(
          'open',
          undefined,
          `${nameOf(network)} and ${nameOf(destination.network)} are connected by ${way.by}`,
        );
      if (way.by !== '')
        return say(
          'rejected',
          own ? 'egress gate' : 'ingress gate',
          `${way.by} opens ${way.what} from ${nameOf(network)} to ${nameOf(destination.network)}, not ${describeTarget(target)}`,
        );
      if (own)
        return say('rejected', 'egress gate', `${nameOf(network)} lets nothing out to ${nameOf(destination.network)}`);
      return say('rejected', 'ingress gate', `${nameOf(destination.network)} lets nothing in from ${nameOf(network)}`);
    }
    case 'Service':
      if (!destination.service.clusterIPs.includes(target.address) && destination.network !== network)
        return decideFrontend(view, from, network, destination, target, say);
      return decideService(view, from, network, destination, target, say);
    case 'Node':
      if (own && destination.internal) return say('rejected', 'egress gate', `${nameOf(network)} does not reach nodes`);
      if (own) return decideOwnNodePort(view, from, network, target, say);
      if (isOverlay(target)) return say('closed', 'overlay', NO_OVERLAY);
      return decideNodePort(view, from, destination.node, target, say);
    case 'Cluster':
      if (own) return say('rejected', 'egress gate', `${nameOf(network)} does not reach ${destination.what}`);
      return say('rejected', 'no route', `${destination.what} is not in use`);
    case 'External':
      return decideOutside(view, network, target, say);
  }
}

type Say = (verdict: Verdict, decidedBy: Decision['decidedBy'], why: string) => Decision;

/** An address that is nothing of the cluster. */
function decideOutside(view: View, network: string, target: Target, say: Say): Decision {
  const own = network === FLAT_NETWORK ? undefined : view.state.networks.get(network);
  const mode = own ? (own.spec?.egress.mode ?? 'None') : 'NAT';
  if (mode === 'None') return say('rejected', 'egress gate', `${nameOf(network)} has egress.mode None`);
  if (own?.spec?.egress.addresses?.length && holderOf(view, network) === undefined)
    return say('rejected', 'egress gate', `no node has the egress addresses of ${nameOf(network)}`);
  if (own?.spec?.egress.allow && !allowsOutside(own.spec.egress.allow, target))
    return say(
      'rejected',
      'egress gate',
      `${nameOf(network)} has no entry for ${describeTarget(target)} to ${target.address} in egress.allow`,
    );
  if (isOverlay(target)) return say('closed', 'overlay', NO_OVERLAY);
  return say(
    'open',
    undefined,
    own ? `${nameOf(network)} has egress.mode ${mode}` : 'the flat network reaches the outside',
  );
}

/** The protocol that nodes speak between each other: a pod that spoke it would do so with the address of its node. */
const isOverlay = ({ protocol, port }: Target): boolean => protocol === 'UDP' && port === VXLAN_PORT;
const NO_OVERLAY = `no pod sends to UDP ${VXLAN_PORT}, the port of the overlay, at a node or outside the cluster`;

/** A network reaches no node, but its own instance translates node ports of its own Services, whichever node is dialled. */
function decideOwnNodePort(view: View, from: Pod, network: string, target: Target, say: Say): Decision {
  const service = serviceAtNodePort(view, network, target);
  if (!service) return say('rejected', 'egress gate', `${nameOf(network)} does not reach nodes`);
  const name = `node port ${target.port}/${target.protocol} of Service ${keyOf(service)}`;
  const usable = usableBackends(view, { service, network }, target, {
    node: from.node,
    from: 'inside',
    by: 'instance',
  });
  if (usable.length > 0) return say('open', undefined, `${name} is on ${nameOf(network)} and never leaves it`);
  return say('rejected', 'egress gate', `${name} has no ready endpoint, and ${nameOf(network)} does not reach nodes`);
}

/** From a pod of the flat network: by kube-proxy of its own node, or, as that node, by the one of another node. */
function decideNodePort(view: View, from: Pod, node: string, target: Target, say: Say): Decision {
  const { port, protocol } = target;
  const closed = closedNodePorts(view).find((c) => c.port === port && c.protocol === protocol);
  if (closed)
    return say(
      'rejected',
      'node port gate',
      `node port ${port}/${protocol} belongs to ${nameOf(closed.network)}, which has services.nodePortAccess External`,
    );
  const host = hostPortAt(view, node, target);
  if (host)
    return say('open', undefined, `host port ${port}/${protocol} of node ${node} leads to pod ${keyOf(host.pod)}`);
  for (const network of view.servicesByNetwork.keys()) {
    const service = serviceAtNodePort(view, network, target);
    if (!service) continue;
    const name = `node port ${port}/${protocol} of Service ${keyOf(service)}`;
    const at = (side: 'inside' | 'outside') =>
      usableBackends(view, { service, network }, target, { node, from: side, by: 'kube-proxy' }).length > 0;
    if (at(node === from.node ? 'inside' : 'outside')) return say('open', undefined, `${name} is open on every node`);
    return at('inside')
      ? say('closed', 'kube-proxy', `${name} has no endpoint on node ${node}, and externalTrafficPolicy is Local`)
      : say('rejected', 'kube-proxy', `${name} has no ready endpoint`);
  }
  return say('open', undefined, 'the flat network reaches nodes');
}

/**
 * An external or load balancer address, from a pod of another network. A pod of the flat network uses it as a host outside would,
 * through the node's kube-proxy. A pod of another network is refused, and no kube-proxy translates what it sends. A network's own
 * pods use it as a cluster IP.
 */
function decideFrontend(
  view: View,
  from: Pod,
  network: string,
  { service, network: owner }: { readonly service: Service; readonly network: string },
  target: Target,
  say: Say,
): Decision {
  const own = network !== FLAT_NETWORK;
  const name = `address ${target.address} of Service ${keyOf(service)}`;
  const plain = destinationOf(view, target.address, { frontends: false, ...(own ? {} : { node: from.node }) });
  const outside =
    plain.kind === 'Node' && !own
      ? decideNodePort(view, from, plain.node, target, say)
      : decideOutside(view, network, target, say);
  if (own && plain.kind !== 'External')
    return say(
      'rejected',
      'egress gate',
      `${name} is inside the cluster, and ${nameOf(network)} lets nothing out to it`,
    );
  if (outside.verdict !== 'open') return outside;
  const closed = closedFrontends(view).some(
    (c) => c.ip === target.address && c.port === target.port && c.protocol === target.protocol,
  );
  if (closed)
    return say(
      'rejected',
      'node port gate',
      `${name} is on ${nameOf(owner)}, which has services.nodePortAccess External`,
    );
  const item = serviceItem(view, service, owner);
  if (!dialledPort(service, item, target)) return outside;
  if (own)
    return say(
      'rejected',
      'node port gate',
      `${name} is on ${nameOf(owner)}: pods of other networks reach it by no address`,
    );
  const left = leftOut(service, target.address, from.ips);
  if (left !== undefined) return say('closed', 'kube-proxy', left);
  const at = (side: 'inside' | 'outside') =>
    usableBackends(view, { service, network: owner }, target, { node: from.node, from: side, by: 'kube-proxy' })
      .length > 0;
  if (!at('inside')) return say('rejected', 'kube-proxy', `Service ${keyOf(service)} has no ready endpoint`);
  if (!at(dialsFromInside(view, from, familyOf(target.address)) ? 'inside' : 'outside'))
    return say(
      'closed',
      'kube-proxy',
      `Service ${keyOf(service)} has no endpoint on node ${from.node}, and externalTrafficPolicy is Local`,
    );
  // kube-proxy gives a pod no other source there, so the gate of the network sees the pod itself.
  if (owner !== FLAT_NETWORK && service.externalTrafficPolicy === 'Local')
    return decideService(view, from, network, { service, network: owner }, target, say);
  return say('open', undefined, `${name} is open to all who reach the nodes`);
}

/** Whether a load balancer address is not for a sender with these addresses. */
export function leftOut(service: Service, address: string, ips: readonly string[]): string | undefined {
  const sources = service.frontends.find((f) => f.ip === address)?.sources;
  if (!sources || ips.some((ip) => sources.some((s) => contains(mustPrefix(s), mustIp(ip))))) return undefined;
  return `spec.loadBalancerSourceRanges of Service ${keyOf(service)} leave ${ips.join(', ')} out`;
}

/** Why a pod is on no network, so that nothing can be sent from it. */
function withoutNetwork(view: View, pod: Pod): string {
  if (pod.finished) return `pod ${keyOf(pod)} has finished: it has no network any more`;
  const assignment = view.podAssignment.get(keyOf(pod));
  const problem = assignment && 'problem' in assignment ? `: ${assignment.problem.message}` : '';
  return `pod ${keyOf(pod)} has no network yet${problem}`;
}

function decideService(
  view: View,
  from: Pod,
  network: string,
  { service, network: owner }: { service: Service; network: string },
  target: Target,
  say: Say,
): Decision {
  const key = keyOf(service);
  const by = translatorOf(network);
  const item = serviceItem(view, service, owner, by);
  const port = dialledPort(service, item, target);
  const dialling = { node: from.node, from: 'inside', by } as const;
  const usable = usableBackends(view, { service, network: owner }, target, dialling);
  const own = network === FLAT_NETWORK ? undefined : view.state.networks.get(network);
  const allowed = owner !== network && isAllowed(view, own?.spec, service);
  const way =
    owner === network || allowed ? undefined : connection(view, network, owner, from.namespace, service.namespace);
  if (own && owner !== network && !allowed && isEmpty(way?.services ?? NO_PORTS)) {
    return say(
      'rejected',
      'service map',
      `Service ${key} is on ${nameOf(owner)} and does not exist on ${nameOf(network)}`,
    );
  }
  if (!port) {
    // kube-proxy leaves such packets alone, they go nowhere; our service map knows its cluster IPs and refuses.
    const verdict = own ? 'rejected' : 'closed';
    return say(
      verdict,
      own ? 'service map' : 'kube-proxy',
      `Service ${key} has no port ${target.port}/${target.protocol}`,
    );
  }
  const left = leftOut(service, target.address, from.ips);
  if (left !== undefined && usable.length > 0) return say('closed', own ? 'service map' : 'kube-proxy', left);
  if (usable.length === 0) {
    const local = item.internalTrafficPolicy === 'Local' && (port?.backends.length ?? 0) > 0;
    return say(
      'rejected',
      own ? 'service map' : 'kube-proxy',
      `Service ${key} has no ready endpoint${local ? ` on node ${from.node}, and internalTrafficPolicy is Local` : ''}`,
    );
  }
  if (usable.every((b) => isOverlay({ ...target, port: b.port }) && !view.podByIp.has(b.ip)))
    return say('closed', 'overlay', NO_OVERLAY);
  if (way && !isEmpty(way.services)) {
    const by = way.by.join(', ');
    if (usable.some((b) => admits(way.services, target.protocol, b.port)))
      return say('open', undefined, `${nameOf(network)} reaches Service ${key} of ${nameOf(owner)} by ${by}`);
    return say(
      'rejected',
      own ? 'service map' : 'ingress gate',
      `${by} opens ${describePorts(way.services)} of ${nameOf(owner)}, and Service ${key} leads to ${usable[0]?.port}/${target.protocol}`,
    );
  }
  const opened = usable.filter((b) => {
    const pod = view.podByIp.get(b.ip);
    return !own && pod !== undefined && opens(view, pod, from.namespace, target.protocol, b.port);
  });
  if (opened.length > 0)
    return say(
      'open',
      undefined,
      `pods behind Service ${key} open port ${opened[0]?.port} to namespace ${from.namespace}`,
    );
  if (own || owner === FLAT_NETWORK) {
    return say(
      'open',
      undefined,
      owner === network ? `Service ${key} is on ${nameOf(network)}` : `${nameOf(network)} allows Service ${key}`,
    );
  }
  return say(
    'rejected',
    'ingress gate',
    `Service ${key} leads to ${nameOf(owner)}, which lets nothing in from ${nameOf(network)}`,
  );
}

function allowsOutside(
  allow: NonNullable<VirtualNetworkSpec['egress']['allow']>,
  { address, port, protocol }: Target,
): boolean {
  return allow.some(
    ({ cidr, ports }) => contains(mustPrefix(cidr), mustIp(address)) && admits(portSet(ports), protocol, port),
  );
}

type Way = { readonly open: boolean; readonly by: string; readonly what: string };

/** Whether routers let one pod reach another, of another network. */
function routed(
  view: View,
  from: Pod,
  network: string,
  { pod, network: other }: Destination & { kind: 'Pod' },
  target: Target,
): Way {
  const { pods, services, by } = connection(view, network, other, from.namespace, pod.namespace);
  // kube-proxy has translated before any gate sees a packet of the flat network: behind a Service, its pods reach the pod itself too.
  const behind =
    network === FLAT_NETWORK && admits(services, target.protocol, target.port) && isBackend(view, other, target);
  const what = isEmpty(pods) ? 'only Services' : describePorts(pods);
  return { open: admits(pods, target.protocol, target.port) || behind, by: by.join(', '), what };
}

/** What routers open from one network to another; on the flat side only for pods of the namespaces that they name. */
function connection(view: View, network: string, other: string, fromNamespace: string, toNamespace: string) {
  const grants = view.connections.get(network)?.get(other);
  return combine(grants, network === FLAT_NETWORK ? fromNamespace : toNamespace);
}

function isBackend(view: View, network: string, { address, port, protocol }: Target): boolean {
  return (view.servicesByNetwork.get(network) ?? []).some((service) =>
    serviceItem(view, service, network).ports.some(
      (p) => p.protocol === protocol && p.backends.some((b) => b.ip === address && b.port === port),
    ),
  );
}

const describeTarget = ({ protocol, port }: Target): string => (protocol === 'ICMP' ? 'ICMP' : `${protocol} ${port}`);

/** All addresses of a pod. */
export const ipsOf = ({ state }: View, pod: Pod): string[] => [
  ...pod.ips,
  ...(state.interfaces?.get(pod.uid) ?? []).flatMap((i) => i.ips),
];

/** The network that a pod sends to an address by: that of an extra interface when the address is in its subnets, else the first. */
export function sourceNetwork(view: View, from: Pod, address: string): string | undefined {
  const ip = mustIp(address);
  const first = networkOf(view, from);
  const extra = (view.state.interfaces?.get(from.uid) ?? []).find(
    (i) =>
      i.network !== first &&
      i.ips.some((own) => familyOf(own) === ip.family) &&
      view.state.networks.get(i.network)?.spec?.subnets?.some((s) => contains(mustPrefix(s), ip)),
  );
  return extra?.network ?? first;
}

/** How a network is called in a sentence. */
export const nameOf = (network: string): string =>
  network === FLAT_NETWORK ? 'the flat network' : `network ${network}`;
