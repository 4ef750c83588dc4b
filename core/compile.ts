import { FLAT_NETWORK } from '../api/names.ts';
import {
  emptyNodeConfig,
  type ItemKind,
  ITEM_KINDS,
  type NetworkKey,
  type NodeConfig,
  type StreamEvent,
} from '../api/nodeconfig.ts';
import { keyOf } from './cluster/state.ts';
import { serviceNetwork, type View } from './cluster/view.ts';
import { serviceItem } from './services/backends.ts';
import { closedNodePorts } from './services/node-ports.ts';

/**
 * All that one node must know, and nothing of networks that have no business there.
 *
 * A network is on a node while a pod of it is scheduled there or a block of it is held there.
 */
export function compile(view: View, node: string): NodeConfig {
  const { state } = view;
  const config = emptyNodeConfig();
  const closed = closedNodePorts(view);
  config.cluster.set('cluster', {
    podCIDRs: state.podCIDRs,
    serviceCIDRs: state.serviceCIDRs,
    ...(closed.length > 0 ? { closedNodePorts: closed } : {}),
    ...(state.settings ? { settings: state.settings } : {}),
  });
  for (const n of state.nodes.values()) {
    const [underlay] = n.addresses;
    if (underlay === undefined || n.podCIDRs.length === 0) continue;
    config.node.set(n.name, { name: n.name, underlay, addresses: n.addresses, podCIDRs: n.podCIDRs });
  }
  const present = new Set<NetworkKey>();
  for (const pod of view.podsByNode.get(node) ?? []) {
    const assignment = view.podAssignment.get(keyOf(pod));
    if (!assignment) continue;
    config.pod.set(keyOf(pod), { namespace: pod.namespace, name: pod.name, uid: pod.uid, assignment });
    const byNamespace = view.namespaceAssignment.get(pod.namespace);
    if (byNamespace) config.namespace.set(pod.namespace, { name: pod.namespace, assignment: byNamespace });
    if ('network' in assignment) present.add(assignment.network);
    // The next pod of this namespace may come while the controller is away: its network is made known now.
    if (byNamespace && 'network' in byNamespace) present.add(byNamespace.network);
  }
  for (const block of state.blocks.values()) if (block.node === node) present.add(block.network);
  for (const key of present) addNetwork(view, node, key, config);
  return config;
}

function addNetwork(view: View, node: string, key: NetworkKey, config: ReturnType<typeof emptyNodeConfig>): void {
  if (key === FLAT_NETWORK) return; // other nodes' flat pods are reached by their node's pod CIDR
  const network = view.state.networks.get(key);
  if (!network?.spec || network.vni === undefined) return;
  const allow: string[] = [];
  for (const ref of network.spec.services.allow) {
    const service = view.state.services.get(keyOf(ref));
    // Only what lives in the flat network can be allowed so: another tenant's Service needs that tenant's consent.
    if (!service || serviceNetwork(view.namespaceAssignment, ref) !== FLAT_NETWORK) continue;
    config.service.set(keyOf(service), serviceItem(view, service, FLAT_NETWORK));
    allow.push(keyOf(service));
  }
  config.network.set(key, {
    key,
    vni: network.vni,
    egress: network.spec.egress.mode,
    ...(network.spec.mtu === undefined ? {} : { mtu: network.spec.mtu }),
    allow,
  });
  for (const service of view.servicesByNetwork.get(key) ?? [])
    config.service.set(keyOf(service), serviceItem(view, service, key));
  for (const block of view.blocksByNetwork.get(key) ?? []) if (block.node !== node) config.block.set(block.cidr, block);
}

/** The events that lead from one config to the next, deletions last. */
export function diffConfig(before: NodeConfig, after: NodeConfig): StreamEvent[] {
  return [
    ...ITEM_KINDS.flatMap((kind) => upserts(kind, before, after)),
    ...ITEM_KINDS.flatMap((kind) => deletions(kind, before, after)),
  ];
}

/** Carries out one event on a config. Events that change nothing of it (`hello`, `sync`, `ping`) are passed over. */
export function applyEvent(config: ReturnType<typeof emptyNodeConfig>, event: StreamEvent): void {
  if (event.type === 'upsert') (config[event.kind] as Map<string, unknown>).set(event.key, event.value);
  else if (event.type === 'delete') config[event.kind].delete(event.key);
}

function upserts(kind: ItemKind, before: NodeConfig, after: NodeConfig): StreamEvent[] {
  const events: StreamEvent[] = [];
  for (const [key, value] of after[kind]) {
    const old = before[kind].get(key);
    if (old !== undefined && (old === value || JSON.stringify(old) === JSON.stringify(value))) continue;
    events.push({ type: 'upsert', kind, key, value } as StreamEvent);
  }
  return events;
}

function deletions(kind: ItemKind, before: NodeConfig, after: NodeConfig): StreamEvent[] {
  return [...before[kind].keys()].filter((key) => !after[kind].has(key)).map((key) => ({ type: 'delete', kind, key }));
}
