import { NETWORK_STATUS, NETWORKS } from '../../api/names.ts';
import type { NodeReport } from '../../api/report.ts';
import { parseInterfaces } from '../../core/read/interfaces.ts';
import { networkStatus } from '../../core/attach/status.ts';
import type { View } from '../../core/view/view.ts';
import type { ApiWrite } from './plan.ts';

/** Pods with more than one interface whose annotation does not say what they have. Where Multus is, Multus says it. */
export function planInterfaces(view: View, reports: ReadonlyMap<string, NodeReport>): ApiWrite[] {
  const writes: ApiWrite[] = [];
  for (const report of reports.values()) {
    if (report.multus) continue;
    const byPod = Map.groupBy(report.endpoints, (e) => `${e.namespace}/${e.pod}`);
    for (const [key, endpoints] of byPod) {
      const pod = view.state.pods.get(key);
      const mine = endpoints.filter((e) => e.uid === pod?.uid);
      if (!pod || pod.annotations[NETWORKS] === undefined || !mine.some((e) => e.extra)) continue;
      const value = networkStatus(
        mine,
        parseInterfaces(pod.annotations, pod.namespace).interfaces.map((i) => i.ifname),
      );
      if (pod.annotations[NETWORK_STATUS] !== value) writes.push({ do: 'pod-interfaces', pod, value });
    }
  }
  return writes;
}
