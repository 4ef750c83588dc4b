import { FLAT_NETWORK } from '../../api/names.ts';
import { sweepFlows } from '../../lib/netlink/conntrack.ts';
import { readSysctl } from '../../lib/netns/sysctl.ts';
import { overlaps, hostCidr, mustPrefix } from '../../lib/ip/prefix.ts';
import {
  type ChangedHands,
  type ClosedPort,
  closedKey,
  filtersFor,
  type HostPort,
  isFormer,
  type PresentOwners,
} from '../plan/former-flows.ts';

/** A namespace with connections: the root, which has no path, or a network's instance. */
export type Place = { readonly netns?: string };

/**
 * Connections of former owners, in the root and in instances: what changed hands is noted here, and they are cut once the present
 * rules stand. Connection tracking would carry them on past the rules of the next owner, for as long as their senders go on.
 *
 * The kernel walks over all connections of the node for each look at them, so changes are gathered, and the walk is done aside. An address
 * is given again only when it is through: see {@link settle}.
 */
export class FormerFlows {
  readonly #placeOf: (key: string) => Place | undefined;
  readonly #owners: (key: string) => PresentOwners;
  readonly #onError: (error: Error) => void;
  readonly #prefixes = new Map<string, Set<string>>();
  readonly #hostPorts = new Map<string, HostPort>();
  readonly #closed = new Map<string, ClosedPort>();
  readonly #closedBackends = new Map<string, Required<ClosedPort>>();
  /** Prefixes that are being looked for now. */
  readonly #inWork = new Set<string>();
  #running: Promise<void> | undefined;

  /**
   * @param placeOf where a network's connections are; undefined: nowhere on this node
   * @param owners who has what, as seen in a place
   */
  constructor(o: {
    readonly placeOf: (key: string) => Place | undefined;
    readonly owners: (key: string) => PresentOwners;
    readonly onError: (error: Error) => void;
  }) {
    this.#placeOf = o.placeOf;
    this.#owners = o.owners;
    this.#onError = o.onError;
  }

  /** These prefixes have, or may have, another owner now, as far as a place is concerned. */
  prefixes(key: string, cidrs: Iterable<string>): void {
    const known = this.#prefixes.get(key) ?? new Set<string>();
    for (const cidr of cidrs) known.add(cidr);
    if (known.size > 0) this.#prefixes.set(key, known);
  }

  /** These ports of the node lead elsewhere now. */
  hostPorts(ports: Iterable<HostPort>): void {
    for (const p of ports) this.#hostPorts.set(`${p.protocol} ${p.port}`, p);
  }

  /** Pods of the flat network may not use these node ports any more. */
  close(ports: Iterable<ClosedPort>): void {
    for (const p of ports) this.#closed.set(closedKey(p), p);
  }

  /** Nor these backends, but as themselves. */
  closeBackends(backends: Iterable<Required<ClosedPort>>): void {
    for (const b of backends) this.#closedBackends.set(closedKey(b), b);
  }

  /**
   * Cuts what has been noted. Call it when the rules stand; what fails is tried again by the next call.
   *
   * @param except where the rules do not stand
   */
  cut(except: { has(key: string): boolean } = new Set()): Promise<void> {
    this.#running ??= this.#run(except).finally(() => (this.#running = undefined));
    return this.#running;
  }

  /** Waits until no connection of a former owner of these addresses or ports is left. Costs nothing when none has been noted. */
  async settle(ips: readonly string[], ports: readonly HostPort[] = []): Promise<void> {
    const concerned = (): boolean =>
      ports.some((p) => this.#hostPorts.has(`${p.protocol} ${p.port}`)) || ips.some((ip) => this.#isNoted(ip));
    // Once for what is under way, once for what was noted meanwhile.
    for (let round = 0; concerned(); round++) {
      if (round === 3) throw new Error('connections of the former owner of an address of this pod cannot be cut');
      await this.cut();
    }
  }

  #isNoted(ip: string): boolean {
    const address = mustPrefix(hostCidr(ip));
    const all = [...this.#prefixes.values()].flatMap((s) => [...s]);
    return [...all, ...this.#inWork].some((cidr) => overlaps(mustPrefix(cidr), address));
  }

  async #run(except: { has(key: string): boolean }): Promise<void> {
    const noted = new Map(this.#prefixes);
    if (this.#hostPorts.size + this.#closed.size + this.#closedBackends.size > 0 && !noted.has(FLAT_NETWORK))
      noted.set(FLAT_NETWORK, new Set());
    for (const [key, prefixes] of noted) {
      if (except.has(key)) continue;
      this.#prefixes.delete(key);
      for (const cidr of prefixes) this.#inWork.add(cidr);
      try {
        if (key === FLAT_NETWORK) await this.#sweepRoot(prefixes);
        else await this.#sweep(key, { prefixes, hostPorts: [] });
      } catch (error) {
        this.prefixes(key, prefixes);
        this.#onError(error as Error);
      }
    }
    this.#inWork.clear();
  }

  /** Host ports and node ports are the root's. What was noted while the walk went on stays for the next. */
  async #sweepRoot(prefixes: ReadonlySet<string>): Promise<void> {
    const [hostPorts, closed, backends] = [
      new Map(this.#hostPorts),
      new Map(this.#closed),
      new Map(this.#closedBackends),
    ];
    await this.#sweep(FLAT_NETWORK, {
      prefixes,
      hostPorts: [...hostPorts.values()],
      closed: [...closed.values()],
      closedBackends: [...backends.values()],
    });
    for (const [noted, done] of [
      [this.#hostPorts, hostPorts],
      [this.#closed, closed],
      [this.#closedBackends, backends],
    ] as const)
      for (const [name, p] of done) if (noted.get(name) === p) noted.delete(name);
  }

  async #sweep(key: string, changed: ChangedHands): Promise<void> {
    const place = this.#placeOf(key);
    if (!place) return;
    const count = Number(readSysctl(COUNT, place.netns) ?? MANY);
    if (count === 0) return;
    const filters = count < MANY ? [] : filtersFor(changed);
    await sweepFlows(place.netns, filters, isFormer(changed, this.#owners(key)));
  }
}

const COUNT = 'net/netfilter/nf_conntrack_count';
/** As many connections cost about as much to read as one more walk by the kernel. */
const MANY = 1_000;
