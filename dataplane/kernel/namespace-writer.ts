import { isExists, isGone, type NetlinkError } from '../../lib/netlink/error.ts';
import type { Address, Fdb, Neighbour, Route } from '../../lib/netlink/inet.ts';
import type { Netlink, NetlinkOp } from '../../lib/netlink/netlink.ts';
import type { Nft, Prepared } from '../../lib/nft/nft.ts';
import { keyOf, type NftObject, sameObject, type TableName } from '../../lib/nft/program.ts';
import { readSysctls, writeSysctls } from '../../lib/netns/sysctl.ts';
import { DeltaTracker } from '../../lib/reconcile/delta-tracker.ts';
import type { DesiredLink, Fragment } from '../plan/fragment.ts';
import { isOtherwise, madeOf, type RealLink, sameLink } from './made-links.ts';
import { Merged } from './merged.ts';
import { TableWriter } from './table-writer.ts';

/** Where an instance writes. The kernel's or a fake. */
export type NamespaceDrivers = {
  readonly netlink: Netlink;
  /** Devices are born from the root, so that the underlay of a VXLAN stays there. */
  readonly root: Netlink;
  readonly nft: Nft;
  /** Path of the namespace; undefined for the root. */
  readonly netns: string | undefined;
};

/** Something could not be written. The rest was; the next pass tries again. */
export class ApplyError extends Error {
  override readonly name = 'ApplyError';
  readonly code = 'Kernel';
  readonly problems: readonly Error[];
  constructor(where: string, problems: readonly Error[]) {
    super(`${where}: ${problems.map((p) => p.message).join('; ')}`, { cause: problems[0] });
    this.problems = problems;
  }
}

/** One namespace, the root or that of an instance: fragments in, kernel out. */
export class NamespaceWriter {
  /** Its nft table. */
  readonly table: TableWriter;
  readonly #name: string;
  readonly #drivers: NamespaceDrivers;
  readonly #ours: (dev: string) => boolean;
  readonly #trackers = {
    links: new DeltaTracker<DesiredLink | RealLink>(sameLink),
    addresses: new DeltaTracker<Address>(sameJson),
    routes: new DeltaTracker<Route>(sameRoute),
    neighbours: new DeltaTracker<Neighbour>(sameJson),
    fdb: new DeltaTracker<Fdb>(sameJson),
    nft: new DeltaTracker<NftObject>(sameObject),
    sysctls: new DeltaTracker<string>((a, b) => a === b),
  };
  readonly #merged = {
    links: new Merged<DesiredLink | RealLink>(this.#trackers.links),
    addresses: new Merged<Address>(this.#trackers.addresses),
    routes: new Merged<Route>(this.#trackers.routes),
    neighbours: new Merged<Neighbour>(this.#trackers.neighbours),
    fdb: new Merged<Fdb>(this.#trackers.fdb),
    nft: new Merged<NftObject>(this.#trackers.nft),
    sysctls: new Merged<string>(this.#trackers.sysctls),
  };
  /** @param ours which devices this instance may touch; all of them in a network's own namespace */
  constructor(name: string, table: TableName, drivers: NamespaceDrivers, ours: (dev: string) => boolean) {
    this.#name = name;
    this.table = new TableWriter(table, drivers.nft, this.#trackers.nft);
    this.#drivers = drivers;
    this.#ours = ours;
  }

  /** As {@link setFragment}, of an owner that wants nothing but these of the table. */
  setNft(owner: string, objects: readonly NftObject[] | undefined): void {
    this.#merged.nft.set(owner, keyed(objects, keyOf));
  }

  /** Writes all of the table that differs, and these in one transaction with all other elements. Throws {@link ApplyError}. */
  write(staged: readonly Prepared[], { whole = false }: { readonly whole?: boolean } = {}): void {
    if (whole) this.table.forget();
    try {
      this.table.apply('all', staged);
    } catch (error) {
      throw new ApplyError(this.#name, [error as Error]);
    }
  }

  /** What `owner` wants here from now on; undefined: nothing any more. Changes memory only. */
  setFragment(owner: string, f: Fragment | undefined): void {
    this.#merged.links.set(
      owner,
      keyed(f?.links, (l) => l.name),
    );
    this.#merged.addresses.set(owner, keyed(f?.addresses, addressKey));
    this.#merged.routes.set(owner, keyed(f?.routes, routeKey));
    this.#merged.neighbours.set(
      owner,
      keyed(f?.neighbours, (n) => `${n.dev} ${n.ip}`),
    );
    this.#merged.fdb.set(
      owner,
      keyed(f?.fdb, (e) => `${e.dev} ${e.mac}`),
    );
    this.#merged.nft.set(owner, keyed(f?.nft, keyOf));
    this.#merged.sysctls.set(owner, new Map(Object.entries(f?.sysctls ?? {})));
  }

  /** Reads what really is. The nft table is looked at only for being there: it is ours alone, and written whole when it is not. */
  resync(): void {
    const { netlink } = this.#drivers;
    this.#trackers.links.replaceReal(
      netlink
        .links()
        .filter((l) => this.#ours(l.name) && l.name !== 'lo')
        .map((l) => [l.name, l]),
    );
    this.#trackers.addresses.replaceReal(
      keyed(
        netlink.addresses().filter((a) => this.#isOurAddress(a)),
        addressKey,
      ),
    );
    this.#trackers.routes.replaceReal(keyed(netlink.routes(), routeKey));
    this.#trackers.neighbours.replaceReal(
      keyed(
        netlink.neighbours().filter((n) => this.#ours(n.dev)),
        (n) => `${n.dev} ${n.ip}`,
      ),
    );
    this.#trackers.fdb.replaceReal(
      keyed(
        netlink.fdb().filter((f) => this.#ours(f.dev)),
        (f) => `${f.dev} ${f.mac}`,
      ),
    );
    const { netns } = this.#drivers;
    const names = [...this.#trackers.sysctls.desired].map(([name]) => name);
    this.#trackers.sysctls.replaceReal(readSysctls(names, netns));
    this.table.resync();
  }

  /** ADD made the device a moment ago, and is still down. */
  linkMade(link: Pick<DesiredLink, 'name' | 'mac' | 'mtu'>): void {
    this.#trackers.links.observed(link.name, {
      mac: link.mac,
      mtu: link.mtu,
      up: false,
      kind: 'veth',
      vxlan: undefined,
    });
  }

  /** The device, and all that hung on it, is gone. */
  linkGone(name: string): void {
    this.#trackers.links.gone(name);
    for (const key of keysOn(this.#trackers.addresses, name)) this.#trackers.addresses.gone(key);
    for (const key of keysOn(this.#trackers.neighbours, name)) this.#trackers.neighbours.gone(key);
    for (const key of keysOn(this.#trackers.fdb, name)) this.#trackers.fdb.gone(key);
    for (const key of keysOn(this.#trackers.routes, name)) this.#trackers.routes.gone(key);
    for (const [key] of [...this.#trackers.sysctls.real])
      if (key.includes(`/conf/${name}/`)) this.#trackers.sysctls.gone(key);
  }

  hasLink(name: string): boolean {
    return this.#trackers.links.real.get(name) !== undefined;
  }

  /** Whether anything here is known to be otherwise than it should be. */
  get drifted(): boolean {
    return this.table.writes === 0 || !Object.values(this.#trackers).every((t) => t.pending === 0);
  }

  /**
   * Writes what differs. `additions` leaves deletions for later, when there is time to wait for the kernel; `all` does so many of them that
   * others need not wait long for their turn.
   *
   * @returns whether there are more deletions than it has done
   * Throws {@link ApplyError} with everything that failed, after doing all that can be done.
   */
  apply(what: 'additions' | 'all' = 'all'): boolean {
    const problems: Error[] = [];
    let more = false;
    try {
      more = this.table.apply(what);
    } catch (error) {
      problems.push(error as Error);
    }
    // Without its table an instance gets no link: nothing may forward before the rules stand.
    if (problems.length === 0) this.#applyLinks(what, problems);
    this.#applySysctls();
    this.#applyKind('addresses', 'address', what, problems);
    this.#applyKind('neighbours', 'neighbour', what, problems);
    this.#applyKind('fdb', 'fdb', what, problems);
    this.#applyKind('routes', 'route', what, problems);
    if (problems.length > 0) throw new ApplyError(this.#name, problems);
    return more;
  }

  #applyLinks(what: 'additions' | 'all', problems: Error[]): void {
    const tracker = this.#trackers.links;
    for (const { key, value, real } of tracker.pendingUpdates()) {
      if (!('make' in value)) continue;
      try {
        const other = real && !('make' in real) && isOtherwise(value, real);
        if (other) this.#unmake(key);
        if ((!real || other) && !this.#makeLink(value)) continue;
        const current = other ? undefined : (real as RealLink | undefined);
        const change = {
          ...(current && current.mac !== value.mac ? { mac: value.mac } : {}),
          ...(current && current.mtu !== value.mtu ? { mtu: value.mtu } : {}),
        };
        this.#must([
          { verb: 'set', kind: 'link', name: key, change: { ...change, noAddrGen: true } },
          { verb: 'set', kind: 'link', name: key, change: { up: true } },
        ]);
        tracker.observed(key, { mac: value.mac, mtu: value.mtu, up: true, ...madeOf(value.make) });
      } catch (error) {
        problems.push(error as Error);
      }
    }
    if (what === 'additions') return;
    for (const { key } of tracker.pendingDeletions()) {
      const [error] = this.#drivers.netlink.apply([{ verb: 'delete', kind: 'link', name: key }]);
      if (error && !isGone(error)) problems.push(error);
      else this.linkGone(key);
    }
  }

  /** Takes away a link of ours that was made otherwise than it should be: some of what a link is made with never changes. */
  #unmake(name: string): void {
    const [error] = this.#drivers.netlink.apply([{ verb: 'delete', kind: 'link', name }]);
    if (error && !isGone(error)) throw error;
    this.linkGone(name);
  }

  /** Whether there is a link now. A pod's, or the far end of an uplink, can only be made by others. */
  #makeLink(link: DesiredLink): boolean {
    const netns = this.#drivers.netns === undefined ? {} : { netns: this.#drivers.netns };
    const end = { name: link.name, mac: link.mac, mtu: link.mtu, ...netns };
    const { make } = link;
    switch (make.kind) {
      case 'vxlan':
        this.#mustIn(this.#drivers.root, [
          { verb: 'create', kind: 'vxlan', value: { ...end, vni: make.vni, local: make.local, port: make.port } },
        ]);
        return true;
      case 'uplink':
        this.#mustIn(this.#drivers.root, [
          { verb: 'create', kind: 'veth', value: { name: make.rootName, mac: make.rootMac, mtu: link.mtu }, peer: end },
        ]);
        return true;
      case 'elsewhere':
        return this.#drivers.netlink.links().some((l) => l.name === link.name);
      case 'pod':
        return false;
    }
  }

  /** A switch of a device that is not there yet waits; one that this kernel does not have is passed over. Never put back: what it was before is not known. */
  #applySysctls(): void {
    for (const { key, value } of this.#trackers.sysctls.pendingUpdates()) {
      const [missing] = writeSysctls({ [key]: value }, this.#drivers.netns);
      if (missing === undefined) this.#trackers.sysctls.observed(key, value);
    }
    for (const { key } of this.#trackers.sysctls.pendingDeletions()) this.#trackers.sysctls.gone(key);
  }

  #applyKind(
    name: 'addresses' | 'routes' | 'neighbours' | 'fdb',
    kind: 'address' | 'route' | 'neighbour' | 'fdb',
    what: 'additions' | 'all',
    problems: Error[],
  ): void {
    const tracker = this.#trackers[name] as DeltaTracker<Address | Route | Neighbour | Fdb>;
    if (tracker.pending === 0) return;
    const updates = [...tracker.pendingUpdates()].filter(({ value }) => !this.#waitsForLink(value));
    const deletions = what === 'all' ? [...tracker.pendingDeletions()] : [];
    const ops = [
      // A route or address that changes its device is another one to the kernel: the old goes first, in the same batch.
      ...updates.flatMap(({ real, value }) =>
        real && mustGoFirst(real, value) ? [{ verb: 'delete', kind, value: real }] : [],
      ),
      ...updates.map(({ value }) => ({ verb: 'set', kind, value })),
      ...deletions.map(({ real }) => ({ verb: 'delete', kind, value: real })),
    ] as NetlinkOp[];
    if (ops.length === 0) return;
    const results = this.#drivers.netlink.apply(ops);
    const first = ops.length - updates.length - deletions.length;
    for (const [i, { key, value }] of updates.entries()) {
      const error = results[first + i];
      if (error && !isExists(error)) problems.push(error);
      else tracker.observed(key, value);
    }
    for (const [i, { key }] of deletions.entries()) {
      const error = results[first + updates.length + i];
      if (error && !isGone(error)) problems.push(error);
      else tracker.gone(key);
    }
  }

  /** Things on a pod's link wait for ADD to make it; they are no fault until then. */
  #waitsForLink(value: Address | Route | Neighbour | Fdb): boolean {
    if (value.dev === undefined || value.dev === 'lo') return false;
    return (
      this.#trackers.links.desired.get(value.dev) !== undefined &&
      this.#trackers.links.real.get(value.dev) === undefined
    );
  }

  #must(ops: readonly NetlinkOp[]): void {
    this.#mustIn(this.#drivers.netlink, ops);
  }

  #mustIn(netlink: Netlink, ops: readonly NetlinkOp[]): void {
    const error = netlink.apply(ops).find((e): e is NetlinkError => e !== undefined);
    if (error) throw error;
  }

  #isOurAddress(a: Address): boolean {
    // On `lo` only what we want there is ours: the loopback addresses, and those of others, are left alone.
    if (a.dev === 'lo') return this.#trackers.addresses.desired.get(addressKey(a)) !== undefined;
    return this.#ours(a.dev);
  }
}

function keyed<T>(values: readonly T[] | undefined, key: (value: T) => string): Map<string, T> {
  return new Map((values ?? []).map((v) => [key(v), v]));
}

const addressKey = (a: Address): string => `${a.dev} ${a.cidr}`;
const routeKey = (r: Route): string => `${r.dst} ${r.metric ?? 0}`;
const sameJson = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function sameRoute(a: Route, b: Route): boolean {
  return (
    a.type === b.type &&
    a.dev === b.dev &&
    a.via === b.via &&
    a.src === b.src &&
    (a.onlink ?? false) === (b.onlink ?? false)
  );
}

/** The kernel replaces a route's next hop in place, but not its type in IPv6; a forwarding entry's target never. */
function mustGoFirst(real: object, value: object): boolean {
  if ('type' in real && 'type' in value) return real.type !== value.type;
  return 'mac' in real && 'dst' in real;
}

function keysOn<T extends { readonly dev?: string }>(tracker: DeltaTracker<T>, dev: string): string[] {
  return [...tracker.real].filter(([, v]) => v.dev === dev).map(([k]) => k);
}
