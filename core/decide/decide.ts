import { FLAT_NETWORK } from '../../api/names.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { Pod } from '../cluster/state.ts';
import type { PolicyFlow } from '../policy/evaluate.ts';
import { serviceAtNodePort, translatorOf, usableBackends } from '../services/usable.ts';
import type { View } from '../view/view.ts';
import { endAt, type Landing, landingsAtNode, senderEnd, serviceLandings } from './arrivals.ts';
import { decideByNetworks, ipsOf, sourceNetwork } from './by-networks.ts';
import type { Decision, Target } from './decision.ts';
import { decideFromHost, type HostSource } from './from-host.ts';
import { ofFamily } from './gate-in.ts';
import { answersTo, judge } from './judge.ts';

/** Who opens a connection. */
export type Source = { readonly kind: 'Pod'; readonly pod: Pod } | HostSource;

/** What must happen when any sender opens a connection to `target`. The one place that answers. */
export function decideFrom(view: View, from: Source, target: Target): Decision {
  return from.kind === 'Pod' ? decide(view, from.pod, target) : decideFromHost(view, from, target);
}

/**
 * What must happen when a pod opens a connection to `target`: what the networks let pass, less what policies of either end deny.
 * A pod of the host's network is its node.
 *
 * In the order in which a packet meets them: translation, the sender's policies, gates, the receiver's policies. A policy drops in
 * silence, where isolation refuses.
 */
export function decide(view: View, from: Pod, target: Target): Decision {
  if (from.hostNetwork && !from.finished)
    return decideFromHost(view, { kind: 'Node', node: from.node, ips: from.ips }, target);
  const base = decideByNetworks(view, from, target);
  if (base.decidedBy === 'no route' || ipsOf(view, from).includes(target.address)) return base;
  // What a service map does not translate goes on to the gate as it was dialled; source ranges drop in front of everything.
  if (base.decidedBy === 'service map')
    return base.verdict === 'closed' ? base : judge(base, answersTo(view, [directFlow(view, from, target)]));
  const own = sourceNetwork(view, from, target.address) !== FLAT_NETWORK;
  if (base.decidedBy === 'node port gate' && !own) return base; // that is asked first
  return judge(base, answersTo(view, flowsOf(view, from, target, base)));
}

/** What policies are asked about: one flow for each place that the connection may end up at, behind every translation. */
function flowsOf(view: View, from: Pod, target: Target, { destination }: Decision): PolicyFlow[] {
  const direct = directFlow(view, from, target);
  const { from: source, protocol } = direct;
  const base = { from: source, protocol };
  const network = sourceNetwork(view, from, target.address) ?? FLAT_NETWORK;
  const flat = network === FLAT_NETWORK;
  const orDirect = (flows: readonly PolicyFlow[]): PolicyFlow[] => (flows.length > 0 ? [...flows] : [direct]);
  if (destination.kind === 'Service') {
    const { service, network: owner } = destination;
    // No instance translates an outer address of another network's Service: it is on its way out as it was dialled.
    if (!flat && owner !== network && !service.clusterIPs.includes(target.address)) return [direct];
    const arrival = { node: from.node, from: source, by: 'pod' } as const;
    const landings = flat
      ? serviceLandings(view, arrival, { service, network: owner }, target)
      : inOwnInstance(view, from, target, { service, network: owner });
    return orDirect(landings.map((l) => ({ ...base, ...l })));
  }
  if (destination.kind !== 'Node') return [direct];
  if (!flat) {
    const service = serviceAtNodePort(view, network, target);
    return orDirect(
      service ? inOwnInstance(view, from, target, { service, network }).map((l) => ({ ...base, ...l })) : [],
    );
  }
  if (destination.node === from.node)
    return orDirect(
      landingsAtNode(view, { node: from.node, from: source, by: 'pod' }, target).map((l) => ({ ...base, ...l })),
    );
  // Another node translates, and sees this pod's node: the sender's policies are asked about what the pod has dialled.
  const node = ofFamily(view.state.nodes.get(from.node)?.addresses ?? [], familyOf(target.address)) ?? source.ip;
  const asNode = { ip: node, pod: undefined };
  const there = landingsAtNode(view, { node: destination.node, from: asNode, by: 'outside' }, target);
  return orDirect(there.map((l) => ({ ...base, seenAs: asNode, ...l, asSent: { to: direct.to, port: target.port } })));
}

/** As the pod has dialled it. */
const directFlow = (view: View, from: Pod, { address, port, protocol }: Target): PolicyFlow => ({
  from: senderEnd(view, from, address),
  to: endAt(view, address),
  port,
  protocol,
});

/** An instance translates for its own pods only, and masquerades nothing. */
function inOwnInstance(
  view: View,
  from: Pod,
  target: Target,
  dialled: Parameters<typeof usableBackends>[1],
): Pick<Landing, 'to' | 'port'>[] {
  const by = translatorOf(sourceNetwork(view, from, target.address));
  return usableBackends(view, dialled, target, { node: from.node, from: 'inside', by }).map((b) => ({
    to: endAt(view, b.ip),
    port: b.port,
  }));
}
