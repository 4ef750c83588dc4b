import type { KubeAccess } from '../lib/kube/kubeconfig.ts';

/** What an agent is started with. */
export type AgentSettings = {
  readonly node: string;
  readonly access: KubeAccess;
  /** File with the ServiceAccount token for the controller. */
  readonly token: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly cniConfDir: string;
  readonly socket: string;
  /** The CNI plugin, and where it is installed. */
  readonly plugin: { readonly file: string; readonly binDir: string } | undefined;
  /** Loopback port of the health checks; undefined: none. */
  readonly healthPort: number | undefined;
  readonly metricsListen: { readonly host: string; readonly port: number } | undefined;
  /** A round over all namespaces. */
  readonly auditMs: number;
  /** How long a released address is not given again. */
  readonly restMs: number;
  readonly connectionsPerPod: number | undefined;
};
