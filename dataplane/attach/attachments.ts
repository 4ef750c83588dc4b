import { familyOf } from '../../lib/ip/address.ts';
import { existsSync } from 'node:fs';
import { CNI_ERRORS, type CniRequest, type CniResult } from '../../api/cni.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { FLAT_NETWORK, FLAT_VNI } from '../../api/names.ts';
import { type BlockUse, type IpamEvent, IpamError, type Needed, NodeIpam } from '../../core/ipam/node-ipam.ts';
import type { Dataplane } from '../apply/dataplane.ts';
import { GATEWAY, GATEWAY_MAC } from '../plan/names.ts';
import { breathing } from '../../lib/reconcile/breathing.ts';
import { AttachError } from './error.ts';
import type { Attachment, Journal, JournalEntry } from './journal.ts';
import { interfacesFor, type OrderSeams, PATIENCE_MS, waitForOrder, type WantedInterface } from './order.ts';
import { readPortMappings } from './port-mappings.ts';
import { rebuild } from './rebuild.ts';
import { hostInterfaceName, inspectPod, podMac, removeLinks, wirePod } from './wire.ts';

/** What attachments need of the rest of the agent. */
export type AttachSeams = OrderSeams & {
  readonly dataplane: Dataplane;
  readonly journal: Journal;
  /** Blocks or endpoints have changed: tell the controller, soon. */
  readonly onChange: () => void;
  /** Something was passed over. */
  readonly onTrouble: (message: string) => void;
  /** Deletions wait: run `cleanUp`, soon. */
  readonly onGarbage: () => void;
};

/** So long the policies of one pod may hold up others. */
const MOST_MS_AT_ONCE = 10;

/** Pods of this node and the CNI verbs on them. */
export class Attachments {
  readonly #seams: AttachSeams;
  readonly #ipam: NodeIpam;
  readonly #byId = new Map<string, Attachment>();
  /** One verb at a time per container. */
  readonly #turn = new Map<string, Promise<unknown>>();
  readonly #doomed: Attachment[] = [];
  readonly #breath = breathing(MOST_MS_AT_ONCE);
  /** Given blocks that this node has done with and that the controller has not taken back yet. */
  readonly #returned = new Set<string>();

  constructor(
    seams: AttachSeams,
    { podCIDRs, restMs }: { readonly podCIDRs: readonly string[]; readonly restMs: number },
  ) {
    this.#seams = seams;
    this.#ipam = new NodeIpam({ podCIDRs, restMs });
  }

  get all(): Iterable<Attachment> {
    return this.#byId.values();
  }

  get blocks() {
    return this.#ipam.blocks(this.#seams.now());
  }

  get returned(): string[] {
    return [...this.#returned];
  }

  /** Rebuilds what was, from the journal. Call once, before serving anything. */
  restore(): void {
    const { journal } = this.#seams;
    const { entries, spoilt } = journal.load();
    const { byId, returned, owned, passedOver } = rebuild(entries, this.#ipam);
    for (const [id, attachment] of byId) this.#byId.set(id, attachment);
    for (const cidr of returned) this.#returned.add(cidr);
    if (spoilt + passedOver > 0) {
      journal.setAside();
      journal.rewrite(this.#snapshot());
      this.#seams.onTrouble(
        `${spoilt + passedOver} entries of the journal cannot be used; the file is kept beside it as .broken`,
      );
    }
    // An address that was taken for an ADD which never came to its end belongs to nobody.
    const wanted = new Set([...this.#byId.values()].flatMap((a) => a.ips));
    const orphans = [...owned]
      .filter((ip) => !wanted.has(ip))
      .flatMap((ip) => this.#ipam.release(ip, this.#seams.now()));
    this.#seams.journal.append(orphans);
    for (const a of this.#byId.values()) this.#seams.dataplane.addPod(wiredPod(a));
    this.#seams.dataplane.setBlocks(this.#wiredBlocks());
    // Who went just before the end of an earlier life may have left connections.
    this.#seams.dataplane.doubt(this.#wiredBlocks().map((b) => b.cidr));
  }

  #snapshot(): JournalEntry[] {
    return [
      ...this.#ipam.snapshot(),
      ...this.#returnedEvents(),
      ...[...this.#byId.values()].map((attachment): JournalEntry => ({ op: 'attach', attachment })),
    ];
  }

  /** After the first look at the kernel: frees what was attached to links that no longer are. */
  dropVanished(): Attachment[] {
    const vanished = [...this.#byId.values()].filter(
      (a) => this.#seams.dataplane.hasLink(a.network, a.hostIf) === false,
    );
    for (const a of vanished) this.#detach(a);
    return vanished;
  }

  /** Pods whose addresses belong to another node by now: the node has had other pod CIDRs when they were attached. */
  get outside(): { readonly pod: string; readonly ip: string }[] {
    return this.#ipam.outside().flatMap(({ ip, owner }) => {
      const a = this.#byId.get(owner);
      return a ? [{ pod: `${a.namespace}/${a.pod}`, ip }] : [];
    });
  }

  /** Follows the node's pod CIDRs: a node that is removed and added again may get others while this runs. */
  followPodCIDRs(): void {
    const { self } = this.#seams.dataplane;
    if (!self || !this.#ipam.setPodCIDRs(self.podCIDRs)) return;
    // Their addresses were other nodes' a moment ago, and there are connections to those.
    this.#seams.dataplane.doubt(self.podCIDRs);
    this.#blocksChanged();
  }

  /** Makes sure of a block for each network that pods here need, so that other nodes know it before the first pod. */
  prepare(): void {
    const events: IpamEvent[] = [];
    for (const network of this.#seams.dataplane.neededNetworks())
      events.push(...this.#ipam.prepare(network, this.#seams.now(), this.#given(network)));
    if (events.length === 0) return;
    this.#writeDown(events, events);
    this.#blocksChanged();
  }

  /**
   * Takes in blocks that the controller gave to this node, and lets go of those that it gave no more. Only by its present word:
   * a configuration from before a reboot may name what has been given to others since.
   */
  adoptGiven(): void {
    const events: IpamEvent[] = [];
    const { self } = this.#seams.dataplane;
    const mine = [...this.#seams.config.block.values()].filter((b) => b.given && b.node === self?.name);
    const told = new Set(mine.map((b) => b.cidr));
    const before = this.#returned.size;
    for (const cidr of this.#returned) if (!told.has(cidr)) this.#returned.delete(cidr);
    for (const { cidr, network, except = [] } of mine)
      if (!this.#returned.has(cidr)) events.push(...this.#take(cidr, network, except));
    for (const { cidr, given } of this.blocks) if (given && !told.has(cidr)) events.push(...this.#ipam.takeBack(cidr));
    if (events.length > 0) this.#writeDown(events, events);
    if (events.length > 0 || before !== this.#returned.size) this.#blocksChanged();
  }

  /** A block that overlaps another is not taken: it alone must not keep the rest of the configuration from being realised. */
  #take(cidr: string, network: string, except: readonly string[]): IpamEvent[] {
    try {
      return this.#ipam.give(cidr, network, except);
    } catch (error) {
      this.#seams.onTrouble(`block ${cidr} of network ${network} cannot be used: ${(error as Error).message}`);
      return [];
    }
  }

  add(request: CniRequest): Promise<CniResult> {
    return this.#inTurn(request.containerID, () => this.#add(request));
  }

  /** Never fails for something that is gone already. */
  delete(request: CniRequest): Promise<void> {
    return this.#inTurn(request.containerID, () => {
      const a = this.#byId.get(idOf(request));
      if (a) for (const each of this.#withOthers(a)) this.#detach(each);
      return Promise.resolve();
    });
  }

  check(request: CniRequest): Promise<void> {
    return this.#inTurn(request.containerID, () => {
      const a = this.#byId.get(idOf(request));
      if (!a)
        throw new AttachError(
          CNI_ERRORS.UnknownContainer,
          `container ${request.containerID} has no interface ${request.ifname} of this network`,
        );
      const problems = this.#withOthers(a).flatMap((each) => [
        ...inspectPod(each),
        ...(this.#seams.dataplane.hasLink(each.network, each.hostIf) === false
          ? [`node's end ${each.hostIf} is missing`]
          : []),
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
    const doomed = this.#doomed.splice(0);
    for (const network of new Set(doomed.map((a) => a.network))) {
      // An ADD that took the place of a half-made one owns the link of that name now.
      const names = doomed
        .filter((a) => a.network === network && this.#byId.get(a.id)?.hostIf !== a.hostIf)
        .map((a) => a.hostIf);
      try {
        removeLinks(this.#seams.dataplane.netlinkOf(network), names);
      } catch (error) {
        if (this.#seams.dataplane.netnsOf(network) === undefined && network !== FLAT_NETWORK) continue; // gone with its namespace
        this.#doomed.push(...doomed.filter((a) => a.network === network));
        throw error;
      }
    }
    for (const a of doomed) if (!this.#byId.has(a.id)) this.#seams.dataplane.removePod(a.id);
    if (authoritative) {
      const events = this.#ipam.reclaim(this.#seams.now(), this.#needed());
      this.#writeDown(events, events);
      for (const e of events) if (e.op === 'unblock' && e.given) this.#returned.add(e.cidr);
      if (events.length > 0) this.#blocksChanged();
    }
    if (this.#seams.journal.isLong(this.#ipam.snapshot().length + this.#returned.size + this.#byId.size))
      this.#seams.journal.rewrite(this.#snapshot());
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
    const order = await waitForOrder(this.#seams, { namespace, pod, uid }, deadline);
    const owner = { namespace, pod, uid };
    const wanted = interfacesFor(request, order, mappings, this.#seams);
    const made: Attachment[] = [];
    try {
      for (const w of wanted) {
        const [first] = made;
        const parent = first ? { parent: first.id } : {};
        const extra = w.details.extra ? { extra: { ...w.details.extra, first: first?.ips ?? [] } } : {};
        const a = await this.#allocateSoon(
          { ...request, ifname: w.ifname },
          { ...owner, ...parent, ...w.details, ...extra },
          w,
          deadline,
        );
        made.push(a);
        await this.#settle(a);
        await this.#seams.dataplane.prepare(wiredPod(a), this.#breath);
        this.#wire(a);
        await this.#seams.dataplane.openHostPorts(wiredPod(a));
      }
    } catch (error) {
      for (const a of made) this.#detach(a);
      if (error instanceof AttachError) throw error;
      const cause = error as Error & { code?: string };
      if (cause.code === 'ENOENT')
        throw new AttachError(CNI_ERRORS.UnknownContainer, `network namespace ${request.netns} does not exist`, {
          cause,
        });
      throw new AttachError(CNI_ERRORS.Kernel, `wiring pod ${namespace}/${pod}: ${cause.message}`, { cause });
    }
    return resultOf(made[0] as Attachment);
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
        await this.#seams.nextConfig(Math.min(left, 1_000));
      }
    }
  }

  #allocate(request: CniRequest, owner: Owner, order: Pick<WantedInterface, 'network' | 'ips' | 'mac'>): Attachment {
    const id = idOf(request);
    const { network, ips = [] } = order;
    // Its network may have gone while this waited; nobody knows then where its addresses come from.
    if (network !== FLAT_NETWORK && !this.#seams.config.network.has(network))
      throw new AttachError(CNI_ERRORS.TryAgainLater, `network ${network} has just been taken from this node`);
    let given: ReturnType<NodeIpam['allocate']>;
    try {
      given = this.#ipam.allocate(network, id, this.#seams.now(), { given: this.#given(network), ips });
    } catch (error) {
      if (!(error instanceof IpamError)) throw error;
      throw new AttachError(CNI_ERRORS.Exhausted, `pod ${owner.namespace}/${owner.pod}: ${error.message}`, {
        details: error.code,
        cause: error,
      });
    }
    const a: Attachment = {
      id,
      containerID: request.containerID,
      ifname: request.ifname,
      netns: request.netns,
      ...owner,
      network,
      vni: this.#seams.config.network.get(network)?.vni ?? FLAT_VNI,
      hostIf: hostInterfaceName(id),
      mac: order.mac ?? podMac(given.ips),
      mtu: this.#seams.dataplane.mtuFor(network),
      ips: given.ips,
    };
    try {
      this.#writeDown([...given.events, { op: 'attach', attachment: a }], given.events);
    } catch (error) {
      throw new AttachError(CNI_ERRORS.Io, `the journal cannot be written: ${(error as Error).message}`, {
        cause: error,
      });
    }
    this.#byId.set(id, a);
    if (given.events.some((e) => e.op === 'block' || e.op === 'unblock')) this.#blocksChanged();
    this.#seams.onChange();
    return a;
  }

  /** Families for which a network's addresses are the controller's to give. */
  #given(network: string): readonly (4 | 6)[] {
    return [...new Set((this.#seams.config.network.get(network)?.subnets ?? []).map(familyOf))];
  }

  #needed(): Needed {
    const attached = new Set([...this.#byId.values()].map((a) => `${a.namespace}/${a.pod}`));
    const pods = [...this.#seams.config.pod.entries()];
    return {
      networks: this.#seams.dataplane.neededNetworks(),
      asked: pods.flatMap(([, p]) =>
        [p, ...(p.interfaces ?? [])].flatMap(({ assignment, ips = [] }) =>
          'network' in assignment ? ips.map((ip) => ({ network: assignment.network, ip })) : [],
        ),
      ),
      waiting: new Set(
        pods
          .filter(([key]) => !attached.has(key))
          .flatMap(([, { assignment, interfaces = [] }]) => [assignment, ...interfaces.map((i) => i.assignment)])
          .flatMap((assignment) => ('network' in assignment ? [assignment.network] : [])),
      ),
    };
  }

  /** Blocks as far as packets go: of those that belong to other nodes by now, only the addresses that are still in use here. */
  #wiredBlocks(): BlockUse[] {
    const outside = this.#ipam
      .outside()
      .map(({ ip, network }) => ({ cidr: hostCidr(ip), network, given: false, used: 1, resting: 0, free: 0 }));
    return [...this.blocks, ...outside];
  }

  #returnedEvents(): IpamEvent[] {
    return [...this.#returned].map((cidr) => ({ op: 'unblock', cidr, network: '', given: true }));
  }

  /** The addresses may have been another pod's a moment ago: what is left of that one goes first. */
  async #settle(a: Attachment): Promise<void> {
    if (this.#doomed.some((d) => d.ips.some((ip) => a.ips.includes(ip)))) this.cleanUp({ authoritative: false });
    await this.#seams.dataplane.settle(a.ips);
  }

  #wire(a: Attachment): void {
    const { dataplane } = this.#seams;
    const instance = dataplane.open(a.network);
    wirePod(dataplane.netlinkOf(a.network), a);
    const pod = wiredPod(a);
    instance.linkMade({ name: a.hostIf, mac: GATEWAY_MAC, mtu: a.mtu });
    dataplane.addPod(pod);
    instance.apply('additions');
  }

  #detach(a: Attachment): void {
    const now = this.#seams.now();
    const wasOutside = this.#ipam.outside().some(({ owner }) => owner === a.id);
    const events = a.ips.flatMap((ip) => (this.#ipam.ownerOf(ip) === a.id ? this.#ipam.release(ip, now) : []));
    this.#byId.delete(a.id);
    this.#doomed.push(a);
    if (wasOutside) this.#blocksChanged();
    try {
      this.#seams.journal.append([{ op: 'detach', id: a.id }, ...events]);
    } catch {
      // A full disk must not keep a pod from ending. After a restart the attachment is found without a link, and freed then.
    }
    this.#seams.onChange();
    this.#seams.onGarbage();
  }

  /** Appends to the journal; when that fails, what the addresses were changed by is taken back, and the error goes on. */
  #writeDown(entries: readonly JournalEntry[], changes: readonly IpamEvent[]): void {
    try {
      this.#seams.journal.append(entries);
    } catch (error) {
      this.#ipam.undo(changes);
      throw error;
    }
  }

  #blocksChanged(): void {
    this.#seams.dataplane.setBlocks(this.#wiredBlocks());
    this.#seams.onChange();
  }

  #inTurn<T>(containerID: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turn.get(containerID) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.catch(() => undefined);
    this.#turn.set(containerID, settled);
    void settled.then(() => {
      if (this.#turn.get(containerID) === settled) this.#turn.delete(containerID);
    });
    return mine;
  }
}

/** Whose an attachment is. */
type Owner = Pick<Attachment, 'namespace' | 'pod' | 'uid' | 'ports' | 'parent' | 'extra' | 'table'>;

const idOf = (o: { readonly containerID: string; readonly ifname: string }): string => `${o.containerID}/${o.ifname}`;

const wiredPod = (a: Attachment) => ({
  id: a.id,
  pod: `${a.namespace}/${a.pod}`,
  uid: a.uid,
  network: a.network,
  vni: a.vni,
  link: {
    hostIf: a.hostIf,
    mac: a.mac,
    ips: a.ips,
    mtu: a.mtu,
    ...(a.ports ? { ports: a.ports } : {}),
    ...(a.extra ? { first: a.extra.first } : {}),
  },
});

function resultOf(a: Attachment): CniResult {
  return {
    interfaces: [
      { name: a.hostIf, mac: GATEWAY_MAC, mtu: a.mtu },
      { name: a.ifname, mac: a.mac, mtu: a.mtu, sandbox: a.netns },
    ],
    ips: a.ips.map((ip) => ({ interface: 1, address: hostCidr(ip), gateway: GATEWAY[familyOf(ip)] })),
    routes: a.ips.map((ip) =>
      ip.includes(':') ? { dst: '::/0', gw: GATEWAY[6] } : { dst: '0.0.0.0/0', gw: GATEWAY[4] },
    ),
    dns: {},
  };
}
