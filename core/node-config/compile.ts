import { FLAT_NETWORK } from '../../api/names.ts';
import {
  type BlockItem,
  type ClusterSettings,
  emptyNodeConfig,
  type ItemKind,
  ITEM_KINDS,
  type NetworkItem,
  type NetworkKey,
  type NodeItem,
  type NodeConfig,
  type StreamEvent,
} from '../../api/nodeconfig.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { canonicalIp } from '../../lib/ip/address.ts';
import { apiServerAccess } from '../api-server/access.ts';
import { apiServerHosts } from '../api-server/hosts.ts';
import { keyOf, type Network, type Settings, type Node } from '../cluster/state.ts';
import { networksOf, type View } from '../view/view.ts';
import { holderOf } from '../egress/holder.ts';
import { egressParts } from '../read/egress-parts.ts';
import { exceptIn } from '../ipam/subnet-blocks.ts';
import { openingsOf, sourceItem } from '../openings/openings.ts';
import { policedNamespaces } from '../policy/index.ts';
import { policiesOf } from '../view/policies.ts';
import { peersOf } from './peers.ts';
import { allowedServices } from '../services/allowed.ts';
import { serviceItem } from '../services/backends.ts';
import { closedBackends, closedFrontends, closedNodePorts, frontendsOf } from '../services/node-ports.ts';

/**
 * All that one node must know, and nothing of networks that have no business there.
 *
 * A network is on a node while a pod of it is scheduled there or a block of it is held there.
 */
export function compile(view: View, node: string): NodeConfig {
  const { state } = view;
  const config = emptyNodeConfig();
  const closed = closedNodePorts(view);
  const closedOnes = closedFrontends(view);
  const frontends = frontendsOf(view);
  const apiServers = apiServerHosts(state);
  config.cluster.set('cluster', {
    podCIDRs: [...new Set([...state.podCIDRs, ...ownSubnets(view)])],
    serviceCIDRs: state.serviceCIDRs,
    ...(state.policies?.size ? { policed: policedNamespaces(state) } : {}),
    ...(closed.length > 0 ? { closedNodePorts: closed.map(({ protocol, port }) => ({ protocol, port })) } : {}),
    ...(closedOnes.length > 0 ? { closedFrontends: closedOnes } : {}),
    ...(frontends.length > 0 ? { frontends } : {}),
    ...(apiServers.nodes.length + apiServers.addresses.length > 0 ? { apiServers } : {}),
    ...(state.settings ? { settings: namespaceSettings(state.settings) } : {}),
  });
  const egress = egressAddressesByNode(view);
  for (const n of state.nodes.values()) {
    const item = nodeItem(n, egress.get(n.name) ?? []);
    // Until it has a pod CIDR a node cannot attach pods; the others know it, as what their pods may not reach.
    if (item && (item.podCIDRs.length > 0 || n.name !== node)) config.node.set(n.name, item);
  }
  const present = new Set<NetworkKey>();
  const { profiles } = policiesOf(view);
  for (const pod of view.podsByNode.get(node) ?? []) {
    const assignment = view.podAssignment.get(keyOf(pod));
    if (!assignment) continue;
    const plan = view.plans.get(keyOf(pod));
    const profile = profiles.of(pod);
    if (profile) {
      config.profile.set(profile.key, profile.item);
      for (const [key, group] of profile.groups) config.group.set(key, group);
    }
    config.pod.set(keyOf(pod), {
      namespace: pod.namespace,
      name: pod.name,
      uid: pod.uid,
      assignment,
      ...(plan?.first.ips ? { ips: plan.first.ips } : {}),
      ...(plan?.first.mac === undefined ? {} : { mac: plan.first.mac }),
      ...(plan && plan.others.length > 0 ? { interfaces: plan.others } : {}),
      ...(profile ? { profile: profile.key } : {}),
    });
    const byNamespace = view.namespaceAssignment.get(pod.namespace);
    if (byNamespace) config.namespace.set(pod.namespace, { name: pod.namespace, assignment: byNamespace });
    for (const network of networksOf(view, pod)) present.add(network);
    // The next pod of this namespace may come while the controller is away: its network is made known now.
    if (byNamespace && 'network' in byNamespace) present.add(byNamespace.network);
  }
  // Each on its network: the same address may be asked for on another, which gets the subnet next.
  const asked = new Set(
    (view.podsByNode.get(node) ?? []).flatMap((pod) => {
      const plan = view.plans.get(keyOf(pod));
      return (plan ? [plan.first, ...plan.others] : []).flatMap(({ assignment, ips = [] }) =>
        'network' in assignment ? ips.map((ip) => `${assignment.network} ${hostCidr(ip)}`) : [],
      );
    }),
  );
  for (const block of state.blocks.values()) {
    if (block.node === node) present.add(block.network);
    // The root of every node has a route to each of these: no node's pod CIDR holds them.
    if (!block.given) continue;
    if (block.node === node) config.block.set(block.cidr, { ...block, except: exceptOf(view, block, asked) });
    else if (!state.conflicts?.has(block.network)) config.block.set(block.cidr, nameless(block));
  }
  // Pods of other nodes leave the cluster by this one.
  for (const [key, { egressNode, spec }] of state.networks)
    if (egressNode === node && spec?.egress.addresses?.length) present.add(key);
  for (const [key, item] of closedBackends(view)) config.closed.set(key, item);
  for (const key of present) addNetwork(view, node, key, config);
  return config;
}

function addNetwork(view: View, node: string, key: NetworkKey, config: ReturnType<typeof emptyNodeConfig>): void {
  if (key === FLAT_NETWORK) return; // other nodes' flat pods are reached by their node's pod CIDR
  const network = view.state.networks.get(key);
  if (!network?.spec || network.vni === undefined) return;
  const access = apiServerAccess(view.state, network);
  const closed = view.state.conflicts?.has(key) ?? false;
  const allow: string[] = [];
  for (const service of allowedServices(view, network.spec)) {
    config.service.set(keyOf(service), serviceItem(view, service, FLAT_NETWORK));
    allow.push(keyOf(service));
  }
  config.network.set(key, {
    key,
    vni: network.vni,
    ...(network.spec.subnets?.length ? { subnets: network.spec.subnets } : {}),
    ...(closed ? { closed: true as const } : {}),
    ...egressOf(view, network),
    ...(network.spec.egress.allow ? { egressAllow: egressParts(network.spec.egress.allow) } : {}),
    ...(network.spec.mtu === undefined ? {} : { mtu: network.spec.mtu }),
    ...(access === 'All' ? {} : { apiServerAccess: access }),
    allow,
  });
  for (const { peer, services } of closed ? [] : peersOf(view, key)) {
    config.peer.set(`${key}|${peer.other}`, peer);
    for (const service of services) config.service.set(keyOf(service), serviceItem(view, service, peer.other));
  }
  for (const opening of closed ? [] : openingsOf(view, node, key)) {
    config.opening.set(opening.pod, opening);
    for (const n of opening.namespaces) if (!config.source.has(n)) config.source.set(n, sourceItem(view, n));
  }
  for (const service of view.servicesByNetwork.get(key) ?? [])
    config.service.set(keyOf(service), serviceItem(view, service, key));
  for (const block of view.blocksByNetwork.get(key) ?? []) {
    if (block.node === node) continue;
    // Of a closed network: known to its own instance, and not to the root.
    const { given: _, ...inside } = block;
    config.block.set(block.cidr, closed ? inside : block);
  }
}

/** What agents need of the settings: they decide on namespaces themselves while the controller is away. */
function namespaceSettings(settings: Settings): ClusterSettings {
  const { ceilings: _, ...rest } = settings;
  return rest;
}

/** A node as the others know it; without pod CIDRs while it has no part in the overlay, undefined while it has no address at all. */
function nodeItem(n: Node, egress: readonly string[]): NodeItem | undefined {
  const further = [...new Set([...n.further, ...egress])];
  const [internal] = n.addresses;
  const underlay = internal ?? further[0];
  if (underlay === undefined) return undefined;
  return {
    name: n.name,
    underlay,
    addresses: n.addresses,
    ...(further.length > 0 ? { further } : {}),
    ...(n.unheard ? { unheard: n.unheard } : {}),
    podCIDRs: internal === undefined ? [] : n.podCIDRs,
    ...(n.zone === '' ? {} : { zone: n.zone }),
  };
}

/** A network whose fixed addresses no node has does not leave the cluster at all: with another address it would not be itself. */
function egressOf(view: View, { namespace, name, spec }: Network): Pick<NetworkItem, 'egress' | 'egressVia'> {
  const { mode = 'None', addresses = [] } = spec?.egress ?? {};
  if (addresses.length === 0 || mode !== 'NAT') return { egress: mode };
  const node = holderOf(view, keyOf({ namespace, name }));
  if (node === undefined) return { egress: 'None' };
  return { egress: mode, egressVia: { node, addresses: addresses.map((a) => canonicalIp(a) ?? a) } };
}

/** Fixed egress addresses that each node has now: they are addresses of that node as much as its own. */
function egressAddressesByNode(view: View): Map<string, string[]> {
  const byNode = new Map<string, string[]>();
  for (const [key, { spec }] of view.state.networks) {
    const node = spec?.egress.addresses?.length ? holderOf(view, key) : undefined;
    if (node === undefined) continue;
    const addresses = (spec?.egress.addresses ?? []).map((a) => canonicalIp(a) ?? a);
    byNode.set(node, [...(byNode.get(node) ?? []), ...addresses]);
  }
  return byNode;
}

/** Subnets of all networks that may use theirs: pod ranges, as much as the nodes' own. */
const ownSubnets = ({ state }: View): string[] =>
  [...state.networks].flatMap(([key, n]) => (state.conflicts?.has(key) ? [] : (n.spec?.subnets ?? []))).sort();

const withoutName = new WeakMap<BlockItem, BlockItem>();

/** A block as the roots of all nodes know it: they route to it, and whose it is they need not know. */
function nameless(block: BlockItem): BlockItem {
  const known = withoutName.get(block) ?? { ...block, network: '' };
  withoutName.set(block, known);
  return known;
}

/** Parts of a block that only those get who ask: what the spec sets aside, and single addresses that pods ask for. */
function exceptOf({ state }: View, { network, cidr }: BlockItem, asked: ReadonlySet<string>): string[] {
  return asked.has(`${network} ${cidr}`) ? [cidr] : exceptIn(state.networks.get(network)?.spec ?? {}, cidr);
}

/** The events that lead from one config to the next, deletions last. */
export function diffConfig(before: NodeConfig, after: NodeConfig): StreamEvent[] {
  return [
    ...ITEM_KINDS.flatMap((kind) => upserts(kind, before, after)),
    ...ITEM_KINDS.flatMap((kind) => deletions(kind, before, after)),
  ];
}

/**
 * Carries out one event on a config. Events that change nothing of it (`hello`, `sync`, `ping`) are passed over, and so are
 * items of a kind that this version does not know: during an upgrade the controller may be the newer one.
 */
export function applyEvent(config: ReturnType<typeof emptyNodeConfig>, event: StreamEvent): void {
  if (event.type !== 'upsert' && event.type !== 'delete') return;
  const items = config[event.kind] as Map<string, unknown> | undefined;
  if (event.type === 'upsert')
    items?.set(event.key, event.kind === 'node' ? keptNode(config.node.get(event.key), event.value) : event.value);
  else items?.delete(event.key);
}

/** A controller that has just begun knows less of a node than the one before: what is closed stays closed until its agent has spoken. */
function keptNode(before: NodeItem | undefined, now: NodeItem): NodeItem {
  if (!now.unheard || !before?.further) return now;
  return { ...now, further: [...new Set([...before.further, ...(now.further ?? [])])] };
}

/** Items never change once they are made, so each is written out once, and not again when the next config is compared with it. */
const texts = new WeakMap<object, string>();
function textOf(item: object): string {
  const known = texts.get(item);
  if (known !== undefined) return known;
  const text = JSON.stringify(item);
  texts.set(item, text);
  return text;
}

function upserts(kind: ItemKind, before: NodeConfig, after: NodeConfig): StreamEvent[] {
  const events: StreamEvent[] = [];
  for (const [key, value] of after[kind]) {
    const old = before[kind].get(key);
    if (old !== undefined && (old === value || textOf(old) === textOf(value))) continue;
    events.push({ type: 'upsert', kind, key, value } as StreamEvent);
  }
  return events;
}

function deletions(kind: ItemKind, before: NodeConfig, after: NodeConfig): StreamEvent[] {
  return [...before[kind].keys()].filter((key) => !after[kind].has(key)).map((key) => ({ type: 'delete', kind, key }));
}
