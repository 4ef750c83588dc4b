import type { BlockItem, NetworkKey } from '../../api/nodeconfig.ts';
import type { NodeReport } from '../../api/report.ts';
import { readNetworkStatus } from '../attach/status.ts';
import type { ClusterState, Pod, PodInterface } from '../cluster/state.ts';

/** What is known of blocks and of pods' interfaces: from the reports of nodes that have spoken, for the others from the API. */
export function attachedBy(
  reports: ReadonlyMap<string, NodeReport>,
  { stored, pods }: { readonly stored: Iterable<BlockItem>; readonly pods: Iterable<Pod> },
): Pick<ClusterState, 'blocks' | 'attached'> & Required<Pick<ClusterState, 'interfaces' | 'addresses'>> {
  const blocks = new Map<string, BlockItem>();
  // A node that has spoken since we started knows best; for the others the API remembers.
  for (const block of stored) if (block.given || !reports.has(block.node)) blocks.set(block.cidr, block);
  const attached = new Map<string, NetworkKey>();
  const interfaces = new Map<string, PodInterface[]>();
  const addresses = new Map<string, readonly string[]>();
  for (const report of reports.values()) {
    for (const { cidr, network, given } of report.blocks) {
      const block = { cidr, node: report.node, network };
      if (!given) blocks.set(cidr, block);
      // A user has deleted the object of a block that is in use: what the controller assigned stays assigned.
      else if (!blocks.has(cidr)) blocks.set(cidr, { ...block, given });
    }
    for (const { uid, network, ifname, ips, mac, extra } of report.endpoints) {
      if (extra) {
        interfaces.set(uid, [...(interfaces.get(uid) ?? []), { ifname, network, ips, mac }]);
        continue;
      }
      attached.set(uid, network);
      addresses.set(uid, ips);
    }
  }
  // A node that has not spoken since this controller began: what the pods themselves say they have.
  for (const pod of pods) {
    if (reports.has(pod.node)) continue;
    const known = readNetworkStatus(pod);
    if (known.length > 0) interfaces.set(pod.uid, known);
  }
  return { blocks, attached, interfaces, addresses };
}
