import { API_SERVER_ACCESS, type ApiServerAccess, type NetworkItem, type Protocol } from '../../api/nodeconfig.ts';
import { ALLOWED_MARK, FAMILIES, ipWord, type FamilySet, UPLINK_DEV, VXLAN_DEV } from './names.ts';
import { peerInRules, peerOutRules } from './peers.ts';
import { SHARE_OUT_RULE } from './shares.ts';

/**
 * The gates of a network's instance, each as one ordered list of rules with two readers: {@link renderGate} writes it for nft, and
 * {@link passes} asks it about a connection that stands. What the two say is compared by a test on random networks and connections.
 */
export type GateRule = {
  /** Rules of nft; with a family, once for each. */
  readonly nft: readonly string[] | ((ip: string, family: 4 | 6) => readonly string[]);
  /** Whether it decides about a connection. Absent: it decides about none. */
  readonly decides?: (flow: GateFlow, facts: GateFacts) => boolean;
  readonly passes?: boolean;
};

/** A connection between a pod of the network and another address, after the translation of Services. */
export type GateFlow = {
  readonly src: string;
  readonly dst: string;
  readonly protocol: Protocol | 'ICMP';
  readonly port: number;
  /** It carries the mark of a Service of the allow list or of a router. */
  readonly marked: boolean;
};

/** Whether an address is in a set of the gate. */
type IsIn = (ip: string) => boolean;
/** The same for a port of an address. */
type IsPortIn = (ip: string, protocol: Protocol | 'ICMP', port: number) => boolean;

/** What the sets of the gates hold, by their names. */
export type GateFacts = {
  readonly probe: IsIn;
  readonly node: IsIn;
  readonly pods: IsIn;
  readonly cluster: IsIn;
  readonly own: IsIn;
  readonly api: IsIn;
  readonly registered: IsPortIn;
  readonly exposed: IsPortIn;
  readonly egress_ok: IsIn;
  readonly egress_ok_port: IsPortIn;
  /** Where a router lets the network's pods connect to. */
  readonly peerOut: (flow: GateFlow) => boolean;
  /** What a router, or the pod itself, lets come in. */
  readonly peerIn: (flow: GateFlow) => boolean;
};

type AddressSet = { [K in keyof GateFacts]: GateFacts[K] extends IsIn ? K : never }[keyof GateFacts] & FamilySet;
type PortSetName = 'registered' | 'exposed' | 'egress_ok_port';

/** A condition: as nft writes it, and as it is asked. */
type Condition = {
  readonly nft: (ip: string, family: 4 | 6) => string;
  readonly holds: (flow: GateFlow, facts: GateFacts) => boolean;
};
const source = (set: AddressSet): Condition => ({
  nft: (ip, f) => `${ip} saddr @${set}${f}`,
  holds: ({ src }, facts) => facts[set](src),
});
const target = (set: AddressSet): Condition => ({
  nft: (ip, f) => `${ip} daddr @${set}${f}`,
  holds: ({ dst }, facts) => facts[set](dst),
});
const port = (set: PortSetName): Condition => ({
  nft: (ip, f) => `${ip} daddr . meta l4proto . th dport @${set}${f}`,
  holds: ({ dst, protocol, port }, facts) => facts[set](dst, protocol, port),
});
/** Every connection that is asked about goes to a pod, or comes from one. */
const toPod: Condition = { nft: () => 'oifname "bhp*"', holds: () => true };

/** How a rule ends. `return`: the receiver's policies decide. */
const VERDICTS = {
  accept: { passes: true, nft: 'accept' },
  return: { passes: true, nft: 'return' },
  refuseOut: { passes: false, nft: 'counter name egress_gate goto deny' },
  refuseIn: { passes: false, nft: 'counter name ingress_gate goto deny' },
  dropIn: { passes: false, nft: 'counter name ingress_gate drop' },
} as const;

const when = (conditions: readonly Condition[], verdict: keyof typeof VERDICTS): GateRule => ({
  nft: (ip, family) => [[...conditions.map((c) => c.nft(ip, family)), VERDICTS[verdict].nft].join(' ')],
  decides: (flow, facts) => conditions.every((c) => c.holds(flow, facts)),
  passes: VERDICTS[verdict].passes,
});
const always = (verdict: keyof typeof VERDICTS): GateRule => ({
  nft: [VERDICTS[verdict].nft],
  decides: () => true,
  passes: VERDICTS[verdict].passes,
});
/** A rule about packets that are no business of {@link passes}. */
const only = (nft: string): GateRule => ({ nft: [nft] });

type EgressSpec = Pick<NetworkItem, 'egress' | 'egressAllow'>;

/** What may leave the cluster: nothing, everything, or what the allow list names. */
function egressRules({ egress, egressAllow }: EgressSpec): GateRule[] {
  if (egress === 'None') return [always('refuseOut')];
  if (!egressAllow) return [always('accept')];
  const listed: GateRule = {
    nft: (ip, f) => [target('egress_ok'), port('egress_ok_port')].map((c) => `${c.nft(ip, f)} accept`),
    decides: ({ dst, protocol, port: at }, facts) => facts.egress_ok(dst) || facts.egress_ok_port(dst, protocol, at),
    passes: true,
  };
  return [listed, always('refuseOut')];
}

/** To the root. */
export const gateOut = (network: EgressSpec): GateRule[] => [
  only(SHARE_OUT_RULE),
  { nft: [`ct mark ${ALLOWED_MARK} accept`], decides: ({ marked }) => marked, passes: true },
  { nft: peerOutRules, decides: (flow, facts) => facts.peerOut(flow), passes: true },
  when([target('cluster')], 'refuseOut'),
  ...egressRules(network),
];

/** By the VXLAN: to the network itself, and where another node has its egress address, to the outside by that. */
export const gateVia = (network: EgressSpec): GateRule[] => [
  when([target('own')], 'accept'),
  only(SHARE_OUT_RULE),
  when([target('cluster')], 'refuseOut'),
  ...egressRules(network),
];

/** From the root. */
export const gateIn = ({ apiServerAccess = 'All' }: Pick<NetworkItem, 'apiServerAccess'>): GateRule[] => [
  only(`oifname { "${UPLINK_DEV}", "${VXLAN_DEV}" } drop`),
  // A pod's own node always reaches it, whatever policies say.
  when([source('probe'), toPod], 'accept'),
  { nft: peerInRules, decides: (flow, facts) => facts.peerIn(flow), passes: true },
  ...apiServerRules(apiServerAccess),
  when([source('node'), port('exposed')], 'return'),
  when([source('pods')], 'refuseIn'),
  when([port('exposed')], 'return'),
  always('dropIn'),
];

/** After them the policies of the receiving pod decide, as for any other client. */
function apiServerRules(access: ApiServerAccess): GateRule[] {
  const rules: Readonly<Record<(typeof API_SERVER_ACCESS)[number], GateRule[]>> = {
    None: [],
    Registered: [when([source('api'), port('registered')], 'return')],
    All: [when([source('api')], 'return')],
  };
  return rules[access];
}

/** A gate as the rules of a chain. */
export const renderGate = (rules: readonly GateRule[]): string[] =>
  rules.flatMap(({ nft }) => (typeof nft === 'function' ? FAMILIES.flatMap((f) => nft(ipWord(f), f)) : nft));

/** Whether a gate lets a connection pass that would begin now. */
export const passes = (rules: readonly GateRule[], flow: GateFlow, facts: GateFacts): boolean =>
  rules.find((r) => r.decides?.(flow, facts))?.passes ?? false;
