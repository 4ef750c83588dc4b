import type { LinkAddress } from '../../core/nodes/links.ts';
import type { KubeList, Resource } from '../../lib/kube/client.ts';
import type { Attempt, Outcome } from '../../lib/connect/connect.ts';

/** A connection to try from a pod. */
export type PodAttempt = Omit<Attempt, 'netns'> & { readonly pod: { readonly uid: string; readonly node: string } };

/** A cluster that commands look at: one of the lab's, or whatever kubectl leads to. */
export type ClusterTarget = AsyncDisposable & {
  /** How it is called in messages. */
  readonly name: string;
  readonly list: (resource: Resource) => Promise<KubeList>;
  /** Tries connections with real sockets, from inside the pods. Undefined for a pod that has no network here. */
  readonly connect: (
    attempts: readonly PodAttempt[],
    onProgress: (done: number) => void,
  ) => Promise<(Outcome | undefined)[]>;
  /** Addresses that nodes have in their kernels, with their devices: also those that no object of the API names. */
  readonly nodeAddresses?: (nodes: readonly string[]) => Promise<ReadonlyMap<string, readonly LinkAddress[]>>;
  /** Runs kubectl against this cluster and gives what it prints. */
  readonly kubectl: (args: readonly string[], input?: string) => Promise<string>;
  /** Lines that the agents log, as JSON; with `follow` those that come too, until the program ends. */
  readonly agentLogs: (options: { readonly follow: boolean }) => AsyncIterable<string>;
  /** Hosts outside the cluster that may be asked too. */
  readonly outside: readonly {
    readonly name: string;
    readonly address: string;
    readonly port: number;
    readonly protocol: 'TCP' | 'UDP';
  }[];
  /** Whether pods here say who they are: then the right one must answer. */
  readonly identify: boolean;
  /** Ranges, where the API does not tell. */
  readonly podCIDRs?: readonly string[];
  readonly serviceCIDRs?: readonly string[];
};
