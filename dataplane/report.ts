import { LONGEST_MESSAGE, MOST_BLOCKS, MOST_ENDPOINTS, MOST_FAULTS, type NodeReport } from '../api/report.ts';
import { PROGRAM_VERSION } from '../api/version.ts';
import type { Attachments } from './attach/attachments.ts';
import type { NodeAddresses } from './attach/node-addresses.ts';
import type { HostAddresses } from './probe/host-addresses.ts';
import type { NodeState } from './node-state.ts';

/** What this node tells the controller: blocks, pods, and what is wrong. */
export function reportOf({
  node,
  revision,
  addresses,
  attachments,
  faults,
  state,
  multus,
  host,
}: {
  readonly node: string;
  readonly revision: number;
  readonly addresses: Pick<NodeAddresses, 'blocks' | 'returned'> | undefined;
  readonly attachments: Pick<Attachments, 'all'> | undefined;
  /** Networks that are not as they should be, each with the reason. */
  readonly faults: readonly (readonly [string, string])[];
  readonly state: NodeState;
  readonly multus: boolean;
  readonly host: HostAddresses;
}): NodeReport {
  return {
    node,
    revision,
    blocks: (addresses?.blocks ?? []).slice(0, MOST_BLOCKS).map(({ cidr, network, used, free, given }) => ({
      cidr,
      network,
      used,
      free,
      given,
    })),
    returned: (addresses?.returned ?? []).slice(0, MOST_BLOCKS),
    endpoints: [...(attachments?.all ?? [])].slice(0, MOST_ENDPOINTS).map((a) => ({
      namespace: a.namespace,
      pod: a.pod,
      uid: a.uid,
      network: a.network,
      ips: [...a.ips],
      ifname: a.ifname,
      mac: a.mac,
      extra: a.extra !== undefined,
    })),
    multus,
    faults: faults.slice(0, MOST_FAULTS).map(([network, message]) => ({ network, message: short(message) })),
    problems: state.problems().map((p) => ({ ...p, message: short(p.message) })),
    serving: state.serving,
    version: PROGRAM_VERSION,
    addresses: [...host.addresses],
    routes: [...host.routes],
  };
}

const short = (message: string): string => message.slice(0, LONGEST_MESSAGE);
