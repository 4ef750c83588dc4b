import type { PolicyTier } from '../../api/nodeconfig.ts';
import type { Outcome } from '../../core/policy/cell.ts';
import type { Direction } from '../../core/cluster/policy.ts';
import { packetHead } from '../../lib/ip/packet.ts';
import { PROTOCOL_NUMBER } from '../../lib/netlink/flow.ts';
import type { LoggedPacket } from '../../lib/netlink/packet-log.ts';
import { readLogPrefix } from './policy.ts';

/** A packet that a policy has dropped. */
export type Denial = {
  readonly network: string;
  /** The pod whose policies dropped it: "namespace/name", "" when it is gone. */
  readonly pod: string;
  readonly direction: Direction;
  /** "TCP", "UDP", "SCTP", "ICMP", or the IANA number. */
  readonly protocol: string;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly port: number;
  readonly tier: PolicyTier | 'Default' | 'Node';
  readonly policy: string;
  readonly rule: string;
};

/** What a logged packet tells; undefined when it is none of ours. */
export function denialOf(
  { prefix, payload }: LoggedPacket,
  network: string,
  pods: readonly { readonly pod: string; readonly link: { readonly ips: readonly string[] } }[],
  ruleOf: (number: number) => Outcome | undefined,
): Denial | undefined {
  const by = readLogPrefix(prefix);
  const rule = by && ruleOf(by.rule);
  const head = packetHead(payload);
  if (!by || !rule || !head) return undefined;
  const own = by.direction === 'egress' ? head.source : head.destination;
  const { source, sourcePort, destination, port } = head;
  const { tier, policy, rule: name } = rule;
  return {
    network,
    pod: pods.find((p) => p.link.ips.includes(own))?.pod ?? '',
    direction: by.direction,
    protocol: protocolName(head.protocol),
    source,
    sourcePort,
    destination,
    port,
    tier,
    policy,
    rule: name,
  };
}

function protocolName(number: number): string {
  if (number === PROTOCOL_NUMBER.ICMPv6) return 'ICMP';
  return Object.entries(PROTOCOL_NUMBER).find(([, n]) => n === number)?.[0] ?? String(number);
}
