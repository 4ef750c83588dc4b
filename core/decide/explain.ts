import { FLAT_NETWORK } from '../../api/names.ts';
import { PROTOCOLS, type Protocol } from '../../api/nodeconfig.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { Pod } from '../cluster/state.ts';
import { networkOf, type View } from '../view/view.ts';
import { decideByNetworks, ipsOf } from './by-networks.ts';
import type { Decision } from './decision.ts';
import { type Cell, compileCell, lookUp } from '../policy/cell.ts';
import { type End, evaluate, type PolicyFlow } from '../policy/evaluate.ts';
import { policiesOf } from '../view/policies.ts';
import { groupsOf } from '../policy/profile.ts';
import type { Step } from '../policy/walk.ts';

/** The verdict on one connection, with all that had a say in it. */
export type Explanation = {
  readonly flow: PolicyFlow;
  readonly verdict: 'Accept' | 'Deny';
  /** What the sender's policies say, in the order of evaluation; empty when the sender is no pod. */
  readonly egress: readonly Step[];
  readonly ingress: readonly Step[];
  /** What networks, routers and gates say. */
  readonly network: {
    readonly verdict: Decision['verdict'];
    readonly why: string;
    readonly from: string | undefined;
    readonly to: string | undefined;
  };
};

/** Ports of one protocol that share a verdict. ICMP has no ports: 0 to 0. */
export type PortVerdict = {
  readonly protocol: Protocol | 'ICMP';
  readonly first: number;
  readonly last: number;
  readonly verdict: 'Accept' | 'Deny';
};

/** Networks and policies together, for one port. A pod of the host's network is its node, on either side. */
export function explain(view: View, from: Pod, to: End, protocol: Protocol | 'ICMP', port: number): Explanation {
  const { index } = policiesOf(view);
  const on = { from: networkOf(view, from), to: to.pod ? networkOf(view, to.pod) : undefined };
  const source: End = { ip: sourceFor(view, from, to.ip), pod: from.hostNetwork ? undefined : from };
  const flow: PolicyFlow = { from: source, to, protocol, port };
  if (to.pod && ipsOf(view, from).includes(to.ip))
    return {
      flow,
      verdict: 'Accept',
      egress: [],
      ingress: [],
      network: { ...on, verdict: 'open', why: 'a pod reaches itself' },
    };
  const network = from.hostNetwork
    ? decideForNode(view, from, to)
    : decideByNetworks(view, from, { address: to.ip, port, protocol });
  const { verdict, egress, ingress } = evaluate(index, flow);
  return {
    flow,
    verdict: network.verdict === 'open' ? verdict : 'Deny',
    egress: egress?.steps ?? [],
    ingress: ingress?.steps ?? [],
    network: { ...on, verdict: network.verdict, why: network.why },
  };
}

/** A node reaches the flat network, and of the others only its own pods. */
function decideForNode(view: View, from: Pod, { pod }: End): Pick<Decision, 'verdict' | 'why'> {
  const network = pod ? networkOf(view, pod) : FLAT_NETWORK;
  if (network === FLAT_NETWORK) return { verdict: 'open', why: 'nodes reach the flat network' };
  if (pod && pod.node !== '' && pod.node === from.node) return { verdict: 'open', why: 'a node reaches its own pods' };
  return { verdict: 'rejected', why: `${networkName(network)} lets nothing in from other nodes` };
}

/** Every port, as few pieces as there are differences. */
export function explainPorts(view: View, from: Pod, to: End): PortVerdict[] {
  const source = sourceFor(view, from, to.ip);
  // A pod reaches itself whatever policies say.
  if (to.pod && ipsOf(view, from).includes(to.ip))
    return [...PROTOCOLS, 'ICMP' as const].map((protocol) => ({
      protocol,
      first: 0,
      last: protocol === 'ICMP' ? 0 : 65_535,
      verdict: 'Accept',
    }));
  const cells = [cellOf(view, 'egress', from, to.ip), ...(to.pod ? [cellOf(view, 'ingress', to.pod, source)] : [])];
  const pieces = PROTOCOLS.flatMap((protocol) => startsOf(cells, protocol).map((first) => ({ protocol, first })));
  const all = [...pieces, { protocol: 'ICMP' as const, first: 0 }].map(({ protocol, first }): PortVerdict => {
    const { network } = explain(view, from, to, protocol, first === 0 ? 1 : first);
    const open = network.verdict === 'open';
    const accepted = cells.every((c) => c === undefined || lookUp(c, protocol, first).verdict === 'Accept');
    return { protocol, first, last: first, verdict: open && accepted ? 'Accept' : 'Deny' };
  });
  return joined(all);
}

/** The address by which a pod speaks to another address. */
export const sourceFor = (view: View, from: Pod, to: string): string =>
  ipsOf(view, from).find((ip) => familyOf(ip) === familyOf(to)) ?? from.ips[0] ?? '';

/** What a network is called in an answer. */
export const networkName = (network: string | undefined): string =>
  network === undefined ? 'none' : network === FLAT_NETWORK ? 'default' : network;

function cellOf(view: View, direction: 'ingress' | 'egress', pod: Pod, other: string): Cell | undefined {
  const profile = policiesOf(view).profiles.of(pod);
  return profile && compileCell(profile.item[direction], groupsOf(profile.groups, other));
}

function startsOf(cells: readonly (Cell | undefined)[], protocol: Protocol): number[] {
  const starts = new Set([0]);
  for (const cell of cells)
    for (const p of cell?.ports ?? []) if (p.protocol === protocol) starts.add(p.first).add(p.last + 1);
  return [...starts].filter((s) => s <= 65_535).sort((a, b) => a - b);
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
