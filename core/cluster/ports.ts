import type { PortRange } from '../../api/kinds/port-range.ts';
import { type PortSet, PROTOCOLS, type Protocol } from '../../api/nodeconfig.ts';

type Range = Exclude<PortSet, 'any'>[number];

export const NO_PORTS: PortSet = [];

/** What a list in a spec means. Absent: any. */
export const portSet = (ports: readonly PortRange[] | undefined): PortSet =>
  ports === undefined
    ? 'any'
    : normal(ports.map(({ protocol, port, endPort }) => ({ protocol, first: port, last: endPort ?? port })));

/** What any of several lets pass. */
export const unionOf = (sets: readonly PortSet[]): PortSet =>
  sets.includes('any') ? 'any' : normal(sets.flatMap((s) => (s === 'any' ? [] : s)));

/** What both let pass. Each is in order, so one pass over both is enough. */
export function intersection(a: PortSet, b: PortSet): PortSet {
  if (a === 'any') return b;
  if (b === 'any') return a;
  const both: Range[] = [];
  for (const protocol of PROTOCOLS) {
    const [xs, ys] = [a, b].map((set) => set.filter((r) => r.protocol === protocol)) as [Range[], Range[]];
    for (let i = 0, j = 0; i < xs.length && j < ys.length; ) {
      const [x, y] = [xs[i] as Range, ys[j] as Range];
      const [first, last] = [Math.max(x.first, y.first), Math.min(x.last, y.last)];
      if (first <= last) both.push({ protocol, first, last });
      if (x.last < y.last) i++;
      else j++;
    }
  }
  return normal(both);
}

/** Whether a port may pass. ICMP passes only where any port does. */
export const admits = (set: PortSet, protocol: Protocol | 'ICMP', port: number): boolean =>
  set === 'any' || set.some((r) => r.protocol === protocol && r.first <= port && port <= r.last);

export const isEmpty = (set: PortSet): boolean => set !== 'any' && set.length === 0;

/** Up to this many ports of a range are elements of their own: a hash finds them in half the time of a search in ranges. */
export const FEW_PORTS = 8;

/** Elements of kernel sets that these ports make, at most. */
export const portElements = (set: PortSet): number =>
  set === 'any' ? PROTOCOLS.length : set.reduce((n, r) => n + (isFew(r) ? r.last - r.first + 1 : 1), 0);

/** Whether a range is written port by port. */
export const isFew = ({ first, last }: { readonly first: number; readonly last: number }): boolean =>
  last - first < FEW_PORTS;

/** "TCP 80-90, UDP 53" */
export const describePorts = (set: PortSet): string =>
  set === 'any'
    ? 'all ports'
    : set.map(({ protocol, first, last }) => `${protocol} ${first === last ? first : `${first}-${last}`}`).join(', ') ||
      'no port';

/** Sorted, and with ranges that touch made one: sets of the kernel take no overlapping ones. */
function normal(ranges: readonly Range[]): Range[] {
  return PROTOCOLS.flatMap((protocol) => {
    const sorted = ranges.filter((r) => r.protocol === protocol).sort((a, b) => a.first - b.first);
    const merged: Range[] = [];
    for (const range of sorted) {
      const last = merged.at(-1);
      if (last && range.first <= last.last + 1)
        merged[merged.length - 1] = { ...last, last: Math.max(last.last, range.last) };
      else merged.push(range);
    }
    return merged;
  });
}
