/** IANA protocol numbers. */
export const PROTOCOL_NUMBER = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 } as const;

/** One direction of a flow. Ports are 0 where the protocol has none. */
export type FlowSide = { readonly src: string; readonly dst: string; readonly sport: number; readonly dport: number };

/** A connection that the kernel tracks. `reply` is the answering direction: after translation its `src` is the real destination. */
export type Flow = {
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly orig: FlowSide;
  readonly reply: FlowSide;
  readonly mark: number;
  /** enum tcp_conntrack; 1 is SYN_SENT. Undefined for other protocols. */
  readonly tcpState: number | undefined;
  /** What names it to the kernel. */
  readonly handle: { readonly tuple: Buffer; readonly id: Buffer | undefined };
};
