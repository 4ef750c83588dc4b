/** Labels, annotations and fixed names, each with its CN2 alias where Juniper's users have one. */

/** Our API group. */
export const GROUP = 'bulkhead.dev';
export const VERSION = 'v1alpha1';

/** A label or annotation: our key first, then aliases that mean the same. */
export type Name = { readonly key: string; readonly aliases: readonly string[] };

/** Label of a namespace: "true" gives it a network of its own. */
export const ISOLATED: Name = { key: 'bulkhead.dev/isolated', aliases: ['core.juniper.net/isolated-namespace'] };

/** Annotation of a namespace: what has put the isolation label there, when it was not its owner. */
export const ISOLATED_BY = 'bulkhead.dev/isolated-by';

/** Annotation of a namespace or a pod: "[namespace/]name" of the VirtualNetwork of its first interface. */
export const NETWORK: Name = { key: 'bulkhead.dev/network', aliases: ['net.juniper.contrail.podnetwork'] };

/** Annotations of a pod: the addresses and the MAC address of its first interface. */
export const IPS: Name = { key: 'bulkhead.dev/ips', aliases: [] };
export const MAC: Name = { key: 'bulkhead.dev/mac', aliases: [] };

/** Annotation of a policy: codes of `bulkhead policy lint` that its author does not want to hear of, by comma. */
export const LINT_DISABLE = 'bulkhead.dev/lint-disable';

/** Annotations of a pod: which of its ports pods of the flat network may reach, and of which namespaces. */
export const OPEN_PORTS = 'bulkhead.dev/open-ports';
export const OPEN_TO = 'bulkhead.dev/open-to';

/** Annotations by which the field asks for more interfaces of a pod, and tells what it got (Network Plumbing Working Group). */
export const NETWORKS = 'k8s.v1.cni.cncf.io/networks';
export const NETWORK_STATUS = 'k8s.v1.cni.cncf.io/network-status';

/** Annotation of a namespace on the flat network: routers ("namespace/name" or "namespace/*", by comma) that may take its pods. */
export const ROUTERS = 'bulkhead.dev/routers';

/** Name of the network that an isolated namespace gets. */
export const DEFAULT_NETWORK_NAME = 'default';

/** How the cluster's flat network is called where a network's name is expected. */
export const FLAT_NETWORK = 'default-network';

/** VNI of the flat network's overlay. Never given to a VirtualNetwork. */
export const FLAT_VNI = 1;
/** UDP port of VXLAN between nodes. */
export const VXLAN_PORT = 4789;

/** Label on objects that the controller made and owns. */
export const MANAGED_BY = { key: 'app.kubernetes.io/managed-by', value: 'bulkhead' } as const;

/** Keeps a VirtualNetwork until no pod uses it. */
export const IN_USE_FINALIZER = 'bulkhead.dev/in-use';

/** Namespace of the controller and the agents: Lease, CA and ServiceAccounts are there. Their pods say which it is. */
export const SYSTEM_NAMESPACE: string = process.env['BULKHEAD_NAMESPACE'] ?? 'kube-system';
export const CONTROLLER_LEASE = 'bulkhead-controller';
export const CA_CONFIGMAP = 'bulkhead-ca';
export const CA_SECRET = 'bulkhead-ca';
/** Annotation of the Lease: the URL at which the leader serves agents. */
export const LEADER_URL = 'bulkhead.dev/url';
/** Service by which the API server calls the webhook, and the configuration that says so. */
export const WEBHOOK_SERVICE = 'bulkhead-controller';
export const WEBHOOK_CONFIGURATION = 'bulkhead';
/** Audience of the tokens by which agents show who they are. */
export const AGENT_AUDIENCE = 'bulkhead-controller';
/** ServiceAccount of the controller: the one that admission lets write AddressBlocks. */
export const CONTROLLER_SERVICE_ACCOUNT = 'bulkhead-controller';
/** User that agents run as; the node's name comes from the token's node claim. */
export const AGENT_SERVICE_ACCOUNT = 'bulkhead-agent';

/** A value under any of a name's keys. `problem` when two keys contradict each other. */
export type Named = { readonly value: string | undefined; readonly key: string; readonly problem?: string };

/** Reads a label or annotation by its key or aliases. */
export function readName(name: Name, from: Readonly<Record<string, string>> | undefined): Named {
  const found = [name.key, ...name.aliases].flatMap((key) => {
    const value = from?.[key];
    return value === undefined ? [] : [{ key, value }];
  });
  const [first, ...others] = found;
  if (!first) return { value: undefined, key: name.key };
  const other = others.find((o) => o.value !== first.value);
  if (!other) return first;
  return {
    ...first,
    problem: `${first.key} says "${first.value}" and ${other.key} says "${other.value}": keep one of them`,
  };
}

/** The label by which selectors of policies mean the ServiceAccount of pods. No pod need have it, and none can forge it. */
export const SERVICE_ACCOUNT = 'bulkhead.dev/service-account';
