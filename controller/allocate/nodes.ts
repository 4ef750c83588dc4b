import type { NodeReport } from '../../api/report.ts';
import type { NodeCondition } from '../../core/cluster/state.ts';
import type { View } from '../../core/view/view.ts';
import { nodeConditions } from '../../core/nodes/conditions.ts';
import type { ApiWrite } from './plan.ts';

/**
 * Conditions that nodes should have and have not.
 *
 * @param silent nodes whose agent has had no stream for long
 */
export function planNodes(
  view: View,
  reports: ReadonlyMap<string, NodeReport>,
  silent: (node: string) => boolean,
): ApiWrite[] {
  const writes: ApiWrite[] = [];
  for (const node of view.state.nodes.values()) {
    const report = reports.get(node.name);
    if (!report && !silent(node.name)) continue; // just starting: it will speak in a moment
    const wanted = nodeConditions(silent(node.name) ? undefined : report, node.conditions);
    const changed = wanted.filter((w) => !node.conditions.some((c) => same(c, w)));
    if (changed.length === 0) continue;
    const turned = changed
      .filter((w) => node.conditions.find((c) => c.type === w.type)?.status !== w.status)
      .map((w) => w.type);
    writes.push({ do: 'node-conditions', node: node.name, uid: node.uid, conditions: changed, turned });
  }
  return writes;
}

const same = (a: NodeCondition, b: NodeCondition): boolean =>
  a.type === b.type && a.status === b.status && a.reason === b.reason && a.message === b.message;
