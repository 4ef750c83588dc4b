import { FLAT_NETWORK } from '../../api/names.ts';
import { loadState } from '../../cli/cluster/state.ts';
import type { Pod } from '../../core/cluster/state.ts';
import { networkOf, type View, viewOf } from '../../core/view/view.ts';
import { decide } from '../../core/decide/decide.ts';
import type { Target } from '../../core/decide/decision.ts';
import { withReport } from '../../core/nodes/reported.ts';
import { serviceAtNodePort, usableBackends } from '../../core/services/usable.ts';
import { KUBELET_PORT } from '../../lib/kube/kubelet-port.ts';
import { fabricAddress, families, netPath, nodeHost, nodeNames } from '../../lab/world/plan.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { exec } from '../../lib/exec/exec.ts';
import { bulkheadConfig, pod, shop, type TestLab, virtualNetwork } from '../system/lab.ts';

/** A lab whose nodes have more addresses than Kubernetes knows, who asks them, and the answer that the model gives. */

export const HOST_PORT = 8_181;
const AGENT_PORT = 9_444;
/** Of isolated networks: b is open to all, c to the outside only. The next number is the same Service's UDP port. */
export const NODE_PORT = { b: 31_090, c: 31_092, flat: 31_094 } as const;
const UNUSED_PORT = 31_096;

export const PORTS: readonly Omit<Target, 'address'>[] = [
  ...[KUBELET_PORT, AGENT_PORT, UNUSED_PORT].map((port) => ({ port, protocol: 'TCP' as const })),
  ...(['TCP', 'UDP'] as const).map((protocol) => ({ port: HOST_PORT, protocol })),
  ...Object.values(NODE_PORT).flatMap((port) => [
    { port, protocol: 'TCP' as const },
    { port: port + 1, protocol: 'UDP' as const },
  ]),
  { port: 0, protocol: 'ICMP' },
];

/** A pod, "namespace/name", or a network namespace of the lab. */
export type Sender = { readonly name: string; readonly from: string | { readonly net: string } };
const podsOn = (name: string, namespace: string): Sender[] =>
  nodeNames(2).map((node, i) => ({ name: `${name} on ${node}`, from: `${namespace}/p${i + 1}` }));
export const SENDERS = {
  flat: podsOn('flat pod', 'flat'),
  isolated: podsOn('isolated pod', 'a'),
  way: podsOn('pod with a way out', 'nat'),
  owner: podsOn('pod behind node ports', 'b'),
  external: podsOn('pod behind node ports for the outside', 'c'),
  outside: [
    { name: 'outside', from: { net: 'outside' } },
    { name: 'neighbour', from: { net: 'fabric' } },
  ],
  nodes: nodeNames(2).map((node) => ({ name: `node ${node}`, from: { net: node } })),
} as const satisfies Record<string, readonly Sender[]>;

export const netnsOf = async (lab: TestLab, { from }: Sender): Promise<string> =>
  typeof from === 'string' ? await lab.netns(from) : netPath(lab.name, from.net);

/** An address of a node as its kernel has it. `leads`: from where packets to it get to that node. */
export type LocalAddress = {
  readonly node: string;
  readonly dev: string;
  readonly address: string;
  readonly leads: 'from anywhere' | 'from pods' | 'from its own node' | 'nowhere';
};

/** The address that Kubernetes knows. */
export const known = (i: number, family: 4 | 6): string => fabricAddress(family, nodeHost(i));
/** On the link, and one on the loopback that the fabric routes to the node. */
const second = (i: number): string[] => [`192.0.2.${111 + i}`, `2001:db8:2::${111 + i}`];
const virtual = (i: number): string[] => [`198.51.100.${i + 1}`, `2001:db8:51::${i + 1}`];
/** Of a bridge inside the node. */
const bridge = (i: number): string[] => [`172.17.${i}.1`, `fd00:17:${i + 1}::1`];
/** Fixed egress addresses of network nat: the node that has them is reached by them as by its others. */
const EGRESS = ['192.0.2.200', '2001:db8:2::c8'];

export async function buildNodeWorld(lab: TestLab): Promise<void> {
  const hostPorts = [
    { containerPort: 8080, hostPort: HOST_PORT },
    { containerPort: 5353, hostPort: HOST_PORT, protocol: 'UDP' },
  ];
  await lab.apply(
    [
      ...['a', 'b', 'c', 'nat'].map((name) => shop(name)),
      shop('flat', { isolated: false }),
      ...nodeNames(2).map((node) =>
        pod('flat', `host-${node}`, { node, labels: { app: 'host' }, container: { ports: hostPorts } }),
      ),
      ...Object.entries(NODE_PORT).map(([namespace, port]) => nodePortService(namespace, port)),
    ].join('\n---\n'),
  );
  const has = (ip: string): boolean => families(lab.spec.family).includes(familyOf(ip));
  const egress = EGRESS.filter(has);
  await lab.apply(bulkheadConfig({ egress: { addressPools: [{ prefixes: egress.map(hostCidr) }] } }), { wait: false });
  await lab.apply(
    [
      virtualNetwork('nat', 'default', { egress: { mode: 'NAT', addresses: egress } }),
      virtualNetwork('c', 'default', { services: { nodePortAccess: 'External' } }),
    ].join('\n---\n'),
  );
  for (const [i, node] of nodeNames(2).entries()) {
    await lab.onNode(node, 'ip', 'link', 'add', 'docker0', 'type', 'bridge');
    await lab.onNode(node, 'ip', 'link', 'set', 'docker0', 'up');
    const add = (ip: string, length: { 4: number; 6: number }, dev: string): Promise<string> => {
      const cidr = `${ip}/${length[familyOf(ip)]}`;
      return lab.onNode(node, 'ip', 'addr', 'add', cidr, 'dev', dev, ...(familyOf(ip) === 6 ? ['nodad'] : []));
    };
    for (const ip of second(i).filter(has)) await add(ip, { 4: 24, 6: 64 }, 'eth0');
    for (const ip of bridge(i).filter(has)) await add(ip, { 4: 24, 6: 64 }, 'docker0');
    for (const ip of virtual(i).filter(has)) {
      await add(ip, { 4: 32, 6: 128 }, 'lo');
      const route = ['ip', 'route', 'add', ip, 'via', known(i, familyOf(ip))];
      await exec(['nsenter', `--net=${netPath(lab.name, 'fabric')}`, ...route]);
    }
  }
  const isHeld = (found: readonly LocalAddress[]): boolean => egress.every((ip) => found.some((f) => f.address === ip));
  if (!isHeld(await lab.eventually(() => localAddresses(lab), isHeld)))
    throw new Error(`no node has the egress addresses ${egress.join(', ')}`);
}

const nodePortService = (namespace: string, nodePort: number): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'outer', namespace },
    spec: {
      type: 'NodePort',
      ipFamilyPolicy: 'PreferDualStack',
      selector: { app: 'web' },
      ports: [
        { name: 'http', port: 80, targetPort: 8080, nodePort },
        { name: 'dgram', port: 5353, protocol: 'UDP', nodePort: nodePort + 1 },
      ],
    },
  });

/** All addresses of all nodes. */
export async function localAddresses(lab: TestLab): Promise<LocalAddress[]> {
  const found: LocalAddress[] = [];
  for (const [i, node] of nodeNames(2).entries()) {
    const { stdout } = await exec(['nsenter', `--net=${netPath(lab.name, node)}`, 'ip', '-j', 'addr']);
    const links = JSON.parse(stdout) as { ifname: string; addr_info: { local: string }[] }[];
    for (const { ifname: dev, addr_info } of links)
      for (const { local: address } of addr_info)
        if (!found.some((f) => f.node === node && f.address === address))
          found.push({ node, dev, address, leads: leadsTo(i, dev, address) });
  }
  return found;
}

function leadsTo(i: number, dev: string, address: string): LocalAddress['leads'] {
  if (/^(127\.|169\.254\.|::1$|fe80:)/.test(address)) return 'nowhere';
  if (bridge(i).includes(address)) return 'from its own node';
  return dev === 'eth0' || virtual(i).includes(address) ? 'from anywhere' : 'from pods';
}

/** The cluster as a controller sees it that has the reports of all agents: the command line has none of them. */
export async function reportedView(lab: TestLab, addresses: readonly LocalAddress[]): Promise<View> {
  const state = await loadState(lab.target);
  const nodes = [...state.nodes].map(([name, node]) => {
    const own = addresses.filter((a) => a.node === name && !EGRESS.includes(a.address)).map((a) => a.address);
    return [name, withReport(node, { addresses: own, routes: [] }, state)] as const;
  });
  return viewOf({ ...state, nodes: new Map(nodes) });
}

export type Expected = { readonly open: boolean; readonly why: string };
const open = (why: string): Expected => ({ open: true, why });
const shut = (why: string): Expected => ({ open: false, why });

/** What a pod gets: as core decides, where a packet leads to and something listens. */
export function expectedOfPod(view: View, from: Pod, to: LocalAddress, port: Omit<Target, 'address'>): Expected {
  const { verdict, why } = decide(view, from, { address: to.address, ...port });
  if (verdict !== 'open') return shut(why);
  if (networkOf(view, from) !== FLAT_NETWORK) return open(why); // translated in its own instance
  const gets = to.leads === 'from its own node' ? from.node === to.node : to.leads !== 'nowhere';
  if (!gets) return shut(`${to.address} leads ${to.leads}`);
  return listens(view, port) ? open(why) : shut('nothing listens there');
}

/** What a host outside gets, which no policy of the cluster is about: what a node itself answers, and node ports. */
export function expectedOfHost(view: View, to: LocalAddress, port: Omit<Target, 'address'>): Expected {
  if (to.leads !== 'from anywhere') return shut(`${to.address} leads ${to.leads}`);
  for (const network of view.servicesByNetwork.keys()) {
    const service = serviceAtNodePort(view, network, port);
    if (!service) continue;
    const dialling = { node: to.node, from: 'outside', by: 'kube-proxy' } as const;
    const usable = usableBackends(view, { service, network }, { address: to.address, ...port }, dialling);
    return usable.length > 0 ? open('a node port') : shut('a node port without endpoints');
  }
  return listens(view, port) ? open('the node answers') : shut('nothing listens there');
}

function listens(view: View, { port, protocol }: Omit<Target, 'address'>): boolean {
  if (protocol === 'ICMP' || port === HOST_PORT) return true;
  if (protocol === 'TCP' && (port === KUBELET_PORT || port === AGENT_PORT)) return true;
  return [...view.servicesByNetwork.keys()].some((n) => serviceAtNodePort(view, n, { port, protocol }) !== undefined);
}
