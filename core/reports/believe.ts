import { FLAT_NETWORK } from '../../api/names.ts';
import type { BlockItem, NetworkKey } from '../../api/nodeconfig.ts';
import type { NodeReport } from '../../api/report.ts';
import { parseIp } from '../../lib/ip/address.ts';
import {
  contains,
  covers,
  formatPrefix,
  hostPrefix,
  mustPrefix,
  parsePrefix,
  type Prefix,
  sizeOf,
} from '../../lib/ip/prefix.ts';
import { PrefixSet } from '../../lib/ip/prefix-set.ts';
import { AskedNetworks } from '../attach/interfaces.ts';
import type { ClusterState, Node, Pod } from '../cluster/state.ts';

/** Why something that an agent says is not taken for true. */
export const REFUSALS = [
  'PodNotOnNode',
  'NetworkNotOnNode',
  'BlockNotOfNode',
  'BlockNotGiven',
  'AddressNotInBlock',
  'Unreadable',
] as const;
export type RefusalReason = (typeof REFUSALS)[number];

/** One thing that was not taken for true, for logs. */
export type Refusal = { readonly node: string; readonly reason: RefusalReason; readonly what: string };

/** What was borne out before: a pod keeps its network and a node its block while the API's word about them changes. */
export type Evidence = {
  /** Network of each interface, by "uid ifname". */
  readonly attached: ReadonlyMap<string, NetworkKey>;
  /** Blocks by node, then by cidr. */
  readonly blocks: ReadonlyMap<string, ReadonlyMap<string, HeldBlock>>;
};
/** A block of a node; `at`: when the API last bore it out, milliseconds. */
type HeldBlock = { readonly network: NetworkKey; readonly given: boolean; readonly at: number };
export const noEvidence: Evidence = { attached: new Map(), blocks: new Map() };

/** What agents say, as far as the API bears it out. */
export type Believed = {
  readonly reports: ReadonlyMap<string, NodeReport>;
  readonly refused: readonly Refusal[];
  readonly evidence: Evidence;
};

type Seen = Pick<ClusterState, 'namespaces' | 'networks' | 'settings' | 'definitions' | 'pods' | 'nodes'>;

/** A block outlives the last pod of its network on the node: addresses rest, and a pod may be gone in the API before it has ended. */
const GRACE_MS = 600_000;

/**
 * Takes of each report what the API bears out: an agent speaks for pods that are on its node, for blocks that are its node's, and for
 * networks that have business there. A token of one node that was stolen then says nothing about others.
 *
 * Nothing is refused for ever. Reports are kept as they came and judged again with every change: what is said of a pod that no watch
 * has shown yet counts as soon as one shows it.
 *
 * @param stored AddressBlocks, as the API has them
 */
export function believeReports(
  state: Seen,
  reports: ReadonlyMap<string, NodeReport>,
  {
    stored,
    evidence,
    now,
  }: { readonly stored: Iterable<BlockItem>; readonly evidence: Evidence; readonly now: number },
): Believed {
  const blocks = [...stored];
  let given: PrefixSet | undefined;
  const podsByNode = Map.groupBy(state.pods.values(), (p) => p.node);
  const blocksByNode = Map.groupBy(blocks, (b) => b.node);
  const known = new Map<string, Pod>();
  for (const pod of state.pods.values()) known.set(pod.uid, pod);
  const asked = new AskedNetworks(state);
  const refused: Refusal[] = [];
  const attached = new Map<string, NetworkKey>();
  const held = new Map<string, ReadonlyMap<string, HeldBlock>>();
  const believed = new Map<string, NodeReport>();
  for (const [name, report] of reports) {
    const node = state.nodes.get(name);
    if (!node) continue;
    const judge = new Judge(state, node, {
      pods: podsByNode.get(name) ?? [],
      stored: blocksByNode.get(name) ?? [],
      known,
      asked,
      isGiven: (prefix) => {
        given ??= new PrefixSet(blocks.flatMap((b) => (b.given ? mustPrefix(b.cidr) : [])));
        return given.overlaps(prefix);
      },
      attached: evidence.attached,
      held: evidence.blocks.get(name) ?? new Map(),
      now,
    });
    const judged = judge.judge(report);
    believed.set(name, judged);
    for (const e of judged.endpoints) attached.set(keyOf(e), e.network);
    held.set(name, judge.held);
    refused.push(...judge.refused);
  }
  return { reports: believed, refused, evidence: { attached, blocks: held } };
}

type Endpoint = NodeReport['endpoints'][number];
type Block = NodeReport['blocks'][number];
type Context = {
  /** Of this node, as the API says. */
  readonly pods: readonly Pod[];
  readonly stored: readonly BlockItem[];
  /** Pods of all nodes, by uid. */
  readonly known: ReadonlyMap<string, Pod>;
  readonly asked: AskedNetworks;
  /** Whether a part of the prefix is some node's, by an AddressBlock. */
  readonly isGiven: (prefix: Prefix) => boolean;
  readonly attached: Evidence['attached'];
  /** Of this node, by cidr. */
  readonly held: ReadonlyMap<string, HeldBlock>;
  readonly now: number;
};

/** Judges the report of one node. */
class Judge {
  readonly #state: Seen;
  readonly #node: Node;
  readonly #pods: readonly Pod[];
  readonly #context: Context;
  readonly #cidrs: readonly Prefix[];
  /** Blocks that the API says are this node's. */
  readonly #stored: ReadonlyMap<string, BlockItem>;
  readonly #storedOf: ByNetwork;
  #podAddresses: PrefixSet | undefined;
  /** What is borne out of this node's blocks now. */
  readonly held = new Map<string, HeldBlock>();
  readonly refused: Refusal[] = [];

  constructor(state: Seen, node: Node, context: Context) {
    this.#state = state;
    this.#node = node;
    this.#pods = context.pods.filter((p) => !p.hostNetwork);
    this.#context = context;
    this.#cidrs = node.podCIDRs.map(mustPrefix);
    this.#stored = new Map(context.stored.map((b) => [b.cidr, b]));
    this.#storedOf = new ByNetwork(context.stored);
  }

  judge(report: NodeReport): NodeReport {
    const known = report.endpoints.flatMap((e) => this.#withNetwork(e) ?? []);
    const networks = this.#networks(known);
    const returned = new Set(report.returned);
    const claimed = new Map(report.blocks.map((b) => [b.cidr, b]));
    const blocks = [...claimed.values()].flatMap((b) => this.#block(b, networks) ?? []);
    // What is returned, and what an object would bear out anew: until both are over, what was known of it counts.
    for (const [cidr, before] of this.#context.held)
      if (!this.held.has(cidr) && (this.#stored.has(cidr) || claimed.has(cidr) || returned.has(cidr)))
        this.held.set(cidr, before);
    const prefixes = new ByNetwork(blocks);
    const endpoints = known.filter((e) => this.#hasItsAddresses(e, prefixes));
    return {
      ...report,
      blocks,
      endpoints,
      returned: [...returned].filter((cidr) => this.#mayReturn(cidr)),
      faults: report.faults.filter((f) => networks.has(f.network) || this.#holdsEgressOf(f.network)),
    };
  }

  /** Networks that have business on this node. */
  #networks(endpoints: readonly Endpoint[]): Set<NetworkKey> {
    const found = new Set<NetworkKey>([FLAT_NETWORK, ...endpoints.map((e) => e.network)]);
    const { asked } = this.#context;
    for (const pod of this.#pods) for (const network of asked.ofPod(pod)) found.add(network);
    for (const namespace of new Set(this.#pods.map((p) => p.namespace)))
      for (const network of asked.ofNamespace(namespace)) found.add(network);
    return found;
  }

  /** An interface of a pod that the API says is here, on a network that this pod may be on, or was on already. */
  #withNetwork(endpoint: Endpoint): Endpoint | undefined {
    const pod = this.#context.known.get(endpoint.uid);
    // The controller has not seen it yet, or no longer: nothing depends on it, and it is no sign of anything.
    if (!pod) return undefined;
    if (pod.node !== this.#node.name || pod.hostNetwork)
      return this.#refuse('PodNotOnNode', `pod ${pod.namespace}/${pod.name}`);
    const { network } = endpoint;
    const asked = this.#context.asked.ofPod(pod).includes(network);
    if (!asked && this.#context.attached.get(keyOf(endpoint)) !== network && !this.#wasThere(endpoint, pod))
      return this.#refuse('NetworkNotOnNode', `pod ${pod.namespace}/${pod.name} on network ${network}`);
    // Its name is the API's, too.
    return { ...endpoint, namespace: pod.namespace, pod: pod.name };
  }

  /** The controller wrote down a block of this network on this node once, and the pod's status has an address out of it. */
  #wasThere({ network, ips, extra }: Endpoint, pod: Pod): boolean {
    if (!extra && !ips.some((ip) => pod.ips.includes(ip))) return false;
    return ips.length > 0 && ips.every((ip) => this.#storedOf.holds(network, ip));
  }

  #block(block: Block, networks: ReadonlySet<NetworkKey>): Block | undefined {
    const { cidr, network, given } = block;
    const prefix = canonicalPrefix(cidr);
    if (!prefix) return this.#refuse('Unreadable', `block ${cidr}`);
    if (!given && !this.#cidrs.some((c) => covers(c, prefix)))
      return this.#refuse('BlockNotOfNode', `block ${cidr} of network ${network}`);
    const at = given ? this.#givenAt(block, prefix) : this.#usedAt(block, networks);
    if (at === undefined || this.#context.now - at > GRACE_MS)
      return this.#refuse(given ? 'BlockNotGiven' : 'NetworkNotOnNode', `block ${cidr} of network ${network}`);
    this.held.set(cidr, { network, given, at });
    const size = Number(sizeOf(prefix));
    const used = Math.min(block.used, size);
    return { ...block, used, free: Math.min(block.free, size - used) };
  }

  /** When the API last said that the network has business here. */
  #usedAt({ cidr, network }: Block, networks: ReadonlySet<NetworkKey>): number | undefined {
    if (networks.has(network)) return this.#context.now;
    const before = this.#context.held.get(cidr);
    if (before?.network === network && !before.given) return before.at;
    // A controller that has just begun has only the API's memory.
    const stored = this.#stored.get(cidr);
    return !before && stored?.network === network && !stored.given ? this.#context.now : undefined;
  }

  /** Now, when the controller assigned the block, as its AddressBlock says; or did so before a user deleted the object. */
  #givenAt({ cidr, network }: Block, prefix: Prefix): number | undefined {
    const stored = this.#stored.get(cidr);
    if (stored?.given && stored.network === network) return this.#context.now;
    if (this.#context.isGiven(prefix)) return undefined;
    const before = this.#context.held.get(cidr);
    if (before?.given && before.network === network) return this.#context.now;
    const own = this.#state.networks.get(network)?.spec?.subnets?.some((s) => covers(mustPrefix(s), prefix)) ?? false;
    this.#podAddresses ??= new PrefixSet(this.#pods.flatMap((p) => p.ips.flatMap((ip) => hostOf(ip) ?? [])));
    return own && this.#podAddresses.overlaps(prefix) ? this.#context.now : undefined;
  }

  /** Only what this node was given can be returned by it. */
  #mayReturn(cidr: string): boolean {
    if (this.#stored.get(cidr)?.given || this.#context.held.get(cidr)?.given) return true;
    this.#refuse('BlockNotGiven', `returned block ${cidr}`);
    return false;
  }

  #hasItsAddresses({ uid, network, ips }: Endpoint, blocks: ByNetwork): boolean {
    const inside = (ip: string): boolean =>
      blocks.holds(network, ip) ||
      this.#storedOf.holds(network, ip) ||
      (network === FLAT_NETWORK && this.#cidrs.some((c) => covers(c, hostOf(ip) ?? NOWHERE)));
    if (ips.every(inside)) return true;
    this.#refuse('AddressNotInBlock', `pod ${uid} with ${ips.slice(0, 4).join(', ')} on network ${network}`);
    return false;
  }

  #holdsEgressOf(network: NetworkKey): boolean {
    return this.#state.networks.get(network)?.egressNode === this.#node.name;
  }

  #refuse(reason: RefusalReason, what: string): undefined {
    this.refused.push({ node: this.#node.name, reason, what });
    return undefined;
  }
}

const keyOf = ({ uid, ifname }: Endpoint): string => `${uid} ${ifname}`;

/** Lies in no prefix. */
const NOWHERE: Prefix = { family: 4, first: -1n, length: 32 };

function hostOf(ip: string): Prefix | undefined {
  const parsed = parseIp(ip);
  return parsed && hostPrefix(parsed);
}

/** Blocks by their networks. Asked for one network at a time, which has few on a node, unless an agent lies. */
class ByNetwork {
  readonly #blocks = new Map<NetworkKey, string[]>();
  readonly #sets = new Map<NetworkKey, PrefixSet>();

  constructor(blocks: readonly { readonly network: NetworkKey; readonly cidr: string }[]) {
    for (const { network, cidr } of blocks) {
      const list = this.#blocks.get(network);
      if (list) list.push(cidr);
      else this.#blocks.set(network, [cidr]);
    }
  }

  /** Whether a block of the network holds the address. */
  holds(network: NetworkKey, ip: string): boolean {
    const cidrs = this.#blocks.get(network);
    const address = cidrs && parseIp(ip);
    if (!address) return false;
    if (cidrs.length <= FEW) return cidrs.some((c) => contains(canonicalPrefix(c) ?? NOWHERE, address));
    const set = this.#sets.get(network) ?? new PrefixSet(cidrs.flatMap((c) => canonicalPrefix(c) ?? []));
    this.#sets.set(network, set);
    return set.contains(address);
  }
}
const FEW = 8;

/** Prefixes that were read before: the same ones come in every report. */
const read = new Map<string, Prefix | undefined>();
const MOST_READ = 200_000;

/** The prefix, when the text is its canonical form. */
function canonicalPrefix(text: string): Prefix | undefined {
  if (read.has(text)) return read.get(text);
  const prefix = parsePrefix(text);
  const canonical = prefix && formatPrefix(prefix) === text ? prefix : undefined;
  if (read.size >= MOST_READ) read.clear();
  read.set(text, canonical);
  return canonical;
}
