import type { GroupItem, Protocol } from '../../api/nodeconfig.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { cut } from '../../lib/ip/cut.ts';
import { contains, covers, formatPrefix, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import { matches } from '../cluster/selector.ts';
import type { ClusterState, Pod } from '../cluster/state.ts';
import { nodeAddress } from '../nodes/addresses.ts';
import type { PolicyIndex } from './index.ts';
import type { Peer } from '../cluster/policy.ts';

/** Only those of a peer's pods that have a container port of this name, with this number. */
export type NamedPort = { readonly name: string; readonly protocol: Protocol; readonly port: number };

/** Whom a rule names: any of these, or every peer. */
export type Peers = readonly Peer[] | 'any';

/** What a group is, in text: equal texts hold equal addresses. `peers` "any": every pod. */
export function groupKey(peers: Peers, named?: NamedPort): string {
  const base = peers === 'any' ? 'any pod' : textOfAll(peers);
  return named ? `${base} with ${named.name}=${named.port}/${named.protocol}` : base;
}

/** Rules never change: each one's peers are written out once. */
function textOfAll(peers: readonly Peer[]): string {
  const known = texts.get(peers) ?? [...new Set(peers.map(textOf))].sort().join(' or ');
  texts.set(peers, known);
  return known;
}

const texts = new WeakMap<readonly Peer[], string>();

function textOf(peer: Peer): string {
  switch (peer.kind) {
    case 'pods':
      return `pods of ${peer.namespace ?? JSON.stringify(peer.namespaces)}: ${JSON.stringify(peer.pods)}`;
    case 'networks':
      return `${peer.cidrs.join(' ')}${peer.except.length > 0 ? ` except ${peer.except.join(' ')}` : ''}`;
    case 'nodes':
      return `nodes: ${JSON.stringify(peer.nodes)}`;
  }
}

/** The addresses of a group now, sorted: of all peers of a rule together, since they mean the same ports. */
export function groupItem(index: PolicyIndex, peers: Peers, named?: NamedPort): GroupItem {
  const { state } = index;
  const found: string[] = [];
  for (const pod of podsOf(index, peers))
    if (!named || pod.ports.some((p) => isNamed(p, named))) found.push(...addressesOf(state, pod));
  if (peers === 'any') return { addresses: sorted(found), prefixes: [] };
  const { texts: prefixes, map } = prefixesOf(peers);
  const inside = (address: string): boolean => map.has(mustIp(address));
  if (named) {
    // Names belong to pods: of prefixes the pods inside count, and nodes have none.
    if (prefixes.length > 0)
      for (const pod of state.pods.values())
        if (pod.ports.some((p) => isNamed(p, named))) found.push(...addressesOf(state, pod).filter(inside));
    return { addresses: sorted(found), prefixes: [] };
  }
  for (const node of state.nodes.values()) {
    const selected = peers.some((p) => p.kind === 'nodes' && matches(p.nodes, node.labels));
    if (selected) found.push(...node.addresses);
    // Nodes are known to pods by an address of their pod CIDR; a prefix that holds the node's own address means that one too.
    for (const cidr of prefixes.length > 0 ? node.podCIDRs : [])
      if (node.addresses.some((a) => a.includes(':') === cidr.includes(':') && inside(a)))
        found.push(nodeAddress(cidr));
  }
  return { addresses: sorted(found), prefixes };
}

const sorted = (addresses: readonly string[]): string[] => [...new Set(addresses)].sort();
const isNamed = (p: Pod['ports'][number], named: NamedPort): boolean =>
  p.name === named.name && p.port === named.port && p.protocol === named.protocol;

/** The pods that peers select; of prefixes and nodes none. */
function* podsOf({ state, podsOf: selected }: PolicyIndex, peers: Peers): Generator<Pod> {
  if (peers === 'any') return yield* state.pods.values();
  for (const peer of peers) if (peer.kind === 'pods') yield* selected(peer);
}

/** All addresses that a pod has; those of its agent are newer than its status. Of host-network pods none: those are a node's. */
export function addressesOf(state: ClusterState, pod: Pod): string[] {
  if (pod.hostNetwork || pod.finished) return [];
  return [
    ...(state.addresses?.get(pod.uid) ?? pod.ips),
    ...(state.interfaces?.get(pod.uid) ?? []).flatMap((i) => i.ips),
  ];
}

/** Whether a peer's prefixes, less what they leave out, hold an address. */
export function isInNetworks({ cidrs, except }: Peer & { kind: 'networks' }, text: string): boolean {
  const ip = mustIp(text);
  const inside = (cidr: string): boolean => contains(mustPrefix(cidr), ip);
  return cidrs.some(inside) && !except.some(inside);
}

/** The prefixes that remain of a peer, in text, once what it leaves out is cut from them. */
export const remainingPrefixes = (peers: readonly Peer[]): readonly string[] => prefixesOf(peers).texts;

type Prefixes = { readonly texts: readonly string[]; readonly map: PrefixMap<true> };

/** The prefixes of all peers of a rule, less what each leaves out, disjoint. Rules never change: worked out once. */
function prefixesOf(peers: readonly Peer[]): Prefixes {
  const known = prefixes.get(peers);
  if (known) return known;
  const all = peers.flatMap((p) => {
    if (p.kind !== 'networks') return [];
    const holes = p.except.map(mustPrefix);
    return outermost(p.cidrs.map(mustPrefix)).flatMap((c) => cut(c, holes));
  });
  const left = outermost(all);
  const made = { texts: left.map(formatPrefix).sort(), map: new PrefixMap(left.map((p) => [p, true] as const)) };
  prefixes.set(peers, made);
  return made;
}

const prefixes = new WeakMap<readonly Peer[], Prefixes>();

/** Prefixes nest or are apart: in order, whatever lies in another lies in the last that did not. */
function outermost(all: readonly Prefix[]): Prefix[] {
  const kept: Prefix[] = [];
  const inOrder = (a: Prefix, b: Prefix): number =>
    a.family - b.family || (a.first < b.first ? -1 : a.first > b.first ? 1 : a.length - b.length);
  for (const prefix of [...all].sort(inOrder)) {
    const last = kept.at(-1);
    if (!last || !covers(last, prefix)) kept.push(prefix);
  }
  return kept;
}

/** Numbers that a named port has among the pods of a rule's peers. */
export function numbersOf(index: PolicyIndex, peers: Peers, name: string, protocol?: Protocol): NamedPort[] {
  const found = new Map<string, NamedPort>();
  // Which of the pods inside a prefix have the name is asked for each number.
  const anywhere = peers !== 'any' && peers.some((p) => p.kind === 'networks');
  for (const pod of podsOf(index, anywhere ? 'any' : peers)) {
    if (pod.hostNetwork || pod.finished) continue;
    for (const p of pod.ports)
      if (p.name === name && (protocol === undefined || p.protocol === protocol))
        found.set(`${p.port}/${p.protocol}`, { name, protocol: p.protocol, port: p.port });
  }
  return [...found.values()].sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}
