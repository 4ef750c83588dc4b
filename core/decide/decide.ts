import { FLAT_NETWORK } from '../../api/names.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { keyOf, type Pod, type Service } from '../cluster/state.ts';
import { networkOf, podAt, type View } from '../view/view.ts';
import { decideByNetworks, ipsOf, sourceNetwork } from './by-networks.ts';
import type { Decision, PolicyAnswer, Target } from './decision.ts';
import { nodeAddress } from '../nodes/addresses.ts';
import { type End, evaluate, type PolicyFlow, type PolicyVerdict } from '../policy/evaluate.ts';
import { policiesOf } from '../view/policies.ts';
import type { SideVerdict } from '../policy/walk.ts';
import { serviceAtNodePort, translatorOf, usableBackends } from '../services/usable.ts';

/**
 * What must happen when `from` opens a connection to `target`: what the networks let pass, less what policies of either end deny.
 *
 * In the order in which a packet meets them: service map, the sender's policies, gates, the receiver's policies. A policy drops in
 * silence, where isolation refuses.
 */
export function decide(view: View, from: Pod, target: Target): Decision {
  const base = decideByNetworks(view, from, target);
  if (base.decidedBy === 'service map' || base.decidedBy === 'nobody' || ipsOf(view, from).includes(target.address))
    return base;
  const own = sourceNetwork(view, from, target.address) !== FLAT_NETWORK;
  if (base.decidedBy === 'node port gate' && !own) return base; // that is asked first
  const { index } = policiesOf(view);
  const policies = flowsOf(view, from, target, base).map((flow): PolicyAnswer => ({ flow, ...evaluate(index, flow) }));
  const denied = (side: 'egress' | 'ingress'): PolicyAnswer | undefined => {
    const some = policies.filter((p) => p[side]?.verdict === 'Deny');
    return some.length > 0 && some.length === policies.length ? some[0] : undefined;
  };
  const out = denied('egress');
  if (out) return closed(base, policies, 'egress policy', from, out.egress);
  if (base.verdict !== 'open') return { ...base, policies };
  if (policies.length > 0 && policies.every((p) => p.verdict === 'Deny')) {
    const into = policies.find((p) => p.ingress?.verdict === 'Deny');
    return closed(base, policies, 'ingress policy', into?.flow.to.pod, into?.ingress);
  }
  return { ...base, policies };
}

function closed(
  base: Decision,
  policies: readonly PolicyAnswer[],
  decidedBy: 'egress policy' | 'ingress policy',
  pod: Pod | undefined,
  side: SideVerdict | undefined,
): Decision {
  const what = decidedBy === 'egress policy' ? 'what it sends' : 'what it is sent';
  return {
    ...base,
    verdict: 'closed',
    decidedBy,
    policies,
    why: `${describeSide(side)} denies pod ${pod ? keyOf(pod) : ''} ${what}`,
  };
}

/** "ClusterNetworkPolicy deny, rule no-db (Admin)", "NetworkPolicy x/deny: no rule accepts it" */
export function describeSide(side: PolicyVerdict['egress']): string {
  const step = side?.steps.at(-1);
  if (!step) return '';
  if (step.tier === 'NetworkPolicy' && step.rule === '') return `${step.policy}, of which no rule accepts it,`;
  return `${step.policy}, rule ${step.rule} (${step.tier})`;
}

/** What policies are asked about: one flow for each backend behind a Service, and one for anything else. */
function flowsOf(view: View, from: Pod, target: Target, { destination }: Decision): PolicyFlow[] {
  const family = familyOf(target.address);
  const source: End = { ip: ipsOf(view, from).find((ip) => familyOf(ip) === family) ?? '', pod: from };
  const flow = (to: End, port: number): PolicyFlow => ({ from: source, to, protocol: target.protocol, port });
  const direct = flow(endAt(view, target.address), target.port);
  const by = translatorOf(sourceNetwork(view, from, target.address) ?? FLAT_NETWORK);
  const behind = (service: Service, network: string, atNode: boolean): PolicyFlow[] => {
    const backends = usableBackends(view, { service, network }, target, { node: from.node, from: 'inside', by });
    return backends.map((b) => {
      // A node masquerades what it sends on to a pod of another node.
      const cidr = view.state.nodes.get(from.node)?.podCIDRs.find((c) => familyOf(c) === family);
      const masked = atNode && b.node !== from.node && cidr !== undefined;
      return {
        ...flow(endAt(view, b.ip), b.port),
        ...(masked ? { seenAs: { ip: nodeAddress(cidr), pod: undefined } } : {}),
      };
    });
  };
  if (destination.kind === 'Service') {
    const found = behind(destination.service, destination.network, false);
    return found.length > 0 ? found : [direct];
  }
  if (destination.kind === 'Node') {
    const own = sourceNetwork(view, from, target.address) ?? FLAT_NETWORK;
    // A network's own instance translates its own node ports; of all others only the flat network's pods reach any, by kube-proxy.
    for (const network of own === FLAT_NETWORK ? view.servicesByNetwork.keys() : [own]) {
      const service = serviceAtNodePort(view, network, target);
      const found = service ? behind(service, network, own === FLAT_NETWORK) : [];
      if (found.length > 0) return found;
    }
  }
  return [direct];
}

function endAt(view: View, ip: string): End {
  const pod = podAt(view, ip);
  return { ip, pod: pod && networkOf(view, pod) !== undefined ? pod : undefined };
}
