import { VXLAN_PORT } from '../../api/names.ts';
import { type PortSet, PROTOCOLS, type Protocol } from '../../api/nodeconfig.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { Port } from '../cluster/policy.ts';
import type { Pod } from '../cluster/state.ts';
import { portSet } from '../cluster/ports.ts';
import { readOpenings } from '../openings/openings.ts';
import type { PolicyIndex } from '../policy/index.ts';
import type { Step } from '../policy/walk.ts';
import { serviceItem } from '../services/backends.ts';
import { policiesOf } from '../view/policies.ts';
import { networkOf, networksOf, podAt, type View } from '../view/view.ts';
import { decideFrom, type Source } from './decide.ts';
import type { Decision, Target } from './decision.ts';

/** The verdict on one connection of one family, with all that had a say in it. */
export type Explanation = {
  readonly family: 4 | 6;
  readonly from: Source;
  readonly to: Target;
  readonly verdict: 'Accept' | 'Deny';
  readonly decision: Decision;
  /** Each place that the connection may end up at, behind the translation, with the steps of both sides. */
  readonly places: readonly ExplainedPlace[];
};

export type ExplainedPlace = {
  readonly flow: Decision['policies'][number]['flow'];
  readonly verdict: 'Accept' | 'Deny';
  /** What the sender's policies say, in the order of evaluation; empty when the sender is no pod. */
  readonly egress: readonly Step[];
  readonly ingress: readonly Step[];
};

/** Ports of one protocol that share a verdict. ICMP has no ports: 0 to 0. */
export type PortVerdict = {
  readonly protocol: Protocol | 'ICMP';
  readonly first: number;
  readonly last: number;
  readonly verdict: 'Accept' | 'Deny';
};

/** `decideFrom`, with the steps that the decision carries. Nothing is judged here. */
export function explain(view: View, from: Source, to: Target): Explanation {
  const decision = decideFrom(view, from, to);
  return {
    family: familyOf(to.address),
    from,
    to,
    verdict: decision.verdict === 'open' ? 'Accept' : 'Deny',
    decision,
    places: decision.policies.map(({ flow, verdict, egress, ingress }) => ({
      flow,
      verdict,
      egress: egress?.steps ?? [],
      ingress: ingress?.steps ?? [],
    })),
  };
}

/** Every port of an address, as few pieces as there are differences. */
export function explainPorts(view: View, from: Source, address: string): PortVerdict[] {
  const starts = boundaries(view, from, address);
  const pieces = PROTOCOLS.flatMap((protocol) => starts.map((first) => ({ protocol, first })));
  const all = [...pieces, { protocol: 'ICMP' as const, first: 0 }].map(({ protocol, first }): PortVerdict => {
    const port = protocol === 'ICMP' ? 0 : first;
    const { verdict } = decideFrom(view, from, { address, port, protocol });
    return { protocol, first, last: first, verdict: verdict === 'open' ? 'Accept' : 'Deny' };
  });
  return joined(all);
}

/** Numbers of ports from which on another answer is possible, of any protocol: all that any rule, grant or translation names. */
function boundaries(view: View, from: Source, address: string): number[] {
  const starts = new Set([1]);
  const range = (first: number, last = first): void => {
    starts.add(first).add(last + 1);
  };
  const set = (ports: PortSet): void => {
    if (ports !== 'any') for (const { first, last } of ports) range(first, last);
  };
  range(VXLAN_PORT);
  const to = podAt(view, address);
  const sender = from.kind === 'Pod' ? from.pod : undefined;
  const { index } = policiesOf(view);
  for (const pod of [sender, to]) {
    for (const p of pod?.ports ?? []) range(p.port);
    if (pod) for (const port of policyPorts(index, pod)) if (port.kind === 'range') range(port.first, port.last);
  }
  if (to) {
    set(readOpenings(to.annotations).ports);
    servicePorts(view, to, address).forEach((p) => range(p));
  } else
    for (const s of view.state.services.values())
      for (const p of s.ports) for (const n of [p.port, p.nodePort ?? p.port]) range(n);
  for (const pod of to ? [] : view.state.pods.values()) for (const p of pod.ports) if (p.hostPort) range(p.hostPort);
  for (const network of sender ? networksOf(view, sender) : []) {
    for (const grants of view.connections.get(network)?.values() ?? [])
      for (const { pods, services } of grants) [pods, services].forEach(set);
    for (const { ports } of view.state.networks.get(network)?.spec?.egress.allow ?? []) set(portSet(ports));
  }
  return [...starts].filter((s) => s >= 1 && s <= 65_535).sort((a, b) => a - b);
}

const policyPorts = (index: PolicyIndex, pod: Pod): Port[] =>
  index
    .selecting(pod)
    .flatMap((p) => [...(p.ingress ?? []), ...(p.egress ?? [])])
    .flatMap((r) => (r.ports === 'any' ? [] : r.ports));

/** Ports by which Services of a pod's network lead to one of its addresses. */
function servicePorts(view: View, pod: Pod, address: string): number[] {
  const network = networkOf(view, pod) ?? '';
  return (view.servicesByNetwork.get(network) ?? []).flatMap((s) =>
    serviceItem(view, s, network).ports.flatMap((p) => p.backends.flatMap((b) => (b.ip === address ? b.port : []))),
  );
}

function joined(pieces: readonly PortVerdict[]): PortVerdict[] {
  const all: PortVerdict[] = [];
  for (const [i, piece] of pieces.entries()) {
    const next = pieces[i + 1];
    const last = piece.protocol === 'ICMP' ? 0 : next?.protocol === piece.protocol ? next.first - 1 : 65_535;
    const before = all.at(-1);
    if (before?.protocol === piece.protocol && before.verdict === piece.verdict) all.splice(-1, 1, { ...before, last });
    else all.push({ ...piece, last });
  }
  return all;
}
