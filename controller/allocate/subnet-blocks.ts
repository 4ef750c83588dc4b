import type { BlockItem, InterfaceItem, NetworkKey } from '../../api/nodeconfig.ts';
import { keyOf, type Network } from '../../core/cluster/state.ts';
import type { View } from '../../core/view/view.ts';
import { nextBlock, usableIn } from '../../core/ipam/subnet-blocks.ts';
import { subnetFamilies } from '../../core/read/network-problems.ts';
import { type Family, familyOf, mustIp } from '../../lib/ip/address.ts';
import { hostCidr, mustPrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';

/** Addresses that a node has given and can give of a block, as it reported. */
export type BlockUse = { readonly used: number; readonly free: number };

export type SubnetPlan = {
  /** Blocks to give now. */
  readonly give: readonly BlockItem[];
  /** Why a network has no more, by network. */
  readonly exhausted: ReadonlyMap<NetworkKey, string>;
};

/**
 * Which blocks of the networks' own subnets the nodes need beside those that they have. A node gets room for the pods that are
 * scheduled on it, before their ADD asks; an address that a pod names comes as a block of its own.
 *
 * @param given all blocks that nodes have, those included that are about to be written
 */
export function planSubnetBlocks(
  view: View,
  given: ReadonlyMap<string, BlockItem>,
  uses: ReadonlyMap<string, BlockUse>,
): SubnetPlan {
  const give: BlockItem[] = [];
  const exhausted = new Map<NetworkKey, string>();
  const taken = { 4: [] as Prefix[], 6: [] as Prefix[] };
  const known = new PrefixMap<true>();
  const byPlace = new Map<string, BlockItem[]>();
  const note = (block: BlockItem): void => {
    const prefix = mustPrefix(block.cidr);
    taken[prefix.family].push(prefix);
    known.set(prefix, true);
    const place = `${block.network} ${block.node} ${prefix.family}`;
    const there = byPlace.get(place);
    if (there) there.push(block);
    else byPlace.set(place, [block]);
  };
  for (const block of given.values()) note(block);
  for (const { key, network, node, wanted } of demand(view)) {
    const spec = network.spec ?? {};
    for (const family of subnetFamilies(network.spec)) {
      const asked = wanted.flatMap((w) => (w.ips ?? []).filter((ip) => familyOf(ip) === family));
      for (const ip of asked) {
        if (known.has(mustIp(ip))) continue; // this node's, or another's that must let go first
        const block: BlockItem = { cidr: hostCidr(ip), network: key, node, given: true };
        give.push(block);
        note(block);
      }
      const mine = (): BlockItem[] => byPlace.get(`${key} ${node} ${family}`) ?? [];
      // A block of one address belongs to the pod that asks for it.
      const alone = new Set(asked.map(hostCidr));
      const shared = (b: BlockItem): boolean => !alone.has(b.cidr);
      const room = (): number =>
        mine()
          .filter(shared)
          .reduce((n, b) => n + roomIn(spec, b, uses), 0);
      while (room() < wanted.length - asked.length) {
        const cidr = nextBlock(spec, { family, taken: taken[family], nodes: view.state.nodes.size });
        if (cidr === undefined) {
          exhausted.set(key, describeExhausted(network, node, family, wanted.length));
          break;
        }
        const block: BlockItem = { cidr, network: key, node, given: true };
        give.push(block);
        note(block);
      }
    }
  }
  return { give, exhausted };
}

type Demand = {
  readonly key: NetworkKey;
  readonly network: Network;
  readonly node: string;
  readonly wanted: InterfaceItem[];
};

/** Interfaces on networks with subnets of their own, by network and node. */
function demand(view: View): Demand[] {
  const found = new Map<string, Demand>();
  for (const [node, pods] of view.podsByNode) {
    if (!view.state.nodes.has(node)) continue;
    for (const pod of pods) {
      const plan = view.plans.get(keyOf(pod));
      // A pod that must wait for something else would only keep addresses from others.
      if (!plan || 'problem' in plan.first.assignment) continue;
      for (const item of [plan.first, ...plan.others]) {
        if (!('network' in item.assignment)) continue;
        const key = item.assignment.network;
        const network = view.state.networks.get(key);
        if (!network?.spec?.subnets?.length || view.state.conflicts?.has(key)) continue;
        const place = found.get(`${key} ${node}`) ?? { key, network, node, wanted: [] };
        place.wanted.push(item);
        found.set(`${key} ${node}`, place);
      }
    }
  }
  return [...found.values()].sort((a, b) => (a.key + a.node < b.key + b.node ? -1 : 1));
}

function roomIn(
  spec: NonNullable<Network['spec']> | object,
  { cidr }: BlockItem,
  uses: ReadonlyMap<string, BlockUse>,
): number {
  const usable = usableIn(spec, cidr);
  const use = uses.get(cidr);
  return usable === 0 ? 0 : use ? use.used + use.free : usable;
}

const describeExhausted = ({ spec }: Network, node: string, family: Family, pods: number): string =>
  `no address is left in ${(spec?.subnets ?? []).filter((s) => familyOf(s) === family).join(', ')} for node ${node}, which has ${pods} pod(s) of this network; add a subnet, or delete pods`;
