import { FLAT_NETWORK } from '../../api/names.ts';
import { virtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import type { BlockItem } from '../../api/nodeconfig.ts';
import {
  type ClusterState,
  type EndpointSlice,
  emptyClusterState,
  keyOf,
  type Namespace,
  type Network,
  type Node,
  type Pod,
  type Service,
} from './state.ts';

/**
 * A small cluster for tests and documentation. Address plan: pods 10.244.0.0/16 and fd00:10:244::/48, Services 10.96.0.0/16, nodes
 * 192.0.2.11 (n1) and 192.0.2.12 (n2). Namespaces a and b are isolated (VNI 2, 3), flat is not.
 */
export function exampleState(change: Partial<ClusterState> = {}): ClusterState {
  const pods = [...['a', 'b', 'flat'].flatMap((ns, i) => [1, 2].map((n) => examplePod(ns, `p${n}`, n, 16 * i + 5)))];
  return {
    ...emptyClusterState,
    namespaces: byName([
      exampleNamespace('a', { 'bulkhead.dev/isolated': 'true' }),
      exampleNamespace('b', { 'core.juniper.net/isolated-namespace': 'true' }),
      exampleNamespace('flat'),
      exampleNamespace('kube-system'),
      exampleNamespace('default'),
    ]),
    nodes: byName(
      [1, 2].map(
        (n): Node => ({
          name: `n${n}`,
          uid: `n${n}`,
          addresses: [`192.0.2.1${n}`],
          further: [],
          routes: [],
          labels: {},
          zone: `z${n}`,
          podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`],
          conditions: [],
        }),
      ),
    ),
    networks: byKey([exampleNetwork('a', 'default', 2), exampleNetwork('b', 'default', 3)]),
    pods: byKey(pods),
    services: byKey(
      ['a', 'b', 'flat']
        .map((ns, i) => exampleService(ns, 'web', `10.96.1.${i + 1}`))
        .concat(
          exampleService('kube-system', 'kube-dns', '10.96.0.10', { port: 53, protocol: 'UDP' }),
          exampleService('default', 'kubernetes', '10.96.0.1', { port: 443 }),
        ),
    ),
    slices: byKey([
      ...['a', 'b', 'flat'].map((ns) =>
        exampleSlice(
          ns,
          'web',
          pods.filter((p) => p.namespace === ns),
        ),
      ),
      apiSlice,
    ]),
    blocks: new Map(
      [1, 2].flatMap((n) =>
        [FLAT_NETWORK, 'a/default', 'b/default'].map((network, i): [string, BlockItem] => [
          `10.244.${n}.${16 * i}/28`,
          { cidr: `10.244.${n}.${16 * i}/28`, node: `n${n}`, network },
        ]),
      ),
    ),
    podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
    serviceCIDRs: ['10.96.0.0/16'],
    ...change,
  };
}

export const exampleNamespace = (
  name: string,
  labels: Record<string, string> = {},
  annotations: Record<string, string> = {},
): Namespace => ({ name, uid: name, labels, annotations, deleting: false });

export const exampleNetwork = (
  namespace: string,
  name: string,
  vni: number | undefined,
  spec: object = {},
): Network => ({
  namespace,
  name,
  uid: `${namespace}/${name}`,
  generation: 1,
  deleting: false,
  managed: false,
  labels: {},
  created: 0,
  spec: virtualNetworkSpec.parse(spec),
  problems: [],
  vni,
});

/** Pod `name` on node `n<node>`, with address 10.244.<node>.<host>. */
export const examplePod = (
  namespace: string,
  name: string,
  node: number,
  host: number,
  annotations: Record<string, string> = {},
): Pod => ({
  namespace,
  name,
  uid: `${namespace}-${name}`,
  node: `n${node}`,
  hostNetwork: false,
  ips: [`10.244.${node}.${host}`],
  labels: {},
  serviceAccount: 'default',
  annotations,
  finished: false,
  created: 0,
  ready: true,
  ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
});

export const exampleService = (
  namespace: string,
  name: string,
  clusterIP: string,
  { port = 80, protocol = 'TCP' }: { port?: number; protocol?: 'TCP' | 'UDP' } = {},
): Service => ({
  namespace,
  name,
  uid: `${namespace}/${name}`,
  type: 'ClusterIP',
  clusterIPs: [clusterIP],
  frontends: [],
  externalIPs: 0,
  created: 0,
  annotations: {},
  affinitySeconds: undefined,
  internalTrafficPolicy: 'Cluster',
  externalTrafficPolicy: 'Cluster',
  ports: [{ name: '', protocol, port }],
});

export const exampleSlice = (namespace: string, service: string, pods: readonly Pod[]): EndpointSlice => ({
  namespace,
  name: `${service}-ipv4`,
  service,
  family: 4,
  ports: [{ name: '', protocol: 'TCP', port: 8080 }],
  endpoints: pods.map((p) => ({
    ip: p.ips[0] ?? '',
    node: p.node,
    ready: true,
    serving: true,
    terminating: false,
    pod: keyOf(p),
  })),
});

const apiSlice: EndpointSlice = {
  namespace: 'default',
  name: 'kubernetes',
  service: 'kubernetes',
  family: 4,
  ports: [{ name: '', protocol: 'TCP', port: 6443 }],
  endpoints: [{ ip: '192.0.2.2', node: '', ready: true, serving: true, terminating: false, pod: '' }],
};

const byName = <T extends { readonly name: string }>(items: readonly T[]): Map<string, T> =>
  new Map(items.map((i) => [i.name, i]));
const byKey = <T extends { readonly namespace: string; readonly name: string }>(items: readonly T[]): Map<string, T> =>
  new Map(items.map((i) => [keyOf(i), i]));
