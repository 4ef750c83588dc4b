import type { PortMapping } from '../../api/cni.ts';
import type { IpamEvent } from '../../core/ipam/ipam-event.ts';

/** A pod's interface as it was wired. `id` is "containerID/ifname". */
export type Attachment = {
  readonly id: string;
  readonly containerID: string;
  readonly ifname: string;
  readonly netns: string;
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  readonly network: string;
  readonly vni: number;
  readonly hostIf: string;
  readonly mac: string;
  readonly mtu: number;
  readonly ips: readonly string[];
  /** Of an interface beside the first: id of the first. */
  readonly parent?: string;
  /** Of an interface beside the first: what is sent out of it, and the addresses of the first. */
  readonly extra?: { readonly prefixes: readonly string[]; readonly first: readonly string[] };
  /** Of each interface of a pod with several: the routing table by which its replies leave. */
  readonly table?: number;
  /** Ports of the node that lead here. */
  readonly ports?: readonly PortMapping[];
};

/** What the journal remembers, one line each. */
export type JournalEntry =
  | IpamEvent
  | { readonly op: 'attach'; readonly attachment: Attachment }
  | { readonly op: 'detach'; readonly id: string };
