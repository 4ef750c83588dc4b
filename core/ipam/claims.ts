import type { BlockItem, NetworkKey, Problem } from '../../api/nodeconfig.ts';
import { mustIp } from '../../lib/ip/address.ts';
import { hostCidr, mustPrefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import { type ClusterState, keyOf, type Pod } from '../cluster/state.ts';
import { parseInterfaces } from '../read/interfaces.ts';
import { readAddressRequest } from '../read/address-requests.ts';
import { addressProblem } from './subnet-blocks.ts';

/** Addresses that pods have or ask for: who was first. */
export type Claims = ReadonlyMap<string, Pod>;

/** By address, the pod that has it, else the oldest that asks for it. A pod that runs goes before one that waits. */
export function claimsOf(state: Pick<ClusterState, 'pods' | 'interfaces'>): Map<string, Pod> {
  const claims = new Map<string, Pod>();
  const waiting: Pod[] = [];
  for (const pod of state.pods.values()) {
    if (pod.hostNetwork || pod.finished) continue;
    for (const ip of pod.ips) claims.set(ip, pod);
    for (const { ips } of state.interfaces?.get(pod.uid) ?? []) for (const ip of ips) claims.set(ip, pod);
    if (pod.ips.length === 0) waiting.push(pod);
  }
  for (const pod of waiting.sort((a, b) => a.created - b.created || (a.uid < b.uid ? -1 : 1)))
    for (const ip of requestedBy(pod)) if (!claims.has(ip)) claims.set(ip, pod);
  return claims;
}

/** All addresses that a pod asks for, on any interface. */
export const requestedBy = (pod: Pick<Pod, 'namespace' | 'annotations'>): string[] => [
  ...readAddressRequest(pod.annotations).ips,
  ...parseInterfaces(pod.annotations, pod.namespace).interfaces.flatMap((i) => i.ips),
];

/** Why a pod cannot have the addresses that it asks for on this network; undefined when it can, or asks for none. */
export function requestProblem(
  state: Pick<ClusterState, 'networks' | 'blocks'>,
  network: NetworkKey,
  pod: Pick<Pod, 'namespace' | 'name' | 'uid' | 'node'>,
  ips: readonly string[],
  claims: Claims,
): Problem | undefined {
  const found = ips.flatMap((ip) => {
    const why = addressProblem(state.networks.get(network)?.spec ?? {}, ip);
    if (why !== undefined) return [`address ${ip} of network ${network} ${why}`];
    const holder = claims.get(ip);
    if (holder && holder.uid !== pod.uid)
      return [`address ${ip} of network ${network} is taken by pod ${keyOf(holder)}`];
    const block = blockWith(state, network, ip);
    if (block && block.node !== pod.node && pod.node !== '' && block.cidr !== hostCidr(ip))
      return [
        `address ${ip} of network ${network} is in ${block.cidr}, from which node ${block.node} gives; set such addresses aside in spec.staticPrefixes`,
      ];
    return [];
  });
  return found.length > 0
    ? { code: 'AddressUnavailable', message: `pod ${keyOf(pod)}: ${found.join('; ')}` }
    : undefined;
}

/** The assigned block of a network that holds an address. The blocks of a state never change: they are put in order once. */
function blockWith({ blocks }: Pick<ClusterState, 'blocks'>, network: NetworkKey, ip: string) {
  const byNetwork = given.get(blocks) ?? inOrder(blocks);
  given.set(blocks, byNetwork);
  return byNetwork.get(network)?.get(mustIp(ip));
}

type Given = ReadonlyMap<NetworkKey, PrefixMap<BlockItem>>;
const given = new WeakMap<ClusterState['blocks'], Given>();

function inOrder(blocks: ClusterState['blocks']): Given {
  const byNetwork = new Map<NetworkKey, PrefixMap<BlockItem>>();
  for (const block of blocks.values()) {
    if (!block.given) continue;
    const map = byNetwork.get(block.network) ?? new PrefixMap<BlockItem>();
    map.set(mustPrefix(block.cidr), block);
    byNetwork.set(block.network, map);
  }
  return byNetwork;
}
