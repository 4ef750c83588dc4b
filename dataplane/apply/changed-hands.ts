import { FLAT_NETWORK } from '../../api/names.ts';
import { ownAddresses } from '../../core/nodes/addresses.ts';
import type { BlockUse } from '../../core/ipam/node-ipam.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { type Desired, selfOf } from '../desired/desired.ts';
import type { Changes } from '../follow/config-store.ts';
import { FormerFlows } from '../kernel/cut-flows.ts';
import { closedPorts } from '../plan/closed-ports.ts';
import { closedKey, type HostPort, type PresentOwners } from '../plan/former-flows.ts';
import { addressesOf } from '../plan/names.ts';
import { ownAddressesIn } from './own-addresses.ts';
import type { Places } from './places.ts';
import type { WiredPod, WiredPods } from './wired-pods.ts';

/** What has changed hands on this node, and the connections of former owners, which end once the present rules stand. */
export class ChangedHands {
  readonly #places: Places;
  readonly #former: FormerFlows;
  #blocks: ReadonlySet<string> = new Set();

  constructor(o: {
    readonly desired: Desired;
    readonly places: Places;
    readonly pods: WiredPods;
    readonly onError: (error: Error) => void;
  }) {
    this.#places = o.places;
    this.#former = new FormerFlows({
      placeOf: (key) => {
        if (key === FLAT_NETWORK) return {};
        const netns = o.places.get(key)?.netns;
        return netns === undefined ? undefined : { netns };
      },
      owners: (key) => ownersIn(key, o),
      onError: o.onError,
    });
  }

  /** The pod's host ports lead to it now. */
  came(pod: WiredPod): void {
    this.#former.hostPorts(hostPortsOf(pod));
  }

  /** Its addresses belong to no pod any more. */
  went(pod: WiredPod): void {
    const gone = pod.link.ips.map(hostCidr);
    for (const key of new Set([FLAT_NETWORK, pod.network])) this.#former.prefixes(key, gone);
  }

  /** What was given to another node before, and used from here: its instance may have connections to the pods that had it there. */
  blocks(blocks: readonly BlockUse[]): void {
    for (const { cidr, network, given } of blocks)
      if (given && !this.#blocks.has(cidr)) this.#former.prefixes(network, [cidr]);
    this.#blocks = new Set(blocks.map((b) => b.cidr));
  }

  /** Connections of these prefixes in a network may be left from an earlier life of this agent. */
  doubtIn(key: string, cidrs: readonly string[]): void {
    this.#former.prefixes(key, cidrs);
  }

  /** Connections of these addresses may be left from owners that are not known: but for those of present owners they are cut. */
  doubt(cidrs: readonly string[]): void {
    for (const key of this.#places.keys) this.#former.prefixes(key, cidrs);
  }

  /** Pods of the flat network may not use these ports any more, nor these backends but as themselves. */
  close({ closed, closedBackends }: Pick<Changes, 'closed' | 'closedBackends'>): void {
    this.#former.close(closed.values());
    this.#former.closeBackends(closedBackends.values());
  }

  /** Cuts what has been noted, aside. Call it when the rules stand. */
  cut(except: { has(key: string): boolean }): void {
    void this.#former.cut(except);
  }

  /** Resolves when these addresses may be given, and the pod's host ports lead to it alone. */
  settle(ips: readonly string[], pod?: WiredPod): Promise<void> {
    return this.#former.settle(ips, pod ? hostPortsOf(pod) : []);
  }
}

/** Who has which address and host port, as one of the namespaces sees it. */
function ownersIn(
  key: string,
  { desired, places, pods }: { readonly desired: Desired; readonly places: Places; readonly pods: WiredPods },
): PresentOwners {
  const node = new Set((selfOf(desired)?.podCIDRs ?? []).flatMap(ownAddresses));
  const local = new Set(key === FLAT_NETWORK ? ownAddressesIn(key, desired, places) : []);
  const nodes = new Set([...desired.store.config.node.values()].flatMap(addressesOf));
  const mapped = pods.hostPorts();
  const closed = new Set(closedPorts(desired.store.config.cluster.get('cluster')).map(closedKey));
  return {
    // Of the pods of that moment: some come while the walk goes on. In the root there are packets of all networks.
    owns: (ip) => {
      const pod = pods.at(ip);
      return node.has(ip) || (pod !== undefined && (key === FLAT_NETWORK || pod.network === key));
    },
    isLocal: (ip) => local.has(ip) || ip.startsWith('127.'),
    isNode: (ip) => nodes.has(ip),
    isClosedPort: (port) => {
      const { ip, ...onNodes } = port;
      return closed.has(closedKey(port)) || ((nodes.has(ip) || local.has(ip)) && closed.has(closedKey(onNodes)));
    },
    isFlat: (ip) => pods.at(ip)?.network === FLAT_NETWORK,
    mappedTo: (ip, protocol, port) => mapped(ip, protocol, port),
  };
}

const hostPortsOf = ({ link }: WiredPod): HostPort[] =>
  (link.ports ?? []).map(({ protocol, hostPort }) => ({ protocol, port: hostPort }));
