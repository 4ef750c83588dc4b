import type { ProfileItem, Protocol } from '../../api/nodeconfig.ts';
import type { Direction } from '../../core/cluster/policy.ts';
import { evaluateProfile } from '../../core/policy/evaluate-profile.ts';
import type { Step } from '../../core/policy/walk.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { type Flow, type FlowSide, PROTOCOL_NUMBER } from '../../lib/netlink/flow.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { element } from './fragment.ts';
import { addrType, FAMILIES } from './names.ts';

/** What decides about connections in one namespace. */
export type PolicyRules = {
  /** Local pods that policies select, by address. */
  readonly pods: ReadonlyMap<string, { readonly pod: string; readonly profile: ProfileItem }>;
  readonly groupsOf: (address: string) => ReadonlySet<string>;
  /** Addresses of this node itself: from there pods are always reached, and NetworkPolicies do not count towards them. */
  readonly own: ReadonlySet<string>;
};

/** A connection that was made when policies allowed it, and that these do not. */
export type DeniedFlow = {
  readonly flow: Flow;
  readonly protocol: Protocol | 'ICMP';
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly port: number;
  /** Whose policies, and on which side. */
  readonly pod: string;
  readonly direction: Direction;
  readonly by: Step | undefined;
  /** Neither end speaks on it any more: it is only forgotten. */
  readonly over: boolean;
};

/** enum tcp_conntrack: TIME_WAIT, CLOSE. */
const TCP_OVER: readonly (number | undefined)[] = [7, 8];

/** Those of the connections that would not be let through if they began now. */
export function deniedFlows(flows: readonly Flow[], rules: PolicyRules): DeniedFlow[] {
  return flows.flatMap((flow): DeniedFlow[] => {
    const protocol = protocolOf(flow.protocol);
    // Where it goes in truth: behind the translation of Services, before any masquerade.
    const { src: source, sport: sourcePort } = flow.orig;
    const { src: destination } = flow.reply;
    const port = protocol === 'ICMP' ? 0 : flow.reply.sport;
    const over = TCP_OVER.includes(flow.tcpState);
    const say = (direction: Direction): DeniedFlow[] => {
      const [own, other] = direction === 'egress' ? [source, destination] : [destination, source];
      const pod = rules.pods.get(own);
      const ownNode = rules.own.has(other);
      if (!pod || (ownNode && direction === 'ingress')) return [];
      const side = pod.profile[direction];
      const { verdict, steps } = evaluateProfile(side, rules.groupsOf(other), { protocol, port }, { ownNode });
      if (verdict === 'Accept') return [];
      return [
        { flow, protocol, source, destination, sourcePort, port, pod: pod.pod, direction, by: steps.at(-1), over },
      ];
    };
    const [denied] = [...say('egress'), ...say('ingress')];
    return denied ? [denied] : [];
  });
}

/** Elements that keep a cut connection from coming back, whichever end speaks first. ICMP needs none: a reply alone is invalid. */
export function revokedElements({ flow, protocol, source, destination, sourcePort, port }: DeniedFlow): NftObject[] {
  if (protocol === 'ICMP') return [];
  const family = flow.family;
  const tuple = (from: string, fromPort: number, to: string, toPort: number): NftObject =>
    element(`revoked${family}`, `${protocol.toLowerCase()} . ${from} . ${fromPort} . ${to} . ${toPort}`);
  return [
    tuple(source, sourcePort, destination, port),
    tuple(destination, port, source, sourcePort),
    // The answer as it comes while it is not translated back.
    ...(flow.reply.dst === source && flow.reply.dport === sourcePort
      ? []
      : [tuple(destination, port, flow.reply.dst, flow.reply.dport)]),
  ];
}

/** The sets of {@link revokedElements}. */
export const REVOKED_SETS = FAMILIES.map((f): NftObject & { kind: 'set' } => ({
  kind: 'set',
  name: `revoked${f}`,
  type: `inet_proto . ${addrType(f)} . inet_service . ${addrType(f)} . inet_service`,
}));

/** The connections that a key of these sets may be of: which end began, it does not say. None for what is no such key. */
export function flowsOfRevoked(key: string): Omit<Flow, 'handle'>[] {
  const [name = '', src = '', sport = '', dst = '', dport = ''] = key.split(' . ');
  const protocol = { tcp: PROTOCOL_NUMBER.TCP, udp: PROTOCOL_NUMBER.UDP, sctp: PROTOCOL_NUMBER.SCTP }[name];
  if (protocol === undefined) return [];
  const there = { src, dst, sport: Number(sport), dport: Number(dport) };
  const back = { src: dst, dst: src, sport: Number(dport), dport: Number(sport) };
  const flow = (orig: FlowSide, reply: FlowSide) => ({
    family: familyOf(src),
    protocol,
    orig,
    reply,
    mark: 0,
    tcpState: undefined,
  });
  return [flow(there, back), flow(back, there)];
}

function protocolOf(number: number): Protocol | 'ICMP' {
  if (number === PROTOCOL_NUMBER.TCP) return 'TCP';
  if (number === PROTOCOL_NUMBER.UDP) return 'UDP';
  return number === PROTOCOL_NUMBER.SCTP ? 'SCTP' : 'ICMP';
}
