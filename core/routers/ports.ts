import type { PortRange } from '../../api/kinds/port-range.ts';
import { type PortSet, PROTOCOLS, type Protocol } from '../../api/nodeconfig.ts';

type Range = Exclude<PortSet, 'any'>[number];

export const NO_PORTS: PortSet = [];

/** What a list in a spec means. Absent: any. */
export const portSet = (ports: readonly PortRange[] | undefined): PortSet =>
  ports === undefined
    ? 'any'
    : normal(ports.map(({ protocol, port, endPort }) => ({ protocol, first: port, last: endPort ?? port })));

/** What either lets pass. */
export function union(a: PortSet, b: PortSet): PortSet {
  return a === 'any' || b === 'any' ? 'any' : normal([...a, ...b]);
}

/** What both let pass. */
export function intersection(a: PortSet, b: PortSet): PortSet {
  if (a === 'any') return b;
  if (b === 'any') return a;
  return normal(
    a.flatMap((x) =>
      b.flatMap((y) => {
        const first = Math.max(x.first, y.first);
        const last = Math.min(x.last, y.last);
        return x.protocol === y.protocol && first <= last ? [{ protocol: x.protocol, first, last }] : [];
      }),
    ),
  );
}

/** Whether a port may pass. ICMP passes only where any port does. */
export const admits = (set: PortSet, protocol: Protocol | 'ICMP', port: number): boolean =>
  set === 'any' || set.some((r) => r.protocol === protocol && r.first <= port && port <= r.last);

export const isEmpty = (set: PortSet): boolean => set !== 'any' && set.length === 0;

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
        merged.splice(-1, 1, { ...last, last: Math.max(last.last, range.last) });
      else merged.push(range);
    }
    return merged;
  });
}
