import { FLAT_NETWORK } from '../../api/names.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { keyOf } from '../cluster/state.ts';
import type { End, PolicyFlow } from '../policy/evaluate.ts';
import { serviceItem } from '../services/backends.ts';
import { dialledPort } from '../services/usable.ts';
import type { View } from '../view/view.ts';
import {
  endAt,
  isApiServerNode,
  type Landing,
  landingsAtNode,
  masqueradeAddress,
  processAddress,
  serviceLandings,
  translationAt,
} from './arrivals.ts';
import { leftOut } from './by-networks.ts';
import { destinationOf } from './destination.ts';
import type { Decision, Destination, Target, Verdict } from './decision.ts';
import { gateIn, ofFamily } from './gate-in.ts';
import { answersTo, judge } from './judge.ts';

/** A sender that no network and no egress policy speaks of: a node (a process or a pod of its host network), or a client outside. */
export type HostSource =
  | { readonly kind: 'Node'; readonly node: string; readonly ips: readonly string[] }
  | { readonly kind: 'Outside'; readonly ip: string };

/** What must happen when a host opens a connection: translation, the gate of the receiver's network, its policies. */
export function decideFromHost(view: View, from: HostSource, target: Target): Decision {
  const destination = destinationOf(view, target.address, from.kind === 'Node' ? { node: from.node } : {});
  const say: Say = (verdict, decidedBy, why, policies = []) => ({ verdict, decidedBy, why, destination, policies });
  const sender = { ip: addressOf(view, from, target), pod: undefined };
  switch (destination.kind) {
    case 'Pod':
      return toPod(view, from, destination, target, say);
    case 'Service':
      return toService(view, from, sender, destination, target, say);
    case 'Node':
      return toNode(view, from, sender, destination.node, target, say);
    case 'Cluster':
      return say('rejected', 'no route', `${destination.what} is not in use`);
    case 'External':
      return from.kind === 'Node'
        ? say('open', undefined, `node ${from.node} reaches the outside`)
        : say('closed', 'no route', 'neither end is part of the cluster');
  }
}

type Say = (
  verdict: Verdict,
  decidedBy: Decision['decidedBy'],
  why: string,
  policies?: Decision['policies'],
) => Decision;

function addressOf(view: View, from: HostSource, { address }: Target): string {
  if (from.kind === 'Outside') return from.ip;
  const family = familyOf(address);
  const known = [...(view.state.nodes.get(from.node)?.addresses ?? []), ...from.ips];
  return ofFamily(known, family) ?? known[0] ?? '';
}

const ROUTED = 'the flat network takes what the outside routes to its nodes';

/** A pod's own address. A node's processes come from its pod CIDR, a client outside as itself. */
function toPod(
  view: View,
  from: HostSource,
  { pod, network }: Destination & { kind: 'Pod' },
  target: Target,
  say: Say,
): Decision {
  const { address, port, protocol } = target;
  const to = endAt(view, address);
  if (from.kind === 'Outside') {
    const policies = answersTo(view, [{ from: { ip: from.ip, pod: undefined }, to, protocol, port }]);
    if (network === FLAT_NETWORK) return judge(say('open', undefined, ROUTED), policies);
    const gate = gateIn(view, { network, pod, ip: address, port, protocol }, from.ip);
    if (gate.verdict === 'open') return judge(say('open', undefined, gate.why), policies);
    return say(gate.verdict, 'ingress gate', gate.why, policies);
  }
  const family = familyOf(address);
  const near = pod.node === from.node && pod.node !== '';
  const own = near || isApiServerNode(view, from.node);
  const ip =
    (own ? processAddress(view, from.node, family) : masqueradeAddress(view, from.node, family)) ??
    addressOf(view, from, target);
  const policies = answersTo(view, [{ from: { ip, pod: undefined }, to, protocol, port }]);
  if (network === FLAT_NETWORK) return judge(say('open', undefined, 'nodes reach the flat network'), policies);
  if (near) return judge(say('open', undefined, 'a node reaches its own pods'), policies);
  const gate = gateIn(view, { network, pod, ip: address, port, protocol }, ip);
  if (gate.verdict === 'open') return judge(say('open', undefined, gate.why), policies);
  return say(gate.verdict, 'ingress gate', gate.why, policies);
}

function toService(
  view: View,
  from: HostSource,
  sender: End,
  { service, network }: Destination & { kind: 'Service' },
  target: Target,
  say: Say,
): Decision {
  const name = `Service ${keyOf(service)}`;
  const cluster = service.clusterIPs.includes(target.address);
  if (from.kind === 'Outside' && cluster)
    return say('closed', 'no route', 'no route leads to cluster IPs from outside');
  if (!dialledPort(service, serviceItem(view, service, network, 'kube-proxy'), target))
    return say('closed', 'kube-proxy', `${name} has no port ${target.port}/${target.protocol}`);
  const left = leftOut(service, target.address, [sender.ip]);
  if (left !== undefined) return say('closed', 'kube-proxy', left);
  // An outer address leads to some node, by ways that are not the cluster's.
  const nodes = from.kind === 'Node' ? [from.node] : [...view.state.nodes.keys()];
  const landings = nodes.flatMap((node) =>
    serviceLandings(
      view,
      { node, from: sender, by: from.kind === 'Node' ? 'process' : 'outside' },
      { service, network },
      target,
    ),
  );
  if (landings.length === 0) return say('rejected', 'kube-proxy', `${name} has no ready endpoint`);
  return land(view, sender, landings, target, say, `${name} is open to hosts`);
}

function toNode(view: View, from: HostSource, sender: End, node: string, target: Target, say: Say): Decision {
  const here = from.kind === 'Node' && from.node === node;
  const translation = translationAt(view, node, target);
  const host = (): Decision => say('open', undefined, `arrives at node ${node} itself`);
  if (!translation) return host();
  const landings = landingsAtNode(view, { node, from: sender, by: here ? 'process' : 'outside' }, target);
  const name =
    translation.kind === 'HostPort'
      ? `host port ${target.port}/${target.protocol} of node ${node} leads to pod ${keyOf(translation.pod)}`
      : `node port ${target.port}/${target.protocol} of Service ${keyOf(translation.service)} is open on every node`;
  if (landings.length > 0) return land(view, sender, landings, target, say, name);
  if (translation.kind === 'HostPort') return host();
  const { service } = translation;
  const elsewhere = landingsAtNode(view, { node, from: sender, by: 'process' }, target).length > 0;
  return elsewhere
    ? say(
        'closed',
        'kube-proxy',
        `node port ${target.port}/${target.protocol} of Service ${keyOf(service)} has no endpoint on node ${node}, and externalTrafficPolicy is Local`,
      )
    : say('rejected', 'kube-proxy', `Service ${keyOf(service)} has no ready endpoint`);
}

/** Behind the translation: the gate of each receiver's network, then its policies. */
function land(view: View, sender: End, landings: readonly Landing[], target: Target, say: Say, why: string): Decision {
  const { protocol } = target;
  const through = landings.map((l) => {
    const { to, port, network, seenAs } = l;
    if (!to.pod || network === undefined || network === FLAT_NETWORK) return { l, gate: undefined };
    return { l, gate: gateIn(view, { network, pod: to.pod, ip: to.ip, port, protocol }, seenAs?.ip ?? sender.ip) };
  });
  const flows = (some: typeof through): PolicyFlow[] => some.map(({ l }) => ({ from: sender, ...l, protocol }));
  const open = through.filter(({ gate }) => gate === undefined || gate.verdict === 'open');
  const [shut] = through;
  if (open.length === 0 && shut?.gate)
    return say(shut.gate.verdict, 'ingress gate', shut.gate.why, answersTo(view, flows(through)));
  return judge(say('open', undefined, why), answersTo(view, flows(open)));
}
