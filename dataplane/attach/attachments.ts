import { existsSync } from 'node:fs';
import { CNI_ERRORS, type CniRequest, type CniResult } from '../../api/cni.ts';
import { FLAT_NETWORK, FLAT_VNI } from '../../api/names.ts';
import { IpamError } from '../../core/ipam/node-ipam.ts';
import { breathing } from '../../lib/reconcile/breathing.ts';
import { Turns } from '../../lib/reconcile/turns.ts';
import type { Dataplane } from '../apply/dataplane.ts';
import { GATEWAY_MAC } from '../plan/names.ts';
import { AttachError } from './error.ts';
import type { Attachment } from './attachment.ts';
import type { NodeAddresses } from './node-addresses.ts';
import { interfacesFor, type OrderSeams, PATIENCE_MS, waitForOrder, type WantedInterface } from './order.ts';
import { readPortMappings } from './port-mappings.ts';
import { resultOf, wiredPod } from './result.ts';
import { hostInterfaceName, inspectPod, podMac, removeLinks, wirePod } from './wire.ts';

/** What attachments need of the rest of the agent. */
export type AttachSeams = OrderSeams & {
  readonly dataplane: Pick<Dataplane, 'networks' | 'places' | 'node' | 'hands'>;
  readonly addresses: NodeAddresses;
  /** Blocks or endpoints have changed: tell the controller, soon. */
  readonly onChange: () => void;
  /** Deletions wait: run `cleanUp`, soon. */
  readonly onGarbage: () => void;
};

/** So long the policies of one pod may hold up others. */
const MOST_MS_AT_ONCE = 10;

/** Pods of this node and the CNI verbs on them. */
export class Attachments {
  readonly #seams: AttachSeams;
  readonly #byId = new Map<string, Attachment>();
  /** One verb at a time per container. */
  readonly #turns = new Turns();
  readonly #doomed: Attachment[] = [];
  readonly #breath = breathing(MOST_MS_AT_ONCE);
  /** ADDs that wait for nothing but their turn. */
  #urgent = 0;

  constructor(seams: AttachSeams) {
    this.#seams = seams;
  }

  /** Whether an ADD is under way that waits for nothing but its turn on this thread. */
  get urgent(): boolean {
    return this.#urgent > 0;
  }

  get all(): Iterable<Attachment> {
    return this.#byId.values();
  }

  /** Takes up what was, from the journal. Call once, before serving anything. */
  restore(): void {
    const { dataplane, addresses } = this.#seams;
    for (const [id, attachment] of addresses.restore()) this.#byId.set(id, attachment);
    for (const a of this.#byId.values()) dataplane.networks.addPod(wiredPod(a));
    addresses.tellBlocks();
    // Who went just before the end of an earlier life may have left connections.
    dataplane.hands.doubt(dataplane.networks.blocks.map((b) => b.cidr));
  }

  /** After the first look at the kernel: frees what was attached to links that no longer are. */
  dropVanished(): Attachment[] {
    const vanished = [...this.#byId.values()].filter((a) => this.#hasLink(a) === false);
    for (const a of vanished) this.#detach(a);
    return vanished;
  }

  /** Pods whose addresses belong to another node by now. */
  get outside(): { readonly pod: string; readonly ip: string }[] {
    return this.#seams.addresses.outside().flatMap(({ ip, owner }) => {
      const a = this.#byId.get(owner);
      return a ? [{ pod: `${a.namespace}/${a.pod}`, ip }] : [];
    });
  }

  add(request: CniRequest): Promise<CniResult> {
    return this.#turns.take(request.containerID, async () => {
      this.#urgent++;
      try {
        return await this.#add(request);
      } finally {
        this.#urgent--;
      }
    });
  }

  /** Never fails for something that is gone already. */
  delete(request: CniRequest): Promise<void> {
    return this.#turns.take(request.containerID, () => {
      const a = this.#byId.get(idOf(request));
      if (a) for (const each of this.#withOthers(a)) this.#detach(each);
      return Promise.resolve();
    });
  }

  check(request: CniRequest): Promise<void> {
    return this.#turns.take(request.containerID, () => {
      const a = this.#byId.get(idOf(request));
      if (!a)
        throw new AttachError(
          CNI_ERRORS.UnknownContainer,
          `container ${request.containerID} has no interface ${request.ifname} of this network`,
        );
      const problems = this.#withOthers(a).flatMap((each) => [
        ...inspectPod(each),
        ...(this.#hasLink(each) === false ? [`node's end ${each.hostIf} is missing`] : []),
      ]);
      if (problems.length > 0)
        throw new AttachError(CNI_ERRORS.CheckFailed, `pod ${a.namespace}/${a.pod}: ${problems.join('; ')}`);
      return Promise.resolve();
    });
  }

  /**
   * Frees what the runtime no longer knows. A list may be stale or partial, so an attachment whose namespace is alive and
   * whose link is up is never freed by it: its own DEL will come.
   */
  collect(valid: readonly { readonly containerID: string; readonly ifname: string }[]): Attachment[] {
    const keep = new Set(valid.map(idOf));
    const stale = [...this.#byId.values()].filter(
      (a) => !keep.has(a.parent ?? a.id) && !(existsSync(a.netns) && inspectPod(a).length === 0),
    );
    for (const a of stale) this.#detach(a);
    return stale;
  }

  /** Removes links of freed pods, gives back rested blocks, keeps the journal short. */
  cleanUp({ authoritative }: { readonly authoritative: boolean }): void {
    const { dataplane, addresses } = this.#seams;
    const doomed = this.#doomed.splice(0);
    for (const network of new Set(doomed.map((a) => a.network))) {
      const place = dataplane.places.get(network);
      if (!place) continue; // gone with its namespace
      // An ADD that took the place of a half-made one owns the link of that name now.
      const names = doomed
        .filter((a) => a.network === network && this.#byId.get(a.id)?.hostIf !== a.hostIf)
        .map((a) => a.hostIf);
      try {
        removeLinks(place.netlink, names);
      } catch (error) {
        this.#doomed.push(...doomed.filter((a) => a.network === network));
        throw error;
      }
    }
    for (const a of doomed) if (!this.#byId.has(a.id)) dataplane.networks.removePod(a.id);
    addresses.cleanUp([...this.#byId.values()], { authoritative });
  }

  async #add(request: CniRequest): Promise<CniResult> {
    const { K8S_POD_NAMESPACE: namespace = '', K8S_POD_NAME: pod = '', K8S_POD_UID: uid = '' } = request.args;
    if (namespace === '' || pod === '') {
      throw new AttachError(
        CNI_ERRORS.InvalidEnvironment,
        'CNI_ARGS must name the pod: K8S_POD_NAMESPACE=…;K8S_POD_NAME=…',
      );
    }
    const known = this.#byId.get(idOf(request));
    const others = known ? this.#withOthers(known) : [];
    if (known && known.netns === request.netns && others.every((a) => inspectPod(a).length === 0))
      return resultOf(known);
    if (known) {
      for (const a of others) this.#detach(a);
      this.cleanUp({ authoritative: false });
    }
    const { mappings, problems } = readPortMappings(request.config);
    if (problems.length > 0) throw new AttachError(CNI_ERRORS.InvalidConfig, problems.join('; '));
    const deadline = this.#seams.now() + PATIENCE_MS;
    const owner = { namespace, pod, uid };
    const order = await this.#waiting(waitForOrder(this.#seams, owner, deadline));
    return await this.#make(request, owner, interfacesFor(request, order, mappings, this.#seams), deadline);
  }

  /** Makes the interfaces of a pod: all, or none of them. */
  async #make(
    request: CniRequest,
    pod: Pick<Owner, 'namespace' | 'pod' | 'uid'>,
    wanted: readonly WantedInterface[],
    deadline: number,
  ): Promise<CniResult> {
    const made: Attachment[] = [];
    try {
      for (const w of wanted) {
        const [first] = made;
        const parent = first ? { parent: first.id } : {};
        const extra = w.details.extra ? { extra: { ...w.details.extra, first: first?.ips ?? [] } } : {};
        const owner = { ...pod, ...parent, ...w.details, ...extra };
        const a = await this.#allocateSoon({ ...request, ifname: w.ifname }, owner, w, deadline);
        made.push(a);
        await this.#settle(a);
        await this.#waiting(this.#seams.dataplane.networks.prepare(wiredPod(a), this.#breath));
        this.#wire(a);
        await this.#seams.dataplane.networks.openHostPorts(wiredPod(a));
      }
    } catch (error) {
      for (const a of made) this.#detach(a);
      throw attachError(error as Error & { code?: string }, request, pod);
    }
    return resultOf(made[0] as Attachment);
  }

  /** What an ADD waits for may be just what would let it go first. */
  async #waiting<T>(work: Promise<T>): Promise<T> {
    this.#urgent--;
    try {
      return await work;
    } finally {
      this.#urgent++;
    }
  }

  /** An attachment with those that came with it. */
  #withOthers(a: Attachment): Attachment[] {
    return [a, ...[...this.#byId.values()].filter((o) => o.parent === a.id)];
  }

  /** As `#allocate`; a block that the controller is about to give is worth a moment. */
  async #allocateSoon(
    request: CniRequest,
    owner: Owner,
    order: Pick<WantedInterface, 'network' | 'ips' | 'mac'>,
    deadline: number,
  ): Promise<Attachment> {
    for (;;) {
      try {
        return this.#allocate(request, owner, order);
      } catch (error) {
        const left = deadline - this.#seams.now();
        const given = error instanceof AttachError && error.details === 'NotGiven';
        if (!given || left <= 0) throw error;
        await this.#waiting(this.#seams.nextConfig(Math.min(left, 1_000)));
      }
    }
  }

  #allocate(request: CniRequest, owner: Owner, order: Pick<WantedInterface, 'network' | 'ips' | 'mac'>): Attachment {
    const { config, dataplane, addresses } = this.#seams;
    const id = idOf(request);
    const { containerID, ifname, netns } = request;
    const { network } = order;
    // Its network may have gone while this waited; nothing says then where its addresses come from.
    if (network !== FLAT_NETWORK && !config.network.has(network))
      throw new AttachError(CNI_ERRORS.TryAgainLater, `network ${network} has just been taken from this node`);
    const attachmentOf = (ips: readonly string[]): Attachment => ({
      ...{ id, containerID, ifname, netns, ...owner, network },
      vni: config.network.get(network)?.vni ?? FLAT_VNI,
      hostIf: hostInterfaceName(id),
      mac: order.mac ?? podMac(ips),
      mtu: dataplane.node.mtuFor(network),
      ips,
    });
    let a: Attachment;
    try {
      a = addresses.give(network, id, order.ips ?? [], attachmentOf);
    } catch (error) {
      if (!(error instanceof IpamError)) throw error;
      throw new AttachError(CNI_ERRORS.Exhausted, `pod ${owner.namespace}/${owner.pod}: ${error.message}`, {
        details: error.code,
        cause: error,
      });
    }
    this.#byId.set(id, a);
    this.#seams.onChange();
    return a;
  }

  /** The addresses may have been another pod's a moment ago: what is left of that one goes first. */
  async #settle(a: Attachment): Promise<void> {
    if (this.#doomed.some((d) => d.ips.some((ip) => a.ips.includes(ip)))) this.cleanUp({ authoritative: false });
    await this.#seams.dataplane.hands.settle(a.ips);
  }

  #wire(a: Attachment): void {
    const { networks } = this.#seams.dataplane;
    const { writer, netlink } = networks.open(a.network);
    wirePod(netlink, a);
    writer.linkMade({ name: a.hostIf, mac: GATEWAY_MAC, mtu: a.mtu });
    networks.addPod(wiredPod(a));
    writer.apply('additions');
  }

  #detach(a: Attachment): void {
    this.#byId.delete(a.id);
    this.#doomed.push(a);
    this.#seams.addresses.release(a);
    this.#seams.onChange();
    this.#seams.onGarbage();
  }

  /** Whether a pod's link is there; undefined while its network's instance is not open, and so was not looked at. */
  #hasLink({ network, hostIf }: Attachment): boolean | undefined {
    return this.#seams.dataplane.places.get(network)?.writer.hasLink(hostIf);
  }
}

/** Whose an attachment is. */
type Owner = Pick<Attachment, 'namespace' | 'pod' | 'uid' | 'ports' | 'parent' | 'extra' | 'table'>;

const idOf = (o: { readonly containerID: string; readonly ifname: string }): string => `${o.containerID}/${o.ifname}`;

/** What the runtime hears of a failure. */
function attachError(
  cause: Error & { readonly code?: string | number },
  { netns }: CniRequest,
  { namespace, pod }: Pick<Owner, 'namespace' | 'pod'>,
): AttachError {
  if (cause instanceof AttachError) return cause;
  if (cause.code === 'ENOENT')
    return new AttachError(CNI_ERRORS.UnknownContainer, `network namespace ${netns} does not exist`, { cause });
  return new AttachError(CNI_ERRORS.Kernel, `wiring pod ${namespace}/${pod}: ${cause.message}`, { cause });
}
