import { FLAT_NETWORK } from '../../api/names.ts';
import { keyOf } from '../cluster/state.ts';
import { networkOf, type View } from '../view/view.ts';
import { decideFrom, type Source } from './decide.ts';
import type { Decision, Target } from './decision.ts';
import type { HostSource } from './from-host.ts';
import { label, type Trace, trace, type TraceStep } from './trace.ts';

/** The way of the first packet, of any sender. */
export function traceFrom(view: View, from: Source, target: Target): Trace {
  if (from.kind === 'Pod' && !from.pod.hostNetwork) return trace(view, from.pod, target);
  const host: HostSource = from.kind === 'Pod' ? { kind: 'Node', node: from.pod.node, ips: from.pod.ips } : from;
  const who =
    from.kind === 'Pod'
      ? `pod ${keyOf(from.pod)} on the network of node ${host.kind === 'Node' ? host.node : ''}`
      : undefined;
  return traceHost(view, host, target, who);
}

/** From a node's own network, or from outside: translation, the gate of the receiver's network, its policies. */
function traceHost(view: View, from: HostSource, target: Target, who?: string): Trace {
  const decision = decideFrom(view, from, target);
  const { verdict, why } = decision;
  const arrives = arrivesAt(view, from, decision);
  const steps: TraceStep[] = [
    {
      where: who ?? (from.kind === 'Node' ? `node ${from.node}, root` : 'outside'),
      what: `sends ${target.protocol} to ${label(target)}`,
      by: 'route',
    },
    ...translated(decision, target, arrives),
  ];
  const stop = (where: string, by: string): Trace => ({
    verdict,
    why,
    steps: [...steps, { where, what: `${decision.decidedBy === 'ingress policy' ? 'dropped' : verdict}: ${why}`, by }],
  });
  if (decision.decidedBy === 'ingress policy') return stop(placeOf(view, decision), decision.decidedBy);
  if (decision.decidedBy === 'ingress gate')
    return stop(`${placeOf(view, decision)}, chain gate_in`, decision.decidedBy);
  if (verdict !== 'open') return stop(arrives, decision.decidedBy ?? 'route');
  for (const { flow } of decision.policies) {
    const { to } = flow;
    steps.push({
      where: placeOf(view, {
        ...decision,
        policies: [{ flow, verdict: 'Accept', egress: undefined, ingress: undefined }],
      }),
      what: to.pod
        ? `into pod ${keyOf(to.pod)}${flow.seenAs ? `, which sees ${flow.seenAs.ip}` : ''}`
        : `to host ${to.ip}`,
      by: 'route',
    });
  }
  if (decision.policies.length === 0) steps.push({ where: arrives, what: `arrives: ${why}`, by: 'route' });
  return { verdict, why, steps };
}

function arrivesAt(view: View, from: HostSource, { destination }: Decision): string {
  if (destination.kind === 'Node') return `node ${destination.node}, root`;
  if (from.kind === 'Node') return `node ${from.node}, root`;
  if (destination.kind === 'Pod') return `node ${destination.pod.node}, root`;
  return view.state.nodes.size > 0 ? 'a node, root' : 'the cluster';
}

/** What a Service or a port of the node makes of the target. */
function translated({ destination, policies }: Decision, target: Target, where: string): TraceStep[] {
  const ends = policies.filter(({ flow }) => flow.to.ip !== target.address || flow.port !== target.port);
  if (ends.length === 0) return [];
  const to = [...new Set(ends.map(({ flow }) => label({ ...target, address: flow.to.ip, port: flow.port })))];
  const by = destination.kind === 'Service' ? `Service ${keyOf(destination.service)}, kube-proxy` : 'port of the node';
  return [{ where, what: `translated to ${to.join(' or ')}`, by }];
}

/** Where the receiver is whose gate or policies are asked. */
function placeOf(view: View, { policies, destination }: Decision): string {
  const pod = policies[0]?.flow.to.pod ?? (destination.kind === 'Pod' ? destination.pod : undefined);
  if (!pod) return destination.kind === 'Node' ? `node ${destination.node}, root` : 'a node, root';
  const network = networkOf(view, pod) ?? FLAT_NETWORK;
  const vni = view.state.networks.get(network)?.vni;
  return `node ${pod.node}, ${vni === undefined ? 'root' : `namespace bh-${vni}`}`;
}
