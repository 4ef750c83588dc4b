/** Words between the CNI plugin and the agent, and of the CNI specification. No imports: the plugin starts once per pod. */

/** Versions of the spec whose results we can print. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

/** Error codes of the CNI specification (section "Error") and of this plugin (100 and up). */
export const CNI_ERRORS = {
  IncompatibleVersion: 1,
  UnsupportedField: 2,
  UnknownContainer: 3,
  InvalidEnvironment: 4,
  Io: 5,
  Decoding: 6,
  InvalidConfig: 7,
  TryAgainLater: 11,
  PluginNotAvailable: 50,
  PluginNotAvailableLimited: 51,
  /** The pod may not have the network that it asks for. */
  NetworkRefused: 100,
  /** No address left. */
  Exhausted: 101,
  /** CHECK found something missing or different. */
  CheckFailed: 102,
  /** The kernel refused a change. */
  Kernel: 103,
} as const;
export type CniErrorCode = (typeof CNI_ERRORS)[keyof typeof CNI_ERRORS];

/** An error as the spec prints it. */
export type CniErrorBody = { readonly code: number; readonly msg: string; readonly details?: string };

/** What the plugin asks of the agent: one line of JSON. `PODS` is for tools on the node, and no verb of the specification. */
export type CniRequest = {
  readonly verb: 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'PODS';
  readonly containerID: string;
  readonly netns: string;
  readonly ifname: string;
  /** CNI_ARGS, parsed: K8S_POD_NAMESPACE and so on. */
  readonly args: Readonly<Record<string, string>>;
  /** The network configuration as read from stdin. */
  readonly config: Readonly<Record<string, unknown>>;
};

/** A port of the node that leads to a pod: the runtime's word for `hostPort` (capability portMappings). */
export type PortMapping = {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** Only on this address of the node; "": on all. */
  readonly hostIP: string;
};

/** What the agent answers: one line of JSON. */
export type CniResponse =
  | { readonly result: CniResult }
  | { readonly error: CniErrorBody }
  | { readonly ok: true }
  | { readonly pods: readonly AttachedPod[] };

/** A pod that this node's agent has attached. */
export type AttachedPod = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly network: string;
  readonly netns: string;
  readonly ips: readonly string[];
};

/** A result in the form of 1.1.0; the plugin rewrites it for older versions. */
export type CniResult = {
  readonly interfaces: readonly {
    readonly name: string;
    readonly mac?: string;
    readonly mtu?: number;
    readonly sandbox?: string;
  }[];
  readonly ips: readonly { readonly interface?: number; readonly address: string; readonly gateway?: string }[];
  readonly routes: readonly { readonly dst: string; readonly gw?: string }[];
  readonly dns: Readonly<Record<string, unknown>>;
};

/** Where the agent listens, unless the network configuration says otherwise. */
export const AGENT_SOCKET = '/run/bulkhead/cni.sock';
