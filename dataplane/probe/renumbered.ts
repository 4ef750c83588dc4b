import type { NodeItem } from '../../api/nodeconfig.ts';
import type { NodeProblem } from '../../api/report.ts';

/** Pods that a message names. */
const MOST_NAMED = 5;

/**
 * What still stands on addresses that the node had before, and cannot be renewed by the agent.
 *
 * @param underlayDev the device that has the node's present address, if any has
 * @param outside pods whose addresses are in none of the node's present pod CIDRs
 */
export function renumbered(
  self: Pick<NodeItem, 'underlay' | 'podCIDRs'>,
  underlayDev: string | undefined,
  outside: readonly { readonly pod: string; readonly ip: string }[],
): NodeProblem[] {
  const problems: NodeProblem[] = [];
  if (underlayDev === undefined)
    problems.push({
      reason: 'UnderlayAddressMissing',
      message: `the InternalIP of this node is ${self.underlay}, and no device here has that address: other nodes cannot be reached. Give the node the address, or correct --node-ip of the kubelet`,
      blocking: false,
    });
  const pods = [...new Set(outside.map((o) => o.pod))].sort();
  if (pods.length > 0)
    problems.push({
      reason: 'PodsOutsidePodCIDR',
      message: `${pods.length} pod(s) have addresses outside of the pod CIDRs of this node (${self.podCIDRs.join(', ')}), which other nodes give to others: delete them, so that they are made again: ${pods.slice(0, MOST_NAMED).join(', ')}${pods.length > MOST_NAMED ? ' …' : ''}`,
      blocking: false,
    });
  return problems;
}
