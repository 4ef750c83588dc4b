import { FLAT_NETWORK } from '../../api/names.ts';
import type { NetworkItem } from '../../api/nodeconfig.ts';
import { type Conntrack, openConntrack } from '../../lib/netlink/conntrack.ts';
import { isGone } from '../../lib/netlink/error.ts';
import { type Netlink, openNetlink } from '../../lib/netlink/netlink.ts';
import { writeSysctls } from '../../lib/netns/sysctl.ts';
import { type Nft, openNft } from '../../lib/nft/nft.ts';
import type { Sysctls } from '../../lib/netns/sysctl.ts';
import { Wishes } from '../desired/wishes.ts';
import { dropArp } from '../kernel/arp.ts';
import { Namespaces } from '../kernel/namespaces.ts';
import { NamespaceWriter } from '../kernel/namespace-writer.ts';
import { isOurLink, TABLE, uplinkName } from '../plan/names.ts';

/** A namespace in which a network lives: the root for the flat one, an instance for each other. */
export type Place = {
  readonly key: string;
  readonly writer: NamespaceWriter;
  readonly wishes: Wishes;
  readonly netlink: Netlink;
  readonly nft: Nft;
  readonly conntrack: Conntrack;
  /** Path of the namespace; undefined for the root. */
  readonly netns: string | undefined;
  /** No earlier life of this agent has made it. */
  readonly fresh: boolean;
};

/** The place of a network of its own. */
export type Instance = Place & { readonly network: NetworkItem; readonly netns: string };

/** The root and the instances of this node. */
export class Places implements Disposable {
  readonly root: Place;
  readonly #instances = new Map<string, Instance>();
  readonly #namespaces: Namespaces;

  constructor(netnsDir: string) {
    this.#namespaces = new Namespaces(netnsDir);
    const [netlink, nft] = [openNetlink(), openNft()];
    const writer = new NamespaceWriter('root', TABLE, { netlink, root: netlink, nft, netns: undefined }, isOurLink);
    const wishes = new Wishes(writer);
    this.root = {
      key: FLAT_NETWORK,
      writer,
      wishes,
      netlink,
      nft,
      conntrack: openConntrack(),
      netns: undefined,
      fresh: false,
    };
  }

  get instances(): ReadonlyMap<string, Instance> {
    return this.#instances;
  }

  /** Keys of all networks that are here, the flat one last. */
  get keys(): string[] {
    return [...this.#instances.keys(), FLAT_NETWORK];
  }

  get(key: string): Place | undefined {
    return key === FLAT_NETWORK ? this.root : this.#instances.get(key);
  }

  /** Makes the namespace of a network's instance, or takes over the one that is there. Nothing is planned in it yet. */
  make(network: NetworkItem, sysctls: Sysctls): Instance {
    const { key } = network;
    const { path: netns, fresh } = this.#namespaces.ensure(network.vni);
    // Its switches, before any link is there.
    if (fresh) writeSysctls(sysctls, netns);
    const nft = openNft(netns);
    dropArp(nft);
    const [netlink, conntrack] = [openNetlink(netns), openConntrack(netns)];
    const writer = new NamespaceWriter(key, TABLE, { netlink, root: this.root.netlink, nft, netns }, () => true);
    const instance = { key, writer, wishes: new Wishes(writer), netlink, nft, conntrack, netns, network, fresh };
    this.#instances.set(key, instance);
    return instance;
  }

  /** The network's item has changed, and its instance stays. */
  renew(network: NetworkItem): Instance | undefined {
    const known = this.#instances.get(network.key);
    if (known) this.#instances.set(network.key, { ...known, network });
    return this.#instances.get(network.key);
  }

  /** Lets go of an instance. What is in the kernel stays until {@link removeAllBut}. */
  letGo(key: string): void {
    const instance = this.#instances.get(key);
    if (instance) dispose(instance);
    this.#instances.delete(key);
  }

  /** Takes away the namespaces of all other VNIs, also those that an earlier life of this agent left behind. */
  removeAllBut(vnis: ReadonlySet<number>): void {
    for (const vni of this.#namespaces.vnis()) {
      if (vnis.has(vni)) continue;
      // The uplink goes at once; the rest of the namespace when the kernel gets to it.
      const [error] = this.root.netlink.apply([{ verb: 'delete', kind: 'link', name: uplinkName(vni) }]);
      if (!error || isGone(error)) this.root.writer.linkGone(uplinkName(vni));
      this.#namespaces.remove(vni);
    }
  }

  [Symbol.dispose](): void {
    for (const place of [...this.#instances.values(), this.root]) dispose(place);
  }
}

function dispose({ netlink, nft }: Pick<Place, 'netlink' | 'nft'>): void {
  for (const driver of [netlink, nft]) driver[Symbol.dispose]();
}
