import type { Protocol } from '../../api/nodeconfig.ts';

/** One question of a case, taken apart. */
export type Probe = {
  readonly from: string;
  /** "ns/pod", "ns/svc-b", or "out". */
  readonly to: string;
  readonly port: number;
  readonly protocol: Protocol | 'ICMP';
};

/** Reads "x/a>y/b:80u". Throws for anything else. */
export function probeOf(text: string): Probe {
  const found = /^(\S+)>(\S+):(?:(\d+)(u?)|icmp)$/.exec(text);
  if (!found) throw new Error(`not a probe: ${text}`);
  const [, from = '', to = '', port, udp] = found;
  return { from, to, port: Number(port ?? 0), protocol: port === undefined ? 'ICMP' : udp === 'u' ? 'UDP' : 'TCP' };
}
