import { keyOf } from '../../core/cluster/state.ts';
import type { View } from '../../core/view/view.ts';
import { explain } from '../../core/decide/explain.ts';
import type { Protocol } from '../../api/nodeconfig.ts';
import { endOf } from './end.ts';

/** One cell of the matrix. */
export type Pair = {
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly verdict: 'Accept' | 'Deny';
};

/** Every pod to every declared port of every pod, itself included. */
export function matrix(view: View): Pair[] {
  const pods = [...view.state.pods.values()]
    .filter((p) => !p.finished && p.ips.length > 0)
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return pods.flatMap((from) =>
    pods.flatMap((to) => {
      const end = endOf(from, to);
      const declared = new Map(to.ports.map((p) => [`${p.port}/${p.protocol}`, p]));
      return [...declared.values()].map(({ port, protocol }): Pair => {
        const { verdict } = explain(view, from, end, protocol, port);
        return { from: keyOf(from), to: keyOf(to), port, protocol, verdict };
      });
    }),
  );
}

/** Who reaches a port, and who does not: a line for each port of each pod. */
export function matrixTable(pairs: readonly Pair[]): string[][] {
  const rows = Map.groupBy(pairs, (p) => `${p.to}:${p.port}/${p.protocol}`);
  return [
    ['TO', 'ACCEPTED', 'DENIED', 'FROM'],
    ...[...rows].map(([to, all]) => {
      const accepted = all.filter((p) => p.verdict === 'Accept');
      const from = accepted.length === all.length ? 'everybody' : accepted.map((p) => p.from).join(' ');
      return [to, String(accepted.length), String(all.length - accepted.length), from];
    }),
  ];
}
