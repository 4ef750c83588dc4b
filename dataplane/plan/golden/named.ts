import { FLAT_NETWORK } from '../../../api/names.ts';
import type { PeerItem, ProfileItem, ServiceItem } from '../../../api/nodeconfig.ts';
import {
  block,
  build,
  type Change,
  flat,
  FLAT_POD,
  isolated,
  NETWORK,
  type NodeState,
  onlyFamily,
  OTHER_NETWORK,
  POD,
  podLink,
  type PodOnNode,
  SERVICE,
  withBlocks,
  withCluster,
  withItem,
  withNetwork,
  withPod,
} from './states.ts';

const OTHER_PREFIXES = ['10.244.2.32/28', 'fd00:10:244:2::20/124'];
const peer = (ports: PeerItem['parts'][number]['pods']): PeerItem => ({
  network: NETWORK.key,
  other: OTHER_NETWORK,
  parts: [{ prefixes: OTHER_PREFIXES, pods: ports, services: ports }],
  services: ['b/api'],
});
const OTHER_SERVICE: ServiceItem = {
  ...SERVICE,
  namespace: 'b',
  name: 'api',
  network: OTHER_NETWORK,
  clusterIPs: ['10.96.0.20', 'fd00:10:96::20'],
  ports: [
    {
      name: '',
      protocol: 'TCP',
      port: 443,
      backends: ['10.244.2.33', 'fd00:10:244:2::21'].map((ip) => ({ ip, port: 8443, node: 'n2' })),
    },
  ],
};
const withPeer = (ports: PeerItem['parts'][number]['pods']): Change[] => [
  withItem('peer', `${NETWORK.key}|${OTHER_NETWORK}`, peer(ports)),
  withItem('service', 'b/api', OTHER_SERVICE),
];

const PROFILE: ProfileItem = {
  ingress: {
    isolatedBy: ['NetworkPolicy a/web'],
    rules: [
      {
        tier: 'NetworkPolicy',
        policy: 'NetworkPolicy a/web',
        rule: 'ingress[0]',
        action: 'Accept',
        matches: [{ peers: ['clients'], ports: [{ protocol: 'TCP', first: 8080, last: 8080 }] }],
      },
    ],
  },
  egress: {
    isolatedBy: [],
    rules: [
      {
        tier: 'Admin',
        policy: 'ClusterNetworkPolicy guard',
        rule: 'no-metadata',
        action: 'Deny',
        matches: [{ peers: ['metadata'], ports: 'any' }],
      },
    ],
  },
};
const withPolicy = ({ pod }: PodOnNode): Change[] => {
  const [namespace = '', name = ''] = pod.split('/');
  return [
    withItem('group', 'clients', { addresses: ['10.244.2.17', 'fd00:10:244:2::11'], prefixes: [] }),
    withItem('group', 'metadata', { addresses: [], prefixes: ['169.254.169.254/32'] }),
    withItem('profile', 'web', PROFILE),
    withItem('pod', pod, { namespace, name, uid: '', assignment: { network: NETWORK.key }, profile: 'web' }),
  ];
};

const OUTER = { exposed: true, frontends: [{ ip: '198.51.100.7', sources: ['203.0.113.0/24'] }] } as const;
const REGISTERED = withItem('service', 'a/web', {
  ...SERVICE,
  ports: SERVICE.ports.map((p) => ({ ...p, registered: true })),
});
const API_HOSTS = withCluster({ apiServers: { nodes: ['n2'], addresses: ['192.0.2.200'] } });

/** A named state, and the one that its text is compared with; without one, its text is complete. */
export type Golden = { readonly about: string; readonly state: NodeState; readonly like?: string };

/** The states whose rules and routes are kept as text. */
export const STATES: Readonly<Record<string, Golden>> = {
  flat: { about: 'No network but the flat one: what the root of a node has in any case.', state: flat },
  'flat-ipv4': { about: 'The same with IPv4 only.', state: build(flat, onlyFamily(4)), like: 'flat' },
  'flat-ipv6': { about: 'The same with IPv6 only.', state: build(flat, onlyFamily(6)), like: 'flat' },
  isolated: {
    about: 'One isolated network with a Service: its whole instance, and what the root has for it.',
    state: isolated,
    like: 'flat',
  },
  'isolated-ipv4': { about: 'The same with IPv4 only.', state: build(isolated, onlyFamily(4)), like: 'isolated' },
  'isolated-ipv6': { about: 'The same with IPv6 only.', state: build(isolated, onlyFamily(6)), like: 'isolated' },
  nat: {
    about: 'egress.mode NAT: leaves each node with the address of the node.',
    state: build(isolated, withNetwork({ egress: 'NAT' })),
    like: 'isolated',
  },
  routed: {
    about: 'egress.mode Routed: leaves each node with the address of the pod.',
    state: build(isolated, withNetwork({ egress: 'Routed' })),
    like: 'nat',
  },
  'egress-list': {
    about: 'egress.allow: some of the outside only.',
    state: build(
      isolated,
      withNetwork({
        egress: 'NAT',
        egressAllow: [
          { prefix: '203.0.113.0/24', ports: 'any' },
          { prefix: '2001:db8:53::53/128', ports: [{ protocol: 'UDP', first: 53, last: 53 }] },
        ],
      }),
    ),
    like: 'nat',
  },
  'egress-here': {
    about: 'A fixed egress address that this node has.',
    state: {
      ...build(isolated, withNetwork({ egress: 'NAT', egressVia: { node: 'n1', addresses: ['192.0.2.77'] } })),
      held: ['192.0.2.77'],
    },
    like: 'nat',
  },
  'egress-elsewhere': {
    about: 'A fixed egress address that the other node has; without one of IPv6, that family leaves by this node.',
    state: build(isolated, withNetwork({ egress: 'NAT', egressVia: { node: 'n2', addresses: ['192.0.2.77'] } })),
    like: 'nat',
  },
  'egress-waits': {
    about: 'A fixed egress address that this node is to have and has not got: nothing leaves.',
    state: build(isolated, withNetwork({ egress: 'NAT', egressVia: { node: 'n1', addresses: ['192.0.2.77'] } })),
    like: 'isolated',
  },
  router: {
    about: 'A router connects the network with another, on all ports, and to one of its Services.',
    state: build(isolated, ...withPeer('any')),
    like: 'isolated',
  },
  'router-ports': {
    about: 'A router connects the network with another, on some ports.',
    state: build(isolated, ...withPeer([{ protocol: 'TCP', first: 8443, last: 8445 }])),
    like: 'isolated',
  },
  opening: {
    about: 'A pod opens a port to the flat pods of one namespace, and a range to those of all.',
    state: build(
      isolated,
      withItem('opening', POD.pod, {
        pod: POD.pod,
        network: NETWORK.key,
        ips: POD.link.ips,
        ports: [{ protocol: 'TCP', first: 9090, last: 9090 }],
        namespaces: ['monitoring', '*'],
      }),
      withItem('source', 'monitoring', { prefixes: ['10.244.2.9/32'] }),
      withItem('source', '*', { prefixes: ['10.244.2.0/28', '10.244.1.0/28'] }),
    ),
    like: 'isolated',
  },
  'allow-list': {
    about: 'spec.allow names a Service of the flat network with a host behind it.',
    state: build(
      isolated,
      withNetwork({ allow: ['default/kubernetes'] }),
      withItem('service', 'default/kubernetes', {
        ...OTHER_SERVICE,
        namespace: 'default',
        name: 'kubernetes',
        network: FLAT_NETWORK,
        clusterIPs: ['10.96.0.1'],
        ports: [{ name: '', protocol: 'TCP', port: 443, backends: [{ ip: '192.0.2.12', port: 6443, node: '' }] }],
      }),
    ),
    like: 'isolated',
  },
  policy: {
    about: 'A policy for the pod of the network: one peer on one port in, one prefix denied out.',
    state: build(isolated, ...withPolicy(POD)),
    like: 'isolated',
  },
  'policy-flat': {
    about: 'The same policy for the pod of the flat network.',
    state: build(flat, ...withPolicy(FLAT_POD)),
    like: 'flat',
  },
  'extra-interface': {
    about: 'A pod of the flat network with an additional interface on the isolated one.',
    state: build(
      isolated,
      withPod({
        pod: FLAT_POD.pod,
        network: NETWORK.key,
        link: { ...podLink(3, ['10.244.1.18', 'fd00:10:244:1::12']), first: FLAT_POD.link.ips },
      }),
    ),
    like: 'isolated',
  },
  'node-ports': {
    about:
      "A node port and a load balancer's address of the network's own Service: others on this node may not use them.",
    state: build(
      isolated,
      withItem('service', 'a/web', {
        ...SERVICE,
        ...OUTER,
        ports: SERVICE.ports.map((p) => ({ ...p, nodePort: 30080 })),
      }),
      withCluster({
        closedNodePorts: [{ protocol: 'TCP', port: 30080 }],
        closedFrontends: [{ ip: '198.51.100.7', protocol: 'TCP', port: 80 }],
        frontends: [{ ip: '198.51.100.7', protocol: 'TCP', port: 80 }],
      }),
    ),
    like: 'isolated',
  },
  affinity: {
    about: 'A Service with ClientIP affinity.',
    state: build(isolated, withItem('service', 'a/web', { ...SERVICE, affinitySeconds: 10800 })),
    like: 'isolated',
  },
  'host-ports': {
    about: 'A pod with host ports: one on all addresses of the node, one on one of them.',
    state: build(
      isolated,
      withPod({
        ...POD,
        link: {
          ...POD.link,
          ports: [
            { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' },
            { hostPort: 5353, containerPort: 53, protocol: 'udp', hostIP: '192.0.2.11' },
          ],
        },
      }),
    ),
    like: 'isolated',
  },
  limits: {
    about: '--connections-per-pod 1000, and a link of the node with hosts on it.',
    state: { ...isolated, connectionsPerPod: 1000, onLink: ['192.0.2.0/24', '2001:db8::/64'] },
    like: 'isolated',
  },
  'no-limits': {
    about: '--connections-per-pod 0: no shares of connection tracking.',
    state: { ...isolated, connectionsPerPod: 0 },
    like: 'isolated',
  },
  'api-server': {
    about: 'Hosts of the API server are known: they reach the pods of the network.',
    state: build(isolated, API_HOSTS),
    like: 'isolated',
  },
  'api-server-registered': {
    about: 'apiServerAccess Registered: only ports that webhooks and aggregated APIs name.',
    state: build(isolated, API_HOSTS, withNetwork({ apiServerAccess: 'Registered' }), REGISTERED),
    like: 'api-server',
  },
  'api-server-none': {
    about: 'apiServerAccess None.',
    state: build(isolated, API_HOSTS, withNetwork({ apiServerAccess: 'None' })),
    like: 'api-server',
  },
  'api-server-here': {
    about: 'This node is a host of the API server.',
    state: build(isolated, withCluster({ apiServers: { nodes: ['n1'], addresses: [] } })),
    like: 'isolated',
  },
  subnets: {
    about: 'A network with a subnet of its own: the controller gives blocks of it to nodes.',
    state: build(
      flat,
      withNetwork({ subnets: ['172.20.0.0/16'] }),
      withBlocks(block('172.20.0.16/28', NETWORK.key, true)),
      withItem('block', '172.20.0.32/28', { cidr: '172.20.0.32/28', node: 'n2', network: NETWORK.key, given: true }),
      withPod({ ...POD, link: { ...POD.link, ips: ['172.20.0.17'] } }),
    ),
    like: 'isolated',
  },
  'subnets-closed': {
    about: 'The same while its subnet is not its to have: pods reach each other and nothing else.',
    state: build(
      flat,
      withNetwork({ subnets: ['172.20.0.0/16'], closed: true }),
      withBlocks(block('172.20.0.16/28', NETWORK.key, true)),
      withItem('block', '172.20.0.32/28', { cidr: '172.20.0.32/28', node: 'n2', network: NETWORK.key, given: true }),
      withPod({ ...POD, link: { ...POD.link, ips: ['172.20.0.17'] } }),
    ),
    like: 'subnets',
  },
};
