import { apiServerAccess } from '../api-server/access.ts';
import { apiServerHosts } from '../api-server/hosts.ts';
import { keyOf, type Pod, type Service } from '../cluster/state.ts';
import { probeSource } from '../nodes/addresses.ts';
import { serviceItem } from '../services/backends.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import type { View } from '../view/view.ts';
import { nameOf } from './by-networks.ts';
import type { Target, Verdict } from './decision.ts';

/** A place on an isolated network that a host, or a client outside, asks for. */
export type Door = {
  readonly network: string;
  readonly pod: Pod;
  readonly ip: string;
  readonly port: number;
  readonly protocol: Target['protocol'];
};

/**
 * What the gate of an isolated network says to a sender that is no pod, by the address that the gate sees. Policies of the receiver
 * are asked behind it.
 */
export function gateIn(view: View, door: Door, seen: string): { readonly verdict: Verdict; readonly why: string } {
  const { network, pod, port, protocol } = door;
  if (isProcessOf(view, pod.node, seen)) return { verdict: 'open', why: 'a node reaches its own pods' };
  if (fromApiServer(view, door, seen))
    return { verdict: 'open', why: `${nameOf(network)} lets the API server in (apiServerAccess)` };
  const by = exposedBy(view, door);
  if (by !== undefined) return { verdict: 'open', why: `${by} exposes port ${port}/${protocol} of pod ${keyOf(pod)}` };
  const inside = view.state.podCIDRs.some((c) => contains(mustPrefix(c), mustIp(seen)));
  const who = inside ? 'other nodes' : 'the outside';
  return {
    verdict: inside ? 'rejected' : 'closed',
    why: `${nameOf(network)} lets nothing in from ${who} but node ports, outer addresses and host ports`,
  };
}

const isProcessOf = (view: View, node: string, ip: string): boolean =>
  (view.state.nodes.get(node)?.podCIDRs ?? []).some((c) => probeSource(c) === ip);

function fromApiServer(view: View, { network, ip, port, protocol }: Door, seen: string): boolean {
  const { nodes, addresses } = apiServerHosts(view.state);
  const sources = nodes.flatMap((n) => (view.state.nodes.get(n)?.podCIDRs ?? []).map(probeSource));
  if (![...sources, ...addresses].includes(seen)) return false;
  const item = view.state.networks.get(network);
  const access = apiServerAccess(view.state, { spec: item?.spec });
  if (access === 'All') return true;
  if (access === 'None') return false;
  return (view.servicesByNetwork.get(network) ?? []).some((s) =>
    serviceItem(view, s, network).ports.some(
      (p) => p.registered && p.protocol === protocol && p.backends.some((b) => b.ip === ip && b.port === port),
    ),
  );
}

/** What opens a port of a pod to every host, in words. */
function exposedBy(view: View, { network, pod, ip, port, protocol }: Door): string | undefined {
  const host = pod.ports.find((p) => p.hostPort !== undefined && p.protocol === protocol && p.port === port);
  if (host && pod.ips.includes(ip)) return `host port ${host.hostPort}`;
  const service = (view.servicesByNetwork.get(network) ?? []).find((s) =>
    exposedPorts(view, s, network).has(`${ip} ${port} ${protocol}`),
  );
  return service && `Service ${keyOf(service)}`;
}

/** "ip port protocol" of all backends of a Service that is open to the outside. */
function exposedPorts(view: View, service: Service, network: string): ReadonlySet<string> {
  const known = exposed.get(view) ?? new Map<string, ReadonlySet<string>>();
  exposed.set(view, known);
  const key = `${keyOf(service)} ${network}`;
  const { exposed: open, ports } = serviceItem(view, service, network);
  const found =
    known.get(key) ??
    new Set(open ? ports.flatMap((p) => p.backends.map((b) => `${b.ip} ${b.port} ${p.protocol}`)) : []);
  known.set(key, found);
  return found;
}

const exposed = new WeakMap<View, Map<string, ReadonlySet<string>>>();

/** Addresses of one family. */
export const ofFamily = (ips: readonly string[], family: 4 | 6): string | undefined =>
  ips.find((ip) => familyOf(ip) === family);
