import type { Protocol } from '../../api/nodeconfig.ts';
import { matches } from '../cluster/selector.ts';
import type { Pod } from '../cluster/state.ts';
import { nodeAddress, ownAddresses, probeSource } from '../nodes/addresses.ts';
import { isInNetworks } from './groups.ts';
import { type PolicyIndex, selects } from './index.ts';
import { type Direction, type Peer, policyKey, type PolicyRule, type Port } from '../cluster/policy.ts';
import { type SideVerdict, walk } from './walk.ts';

/** One end of a connection. `pod` is undefined for a node, and for anything outside. */
export type End = {
  readonly ip: string;
  readonly pod: Pod | undefined;
  /** It comes through the gate of an isolated network by its node's own address: not as what the pod is always reached by. */
  readonly gated?: true;
};

/** A new connection as policy sees it: behind the translation of Services, before any masquerade. Port 0 for ICMP and the like. */
export type PolicyFlow = {
  readonly from: End;
  /** As what the receiver sees the sender, where a node between them masquerades. */
  readonly seenAs?: End;
  /** What the sender's policies see, where another node than the sender's translates. */
  readonly asSent?: { readonly to: End; readonly port: number };
  readonly to: End;
  readonly protocol: Protocol | 'ICMP';
  readonly port: number;
};

export type PolicyVerdict = {
  readonly verdict: 'Accept' | 'Deny';
  /** What the sender's policies say; undefined when the sender is no pod. */
  readonly egress: SideVerdict | undefined;
  /** What the receiver's policies say; undefined when the receiver is no pod. */
  readonly ingress: SideVerdict | undefined;
};

/** Both ends are asked, and both must accept. Nothing else in Bulkhead makes a verdict about policies. */
export function evaluate(index: PolicyIndex, flow: PolicyFlow): PolicyVerdict {
  const egress = flow.from.pod && evaluateSide(index, 'egress', flow.from.pod, flow);
  const ingress = flow.to.pod && evaluateSide(index, 'ingress', flow.to.pod, flow);
  const denied = egress?.verdict === 'Deny' || ingress?.verdict === 'Deny';
  return { verdict: denied ? 'Deny' : 'Accept', egress, ingress };
}

/** What the policies that select `pod` say of a flow from it (egress) or to it (ingress). */
export function evaluateSide(index: PolicyIndex, direction: Direction, pod: Pod, whole: PolicyFlow): SideVerdict {
  const flow = direction === 'egress' && whole.asSent ? { ...whole, ...whole.asSent } : whole;
  const other = direction === 'egress' ? flow.to : (flow.seenAs ?? flow.from);
  const own = isOwnNode(index, direction, pod, other);
  if (own && direction === 'ingress')
    return { verdict: 'Accept', steps: [{ tier: 'Node', policy: '', rule: '', action: 'Accept', decides: true }] };
  const policies = index.selecting(pod).filter((p) => p[direction] !== undefined);
  const rules = policies.flatMap((p) =>
    (p[direction] ?? []).map((rule) => ({
      tier: p.tier,
      policy: policyKey(p),
      rule: rule.name,
      action: rule.action,
      spec: rule,
    })),
  );
  const isolatedBy = policies.filter((p) => p.kind === 'NetworkPolicy').map(policyKey);
  const said = walk({ isolatedBy, rules }, ({ spec }) => hits(index, spec, other, flow), { ownNode: own });
  return own && isolatedBy.length > 0 ? exempted(said, isolatedBy) : said;
}

/** NetworkPolicies that would have been asked of any other end than the pod's own node are the reason, not their absence. */
function exempted({ verdict, steps }: SideVerdict, isolatedBy: readonly string[]): SideVerdict {
  return {
    verdict,
    steps: steps.map((s) => (s.tier === 'Default' ? { ...s, tier: 'Node', policy: isolatedBy.join(', ') } : s)),
  };
}

function hits(index: PolicyIndex, rule: PolicyRule, other: End, flow: PolicyFlow): boolean {
  const peer = rule.peers === 'any' || rule.peers.some((p) => isPeer(index, p, other));
  return peer && (rule.ports === 'any' || rule.ports.some((p) => isPort(p, flow)));
}

function isPeer({ state }: PolicyIndex, peer: Peer, { ip, pod }: End): boolean {
  switch (peer.kind) {
    case 'pods':
      return pod !== undefined && selects(state, peer, pod);
    case 'networks': {
      // A node is known to its pods by an address of its pod CIDR; people write the one that they know.
      const addresses = pod ? [ip] : [ip, ...nodeAddressesFor(state, ip)];
      return addresses.some((address) => isInNetworks(peer, address));
    }
    case 'nodes':
      return (
        pod === undefined &&
        [...state.nodes.values()].some((n) => n.addresses.includes(ip) && matches(peer.nodes, n.labels))
      );
  }
}

function isPort(port: Port, { to, protocol, port: number }: PolicyFlow): boolean {
  if (port.kind === 'range') return port.protocol === protocol && port.first <= number && number <= port.last;
  return (
    to.pod !== undefined &&
    to.pod.ports.some(
      (p) =>
        p.name === port.name &&
        p.port === number &&
        p.protocol === protocol &&
        (port.protocol === undefined || port.protocol === protocol),
    )
  );
}

/** The addresses of the node that has `ip` as its address inside the pod ranges. */
function nodeAddressesFor(state: PolicyIndex['state'], ip: string): readonly string[] {
  for (const node of state.nodes.values())
    if (node.podCIDRs.some((c) => nodeAddress(c) === ip))
      return node.addresses.filter((a) => a.includes(':') === ip.includes(':'));
  return [];
}

function isOwnNode({ state }: PolicyIndex, direction: Direction, pod: Pod, { ip, pod: other, gated }: End): boolean {
  if (other || gated) return false;
  const node = state.nodes.get(pod.node);
  if (!node) return false;
  // What a pod sends to any address of its node arrives there, whatever the address is for.
  if (direction === 'egress' && [...node.further, ...(node.local ?? [])].includes(ip)) return true;
  if (direction === 'egress' && node.podCIDRs.some((c) => ownAddresses(c).includes(ip))) return true;
  // `.0` is not among them: by that come connections which the node only masquerades.
  return node.addresses.includes(ip) || node.podCIDRs.some((c) => probeSource(c) === ip);
}
