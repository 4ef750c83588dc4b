import type { GroupItem, Protocol } from '../../api/nodeconfig.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { cut } from '../../lib/ip/cut.ts';
import { contains, covers, formatPrefix, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { matches } from '../cluster/selector.ts';
import type { ClusterState, Pod } from '../cluster/state.ts';
import { nodeAddress } from '../nodes/addresses.ts';
import type { PolicyIndex } from './index.ts';
import type { Peer } from './model.ts';

/** Only those of a peer's pods that have a container port of this name, with this number. */
export type NamedPort = { readonly name: string; readonly protocol: Protocol; readonly port: number };

/** What a group is, in text: equal texts hold equal addresses. `peer` "any": every pod. */
export function groupKey(peer: Peer | 'any', named?: NamedPort): string {
  const base = peer === 'any' ? 'any pod' : textOf(peer);
  return named ? `${base} with ${named.name}=${named.port}/${named.protocol}` : base;
}

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

/** The addresses of a group now, sorted. */
export function groupItem(index: PolicyIndex, peer: Peer | 'any', named?: NamedPort): GroupItem {
  const { state } = index;
  if (named || peer === 'any' || peer.kind === 'pods')
    return { addresses: addressesOfPods(index, peer, named), prefixes: [] };
  switch (peer.kind) {
    case 'nodes':
      return {
        addresses: [...state.nodes.values()]
          .filter((n) => matches(peer.nodes, n.labels))
          .flatMap((n) => n.addresses)
          .sort(),
        prefixes: [],
      };
    case 'networks':
      return { addresses: aliasesIn(state, peer), prefixes: disjoint(peer) };
  }
}

/** All addresses that a pod has; those of its agent are newer than its status. Of host-network pods none: those are a node's. */
export function addressesOf(state: ClusterState, pod: Pod): string[] {
  if (pod.hostNetwork || pod.finished) return [];
  return [
    ...(state.addresses?.get(pod.uid) ?? pod.ips),
    ...(state.interfaces?.get(pod.uid) ?? []).flatMap((i) => i.ips),
  ];
}

function addressesOfPods({ state, podsOf }: PolicyIndex, peer: Peer | 'any', named?: NamedPort): string[] {
  const found: string[] = [];
  const has = (p: Pod['ports'][number]): boolean =>
    p.name === named?.name && p.port === named.port && p.protocol === named.protocol;
  const pods = peer === 'any' || peer.kind !== 'pods' ? state.pods.values() : podsOf(peer);
  for (const pod of pods) {
    if (named && !pod.ports.some(has)) continue;
    const inside = (ip: string): boolean => peer === 'any' || peer.kind !== 'networks' || isInNetworks(peer, ip);
    found.push(...addressesOf(state, pod).filter(inside));
  }
  return [...new Set(found)].sort();
}

/** Nodes are known to pods by an address of their pod CIDR; a prefix that holds the node's own address means that one too. */
const aliasesIn = (state: ClusterState, peer: Peer & { kind: 'networks' }): string[] =>
  [...state.nodes.values()]
    .flatMap((n) =>
      n.podCIDRs
        .filter((c) => n.addresses.some((a) => a.includes(':') === c.includes(':') && isInNetworks(peer, a)))
        .map(nodeAddress),
    )
    .sort();

/** Whether a peer's prefixes, less what they leave out, hold an address. */
export function isInNetworks({ cidrs, except }: Peer & { kind: 'networks' }, text: string): boolean {
  const ip = mustIp(text);
  const inside = (cidr: string): boolean => contains(mustPrefix(cidr), ip);
  return cidrs.some(inside) && !except.some(inside);
}

function disjoint({ cidrs, except }: Peer & { kind: 'networks' }): string[] {
  const holes = except.map(mustPrefix);
  const outer: Prefix[] = [];
  for (const prefix of cidrs.map(mustPrefix).sort((a, b) => a.length - b.length))
    if (!outer.some((o) => covers(o, prefix))) outer.push(prefix);
  return outer
    .flatMap((o) => cut(o, holes))
    .map(formatPrefix)
    .sort();
}

/** Numbers that a named port has among the pods of a peer. */
export function numbersOf(index: PolicyIndex, peer: Peer | 'any', name: string, protocol?: Protocol): NamedPort[] {
  const found = new Map<string, NamedPort>();
  const pods = peer !== 'any' && peer.kind === 'pods' ? index.podsOf(peer) : index.state.pods.values();
  for (const pod of pods) {
    if (pod.hostNetwork || pod.finished) continue;
    for (const p of pod.ports)
      if (p.name === name && (protocol === undefined || p.protocol === protocol))
        found.set(`${p.port}/${p.protocol}`, { name, protocol: p.protocol, port: p.port });
  }
  return [...found.values()].sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}
