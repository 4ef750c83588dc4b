import { FLAT_NETWORK } from '../../../api/names.ts';
import {
  emptyNodeConfig,
  type ItemKind,
  type Items,
  type NetworkItem,
  type NodeConfig,
  type NodeItem,
  type ServiceItem,
} from '../../../api/nodeconfig.ts';
import type { BlockUse } from '../../../core/ipam/node-ipam.ts';
import { familyOf } from '../../../lib/ip/address.ts';
import type { PodLink } from '../pod.ts';

/**
 * What node n1 knows and has, as small values that unit tests build on. named.ts has the states whose rules and routes are kept as
 * text in this folder.
 */
export type NodeState = {
  readonly config: NodeConfig;
  readonly blocks: readonly BlockUse[];
  readonly pods: readonly PodOnNode[];
  /** As in the agent's --connections-per-pod; absent: the default. */
  readonly connectionsPerPod?: number;
  /** Prefixes of the node's own links. */
  readonly onLink?: readonly string[];
  /** Egress addresses that the node has on its link. */
  readonly held?: readonly string[];
};

/** A pod of the node: "namespace/name", its network, its link. */
export type PodOnNode = { readonly pod: string; readonly network: string; readonly link: PodLink };

/** A change of a state. */
export type Change = (state: NodeState) => NodeState;

export const SELF: NodeItem = {
  name: 'n1',
  underlay: '192.0.2.11',
  addresses: ['192.0.2.11', '2001:db8::11'],
  podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'],
};
export const OTHER: NodeItem = {
  name: 'n2',
  underlay: '192.0.2.12',
  addresses: ['192.0.2.12', '2001:db8::12'],
  podCIDRs: ['10.244.2.0/24', 'fd00:10:244:2::/64'],
};
/** The network of namespace "a", isolated. */
export const NETWORK: NetworkItem = { key: 'a/default', vni: 5, egress: 'None', allow: [] };
/** Another network. */
export const OTHER_NETWORK = 'b/default';

/** A pod's link, with an address of each family. */
export const podLink = (number: number, ips: readonly string[]): PodLink => ({
  hostIf: `bhp${String(number).padStart(12, '0')}`,
  mac: `02:00:00:00:00:${String(number).padStart(2, '0')}`,
  ips,
  mtu: 1450,
});
export const FLAT_POD: PodOnNode = {
  pod: 'flat/f',
  network: FLAT_NETWORK,
  link: podLink(1, ['10.244.1.5', 'fd00:10:244:1::5']),
};
export const POD: PodOnNode = {
  pod: 'a/p',
  network: NETWORK.key,
  link: podLink(2, ['10.244.1.17', 'fd00:10:244:1::11']),
};

/** A block of this node. */
export const block = (cidr: string, network: string, given = false): BlockUse => ({
  cidr,
  network,
  given,
  used: 1,
  resting: 0,
  free: 1,
});

/** A Service with one backend of each family: this node's pod of `NETWORK`. */
export const SERVICE: ServiceItem = {
  namespace: 'a',
  name: 'web',
  network: NETWORK.key,
  clusterIPs: ['10.96.0.10', 'fd00:10:96::10'],
  internalTrafficPolicy: 'Cluster',
  exposed: false,
  ports: [
    { name: '', protocol: 'TCP', port: 80, backends: POD.link.ips.map((ip) => ({ ip, port: 8080, node: 'n1' })) },
  ],
};

/** A state with an item of the configuration more, or with another in its place. */
export const withItem =
  <K extends ItemKind>(kind: K, key: string, value: Items[K]): Change =>
  (state) => ({ ...state, config: { ...state.config, [kind]: new Map([...state.config[kind], [key, value]]) } });

export const withPod =
  (pod: PodOnNode): Change =>
  (state) => ({ ...state, pods: [...state.pods.filter((p) => p.pod !== pod.pod || p.network !== pod.network), pod] });

export const withBlocks =
  (...blocks: readonly BlockUse[]): Change =>
  (state) => ({ ...state, blocks: [...state.blocks, ...blocks] });

/** `NETWORK` otherwise than it is. */
export const withNetwork = (change: Partial<NetworkItem>): Change =>
  withItem('network', NETWORK.key, { ...NETWORK, ...change });

export const withCluster =
  (change: Partial<Items['cluster']>): Change =>
  (state) =>
    withItem('cluster', 'cluster', {
      podCIDRs: [],
      serviceCIDRs: [],
      ...state.config.cluster.get('cluster'),
      ...change,
    })(state);

/** One change after the other. */
export const build = (start: NodeState, ...changes: readonly Change[]): NodeState =>
  changes.reduce((state, change) => change(state), start);

/** A cluster of two nodes; on this one, a pod of the flat network. */
export const flat: NodeState = build(
  { config: emptyNodeConfig(), blocks: [], pods: [] },
  withCluster({ podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'], serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'] }),
  withItem('node', SELF.name, SELF),
  withItem('node', OTHER.name, OTHER),
  withPod(FLAT_POD),
);

/** The same with addresses of one family only, of nodes, pods and Services. */
export const onlyFamily =
  (family: 4 | 6): Change =>
  (state) => {
    const of = (texts: readonly string[]): string[] => texts.filter((t) => familyOf(t) === family);
    const mapped = <T>(items: ReadonlyMap<string, T>, change: (item: T) => T): ReadonlyMap<string, T> =>
      new Map([...items].map(([key, item]) => [key, change(item)]));
    const { node, service, block: blocks } = state.config;
    const config: NodeConfig = {
      ...state.config,
      node: mapped(node, (n) => ({
        ...n,
        underlay: of(n.addresses)[0] ?? n.underlay,
        addresses: of(n.addresses),
        podCIDRs: of(n.podCIDRs),
      })),
      service: mapped(service, (s) => ({
        ...s,
        clusterIPs: of(s.clusterIPs),
        ports: s.ports.map((p) => ({ ...p, backends: p.backends.filter((b) => familyOf(b.ip) === family) })),
      })),
      block: new Map([...blocks].filter(([cidr]) => familyOf(cidr) === family)),
    };
    const ranges = state.config.cluster.get('cluster');
    const narrowed: NodeState = {
      ...state,
      config,
      blocks: state.blocks.filter((b) => familyOf(b.cidr) === family),
      pods: state.pods.map((p) => ({ ...p, link: { ...p.link, ips: of(p.link.ips) } })),
    };
    if (!ranges) return narrowed;
    return withCluster({ podCIDRs: of(ranges.podCIDRs), serviceCIDRs: of(ranges.serviceCIDRs) })(narrowed);
  };

/** One isolated network with a pod on each node and a Service; nothing gets out. */
export const isolated: NodeState = build(
  flat,
  withNetwork({}),
  withBlocks(block('10.244.1.16/28', NETWORK.key), block('fd00:10:244:1::10/124', NETWORK.key)),
  ...['10.244.2.16/28', 'fd00:10:244:2::10/124'].map((cidr) =>
    withItem('block', cidr, { cidr, node: OTHER.name, network: NETWORK.key }),
  ),
  withPod(POD),
  withItem('service', 'a/web', SERVICE),
);
