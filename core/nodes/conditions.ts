import type { NodeReport } from '../../api/report.ts';
import type { NodeCondition } from '../cluster/state.ts';

/** The condition that kube's node lifecycle knows: while True, no ordinary pod is scheduled on the node. */
export const NETWORK_UNAVAILABLE = 'NetworkUnavailable';
/** Ours: what an operator should see to. */
export const BULKHEAD_READY = 'BulkheadReady';

/**
 * Conditions of a node, from its agent's last report. Without one nothing is said, unless something was said before: then
 * BulkheadReady is Unknown, and whether pods have a network stays as it was, as they keep it without the agent.
 */
export function nodeConditions(
  report: Pick<NodeReport, 'problems' | 'faults' | 'serving'> | undefined,
  before: readonly NodeCondition[],
): NodeCondition[] {
  if (!report) {
    if (!before.some((c) => c.type === BULKHEAD_READY)) return [];
    const message = 'the agent of this node has no stream to the controller; running pods are not affected';
    return [{ type: BULKHEAD_READY, status: 'Unknown', reason: 'AgentSilent', message }];
  }
  const blocking = report.problems.filter((p) => p.blocking);
  const [first] = [...blocking, ...report.problems.filter((p) => !p.blocking)];
  const unavailable: NodeCondition =
    blocking.length > 0
      ? {
          type: NETWORK_UNAVAILABLE,
          status: 'True',
          reason: 'BulkheadIsDown',
          message: blocking.map((p) => p.message).join('; '),
        }
      : { type: NETWORK_UNAVAILABLE, status: 'False', reason: 'BulkheadIsUp', message: 'pods can be attached' };
  const wrong = [
    ...report.problems.map((p) => p.message),
    ...report.faults.map((f) => `network ${f.network}: ${f.message}`),
  ];
  const ready: NodeCondition =
    wrong.length === 0 && report.serving
      ? {
          type: BULKHEAD_READY,
          status: 'True',
          reason: 'Ready',
          message: 'pods can be attached, all networks are realized',
        }
      : {
          type: BULKHEAD_READY,
          status: 'False',
          reason: first?.reason ?? (report.faults.length > 0 ? 'NetworkFault' : 'Starting'),
          message: wrong.join('; ') || 'the agent is starting',
        };
  // An agent that just starts says nothing of the network yet: on its node pods may be running, and more may come in a moment.
  return report.serving || blocking.length > 0 ? [unavailable, ready] : [ready];
}
