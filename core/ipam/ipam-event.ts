import type { NetworkKey } from '../../api/nodeconfig.ts';

/** Something that happened to addresses. Replaying all of them rebuilds the state: the journal holds these. */
export type IpamEvent =
  /** `given`: out of the network's own subnet, by the controller; otherwise cut from the node's pod CIDR. */
  | { readonly op: 'block'; readonly cidr: string; readonly network: NetworkKey; readonly given?: true }
  | { readonly op: 'unblock'; readonly cidr: string; readonly network: NetworkKey; readonly given?: true }
  /** `fixed`: its owner asked for this very address, and does not let it rest. */
  | { readonly op: 'take'; readonly ip: string; readonly owner: string; readonly fixed?: true }
  /** `at`: milliseconds on the journal's clock (wall time, so that it has a meaning after a restart). */
  | { readonly op: 'release'; readonly ip: string; readonly at: number };
