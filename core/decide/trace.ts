import { FLAT_NETWORK } from '../../api/names.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { keyOf, type Pod, type Service } from '../cluster/state.ts';
import { networkOf, podAt, type View } from '../view/view.ts';
import { decide } from './decide.ts';
import { ipsOf, nameOf, sourceNetwork } from './by-networks.ts';
import type { Decision, Target } from './decision.ts';
import { holderOf } from '../egress/holder.ts';
import { isAllowed } from '../services/allowed.ts';
import { serviceAtNodePort, translatorOf, usableBackends } from '../services/usable.ts';

/** One stop of a packet: where it is, what happens there, and which object or chain says so. */
export type TraceStep = { readonly where: string; readonly what: string; readonly by: string };

export type Trace = Pick<Decision, 'verdict' | 'why'> & { readonly steps: readonly TraceStep[] };

/** The way of the first packet of a connection, in words, up to where it is stopped. */
export function trace(view: View, from: Pod, target: Target): Trace {
  const decision = decide(view, from, target);
  const { verdict, why } = decision;
  const network = sourceNetwork(view, from, target.address);
  if (network === undefined)
    return { verdict, why, steps: [{ where: `pod ${keyOf(from)}`, what: `${verdict}: ${why}`, by: 'no network' }] };
  const extra = (view.state.interfaces?.get(from.uid) ?? []).find(
    (i) => i.network === network && network !== networkOf(view, from),
  );
  const source = (extra?.ips ?? from.ips).find((ip) => familyOf(ip) === familyOf(target.address)) ?? from.ips[0] ?? '';
  const steps: TraceStep[] = [
    {
      where: `pod ${keyOf(from)}, ${extra?.ifname ?? 'eth0'}`,
      what: `sends ${target.protocol} from ${source} to ${label(target)} by its gateway`,
      by: extra ? `route to the subnets of ${nameOf(network)}` : 'default route',
    },
  ];
  if (ipsOf(view, from).includes(target.address)) {
    steps.push({ where: `pod ${keyOf(from)}, lo`, what: 'reaches itself and never leaves', by: 'local route' });
    return { verdict, why, steps };
  }
  if (decision.decidedBy === 'egress policy' || decision.decidedBy === 'ingress policy') {
    const place = placeOf(view, from, network, decision);
    return { verdict, why, steps: [...steps, { where: place, what: `dropped: ${why}`, by: decision.decidedBy }] };
  }
  steps.push(
    ...(network === FLAT_NETWORK
      ? fromFlat(view, from, target, decision)
      : fromInstance(view, from, network, target, decision)),
  );
  return { verdict, why, steps };
}

/** Where the pod is whose policies drop a packet. */
function placeOf(view: View, from: Pod, network: string, { decidedBy, policies }: Decision): string {
  const to = policies.find((p) => p.ingress?.verdict === 'Deny')?.flow.to.pod ?? policies[0]?.flow.to.pod;
  const [pod, on] = decidedBy === 'egress policy' || !to ? [from, network] : [to, networkOf(view, to) ?? FLAT_NETWORK];
  const vni = view.state.networks.get(on)?.vni;
  const side = decidedBy === 'egress policy' ? 'from' : 'to';
  return `node ${pod.node}, ${vni === undefined ? 'root' : `namespace bh-${vni}`}, policies ${side} pod ${keyOf(pod)}`;
}

/** Out of a network's own instance. */
function fromInstance(view: View, from: Pod, network: string, target: Target, decision: Decision): TraceStep[] {
  const vni = view.state.networks.get(network)?.vni ?? 0;
  const here = `node ${from.node}, namespace bh-${vni}`;
  const steps: TraceStep[] = [
    { where: `${here}, chain raw_pre`, what: 'source address belongs to this interface', by: 'set src' },
  ];
  const { destination } = decision;
  // An outer address of another network's Service is none of this network's: it is on its way out.
  const outer =
    destination.kind === 'Service' &&
    destination.network !== network &&
    !destination.service.clusterIPs.includes(target.address);
  const dialled = serviceDialled(view, network, target, decision);
  if (dialled && !outer) return [...steps, ...translatedHere(view, here, from, network, target, decision, dialled)];
  if (destination.kind === 'Service')
    steps.push({
      where: `${here}, chain nat_pre`,
      what: `${label(target)} is not in this network's service map`,
      by: 'map svc',
    });
  steps.push(onToEgress(here));
  if (destination.kind === 'Pod' && destination.network === network)
    return [
      ...steps,
      ...toBackends(view, here, from, network, [{ ip: target.address, port: target.port, node: destination.pod.node }]),
    ];
  if (destination.kind === 'Pod' && decision.verdict === 'open')
    return [
      ...steps,
      ...throughRouter(
        view,
        here,
        from,
        destination.network,
        [{ ip: target.address, port: target.port, node: destination.pod.node }],
        decision.why,
      ),
    ];
  if (outer && (decision.decidedBy === 'node port gate' || decision.decidedBy === 'kube-proxy'))
    return [
      ...steps,
      { where: `${here}, chain gate_out`, what: 'accepted', by: `spec.egress of ${nameOf(network)}` },
      {
        where: `node ${from.node}, root, chain forward`,
        what: `${decision.verdict}: ${decision.why}`,
        by: decision.decidedBy,
      },
    ];
  if (decision.verdict !== 'open')
    return [
      ...steps,
      {
        where: `${here}, chain gate_out`,
        what: `${decision.verdict}: ${decision.why}`,
        by: decision.decidedBy === 'service map' ? 'service map' : nameOf(network),
      },
    ];
  return [
    ...steps,
    ...outOf(view, here, from, network, target),
    { where: 'outside', what: `arrives at ${label(target)}`, by: 'route' },
  ];
}

/** A Service that the sender's own instance translates: on to its backends, in this network, by a router, or into the root. */
function translatedHere(
  view: View,
  here: string,
  from: Pod,
  network: string,
  target: Target,
  decision: Decision,
  dialled: Dialled,
): TraceStep[] {
  const backends = backendsOf(view, from, dialled, target);
  const steps: TraceStep[] = [
    {
      where: `${here}, chain nat_pre`,
      what: `translated to ${backends.map((b) => `${b.ip}:${b.port}`).join(' or ')}`,
      by: `${decision.destination.kind === 'Node' ? 'node port of ' : ''}Service ${keyOf(dialled.service)}`,
    },
    onToEgress(here),
  ];
  if (dialled.network === network) return [...steps, ...toBackends(view, here, from, network, backends)];
  if (!isAllowed(view, view.state.networks.get(network)?.spec, dialled.service))
    return [...steps, ...throughRouter(view, here, from, dialled.network, backends, decision.why)];
  return [
    ...steps,
    {
      where: `${here}, chain gate_out`,
      what: 'accepted: it carries the mark of an allowed Service',
      by: `spec.services.allow of ${nameOf(network)}`,
    },
    ...intoRoot(view, from, backends),
  ];
}

const onToEgress = (here: string): TraceStep => ({
  where: `${here}, chain forward`,
  what: 'a new connection of a pod goes on to the egress side',
  by: 'map ep_from',
});

/** The Service that an instance translates to, by its address or by a node port of the network's own; undefined: none. */
function serviceDialled(
  view: View,
  network: string,
  target: Target,
  { destination, decidedBy, verdict }: Decision,
): Dialled | undefined {
  if (destination.kind === 'Service') return decidedBy === 'service map' ? undefined : destination;
  if (destination.kind !== 'Node' || verdict !== 'open') return undefined;
  const service = serviceAtNodePort(view, network, target);
  return service && { service, network };
}

/** Out of the cluster: on this node, or by the node that has the network's fixed addresses. */
function outOf(view: View, here: string, from: Pod, network: string, target: Target): TraceStep[] {
  const by = `spec.egress of ${nameOf(network)}`;
  const { spec, vni } = view.state.networks.get(network) ?? {};
  const fixed = spec?.egress.addresses?.find((a) => familyOf(a) === familyOf(target.address));
  const holder = holderOf(view, network);
  if (fixed === undefined || holder === undefined)
    return [
      { where: `${here}, chain gate_out`, what: 'accepted', by },
      {
        where: `node ${from.node}, root`,
        what: 'leaves the cluster with the address of the node',
        by: 'chain nat_post',
      },
    ];
  return [
    ...(holder === from.node
      ? []
      : [
          { where: `${here}, chain gate_via`, what: 'accepted', by },
          { where: `${here}, vx0`, what: `to node ${holder} in VXLAN ${vni}`, by: 'status.egressNode' },
        ]),
    { where: `node ${holder}, namespace bh-${vni}, chain gate_out`, what: 'accepted', by },
    { where: `node ${holder}, root`, what: `leaves the cluster with the address ${fixed}`, by: 'map egress_snat' },
  ];
}

/** From one interface of a network to another: on this node, or through its VXLAN. */
function toBackends(view: View, here: string, from: Pod, network: string, backends: readonly Place[]): TraceStep[] {
  const steps: TraceStep[] = [];
  for (const b of backends) {
    const pod = podAt(view, b.ip);
    const name = pod ? `pod ${keyOf(pod)}` : b.ip;
    const node = pod?.node ?? b.node;
    if (node === from.node)
      steps.push({ where: `${here}, chain forward`, what: `accepted into ${name} on this node`, by: 'map ep_to' });
    else {
      const vni = view.state.networks.get(network)?.vni ?? 0;
      const block = [...(view.blocksByNetwork.get(network) ?? [])].find((x) =>
        contains(mustPrefix(x.cidr), mustIp(b.ip)),
      );
      steps.push({
        where: `${here}, vx0`,
        what: `to node ${node} in VXLAN ${vni}`,
        by: block ? `AddressBlock ${block.cidr}` : 'route',
      });
      steps.push({
        where: `node ${node}, namespace bh-${vni}, chain forward`,
        what: `accepted into ${name}`,
        by: 'map ep_to',
      });
    }
  }
  return steps;
}

/** Out by this network's gate, and in by the other's, where a router opens both. */
function throughRouter(
  view: View,
  here: string,
  from: Pod,
  other: string,
  backends: readonly Place[],
  why: string,
): TraceStep[] {
  const steps: TraceStep[] = [
    { where: `${here}, chain gate_out`, what: `accepted: ${why}`, by: 'set peer_out, or the mark of a Service' },
    { where: `node ${from.node}, root`, what: 'comes out of the uplink', by: 'default route of the network' },
  ];
  for (const b of backends) steps.push(...intoNetwork(view, from, other, b));
  return steps;
}

/** From the root of the sender's node into a network, or to a pod of the flat one. */
function intoNetwork(view: View, from: Pod, other: string, b: Place): TraceStep[] {
  if (other === FLAT_NETWORK) return [flatHop(view, from, b.ip)];
  const pod = view.podByIp.get(b.ip);
  const node = pod?.node ?? b.node;
  const vni = view.state.networks.get(other)?.vni ?? 0;
  return [
    ...(node === from.node
      ? []
      : [{ where: `node ${from.node}, root, bh0`, what: `to node ${node}`, by: 'route to its pod CIDR or block' }]),
    {
      where: `node ${node}, namespace bh-${vni}, chain gate_in`,
      what: `accepted into ${pod ? `pod ${keyOf(pod)}` : b.ip}`,
      by: `set peer_in of ${nameOf(other)}`,
    },
  ];
}

/** Through the uplink into the root: to pods of the flat network, or hosts. */
function intoRoot(view: View, from: Pod, backends: readonly Place[]): TraceStep[] {
  const steps: TraceStep[] = [
    { where: `node ${from.node}, root`, what: 'comes out of the uplink', by: 'default route of the network' },
  ];
  for (const b of backends) steps.push(flatHop(view, from, b.ip));
  return steps;
}

function fromFlat(view: View, from: Pod, target: Target, decision: Decision): TraceStep[] {
  const root = `node ${from.node}, root`;
  const steps: TraceStep[] = [
    { where: `${root}, chain raw_pre`, what: 'source address belongs to this interface', by: 'set src' },
  ];
  const { destination } = decision;
  let last = [{ ip: target.address, port: target.port, node: '' }];
  if (destination.kind === 'Service') {
    if (decision.decidedBy === 'kube-proxy')
      return [...steps, { where: root, what: `${decision.verdict}: ${decision.why}`, by: 'kube-proxy' }];
    last = backendsOf(view, from, destination, target);
    steps.push({
      where: root,
      what: `translated to ${last.map((b) => `${b.ip}:${b.port}`).join(' or ')}`,
      by: `Service ${keyOf(destination.service)}, kube-proxy`,
    });
  }
  if (decision.decidedBy === 'ingress gate') {
    const network = destination.kind === 'Pod' || destination.kind === 'Service' ? destination.network : '';
    const pod = destination.kind === 'Pod' ? destination.pod : view.podByIp.get(last[0]?.ip ?? '');
    if (pod && pod.node !== from.node)
      steps.push({ where: `${root}, bh0`, what: `to node ${pod.node}`, by: 'route to its pod CIDR' });
    const vni = view.state.networks.get(network)?.vni ?? 0;
    return [
      ...steps,
      {
        where: `node ${pod?.node ?? '?'}, namespace bh-${vni}, chain gate_in`,
        what: `${decision.verdict}: ${decision.why}`,
        by: nameOf(network),
      },
    ];
  }
  if (decision.verdict !== 'open')
    return [...steps, { where: root, what: `${decision.verdict}: ${decision.why}`, by: decision.decidedBy ?? 'route' }];
  if (destination.kind === 'External')
    return [
      ...steps,
      { where: root, what: 'leaves the cluster with the address of the node', by: 'chain nat_post' },
      { where: 'outside', what: `arrives at ${label(target)}`, by: 'route' },
    ];
  if (destination.kind === 'Node') return [...steps, ...toNode(view, from, destination.node, target, decision)];
  if ('network' in destination && destination.network !== FLAT_NETWORK)
    return [...steps, ...last.flatMap((b) => intoNetwork(view, from, destination.network, b))];
  return [...steps, ...last.map((b) => flatHop(view, from, b.ip))];
}

/** To a node: a port of it leads to a pod, or the host itself answers. */
function toNode(view: View, from: Pod, node: string, target: Target, { policies, why }: Decision): TraceStep[] {
  const root = `node ${node}, root`;
  const ends = policies.filter(({ flow }) => flow.to.ip !== target.address);
  const away: TraceStep[] =
    node === from.node
      ? []
      : [{ where: `node ${from.node}, root`, what: 'leaves with the address of the node', by: 'chain nat_post' }];
  if (ends.length === 0) return [...away, { where: root, what: 'arrives at the host', by: 'route' }];
  const to = [...new Set(ends.map(({ flow }) => label({ ...target, address: flow.to.ip, port: flow.port })))];
  return [
    ...away,
    { where: root, what: `translated to ${to.join(' or ')}`, by: why },
    ...ends.flatMap(({ flow: { to: end, port } }): TraceStep[] => {
      const network = end.pod && networkOf(view, end.pod);
      const at = { ...from, node };
      if (network === undefined || network === FLAT_NETWORK) return [flatHop(view, at, end.ip)];
      return intoNetwork(view, at, network, { ip: end.ip, port, node: end.pod?.node ?? '' });
    }),
  ];
}

function flatHop(view: View, from: Pod, ip: string): TraceStep {
  const pod = view.podByIp.get(ip);
  if (!pod) return { where: `node ${from.node}, root`, what: `to host ${ip}`, by: 'route' };
  if (pod.node === from.node)
    return { where: `node ${pod.node}, root`, what: `into pod ${keyOf(pod)} on this node`, by: 'route' };
  return {
    where: `node ${from.node}, root, bh0`,
    what: `to node ${pod.node}, into pod ${keyOf(pod)}`,
    by: 'route to its pod CIDR',
  };
}

type Dialled = { readonly service: Service; readonly network: string };
type Place = { readonly ip: string; readonly port: number; readonly node: string };

const backendsOf = (view: View, from: Pod, dialled: Dialled, target: Target): Place[] =>
  usableBackends(view, dialled, target, { node: from.node, from: 'inside', by: translatorOf(networkOf(view, from)) });

/** "address:port", as people write it. */
export const label = (t: Target): string =>
  t.port === 0 ? t.address : t.address.includes(':') ? `[${t.address}]:${t.port}` : `${t.address}:${t.port}`;
