import { closeSync, openSync } from 'node:fs';
import { KeptOpen } from '../netns/kept-open.ts';
import { NetlinkError } from './error.ts';
import {
  type Address,
  addressMessage,
  dumpAddresses,
  dumpNeighbours,
  dumpRoutes,
  type Fdb,
  fdbMessage,
  type HostRoute,
  type HostAddress,
  type Neighbour,
  neighbourMessage,
  type Route,
  readAddress,
  readFdb,
  readHostAddress,
  readHostRoute,
  readNeighbour,
  readRoute,
  routeMessage,
  ruleMessage,
  type SourceRule,
} from './inet.ts';
import {
  deleteLink,
  deleteLinkGroup,
  dumpLinks,
  type Link,
  type LinkChange,
  newBridge,
  newVeth,
  newVxlan,
  readLink,
  setLink,
  type VethEnd,
  type VxlanSpec,
} from './link.ts';
import type { MessageWriter } from './message.ts';
import { NetlinkSocket } from './socket.ts';

/** A device end with its namespace given as a path; the driver opens it for the call. */
type InNetns<T extends { netns?: unknown }> = Omit<T, 'netns'> & { readonly netns?: string };

/** One change of the kernel's state. `set` creates or replaces. */
export type NetlinkOp =
  | {
      readonly verb: 'create';
      readonly kind: 'veth';
      readonly value: InNetns<VethEnd>;
      readonly peer: InNetns<VethEnd>;
    }
  | { readonly verb: 'create'; readonly kind: 'vxlan'; readonly value: InNetns<VxlanSpec> }
  | { readonly verb: 'create'; readonly kind: 'bridge'; readonly value: { readonly name: string } }
  | {
      readonly verb: 'set';
      readonly kind: 'link';
      readonly name: string;
      readonly change: Omit<LinkChange, 'master'> & { readonly master?: string };
    }
  | { readonly verb: 'delete'; readonly kind: 'link'; readonly name: string }
  | { readonly verb: 'delete'; readonly kind: 'group'; readonly group: number }
  | { readonly verb: 'set' | 'delete'; readonly kind: 'address'; readonly value: Address }
  | { readonly verb: 'set' | 'delete'; readonly kind: 'route'; readonly value: Route }
  | { readonly verb: 'set' | 'delete'; readonly kind: 'neighbour'; readonly value: Neighbour }
  | { readonly verb: 'set' | 'delete'; readonly kind: 'fdb'; readonly value: Fdb }
  | { readonly verb: 'set' | 'delete'; readonly kind: 'rule'; readonly value: SourceRule };

/** Links, addresses, routes, neighbours of one network namespace. */
export type Netlink = Disposable & {
  links(): Link[];
  addresses(): Address[];
  /** Only routes with our protocol number, in the main table. */
  routes(): Route[];
  /** All addresses, with what {@link Netlink.addresses} leaves out. */
  hostAddresses(): HostAddress[];
  /** Connected and static routes of the main table that are not ours; `dev` is "" where there are several. */
  hostRoutes(): HostRoute[];
  neighbours(): Neighbour[];
  fdb(): Fdb[];
  /** Carries out all changes, in order, also behind a failed one. One result per change: undefined for success. */
  apply(ops: readonly NetlinkOp[]): (NetlinkError | undefined)[];
};

/** Opens the namespace at `netns`, or this process's own. */
export function openNetlink(netns?: string): Netlink {
  return new KernelNetlink(netns);
}

/** An agent has hundreds of namespaces, and works in few of them at a time. */
const sockets = new KeptOpen<KernelNetlink, NetlinkSocket>(64);

/** As `apply`; throws the first error. */
export function applyAll(netlink: Netlink, ops: readonly NetlinkOp[]): void {
  const error = netlink.apply(ops).find((e) => e !== undefined);
  if (error) throw error;
}

class KernelNetlink implements Netlink {
  readonly #netns: string | undefined;
  /** ifindex by name. Ours alone name devices here, so an entry stays true until we delete it. */
  readonly #index = new Map<string, number>();

  constructor(netns: string | undefined) {
    this.#netns = netns;
    void this.#socket; // a missing namespace is an error now
  }

  get #socket(): NetlinkSocket {
    return sockets.get(this, () => NetlinkSocket.open(this.#netns));
  }

  links(): Link[] {
    const links = this.#socket.dump('dump links', dumpLinks).map((m) => readLink(m.payload));
    this.#index.clear();
    for (const link of links) this.#index.set(link.name, link.index);
    return links;
  }

  addresses(): Address[] {
    const name = this.#names();
    return present(this.#socket.dump('dump addresses', dumpAddresses).map((m) => readAddress(m.payload, name)));
  }

  routes(): Route[] {
    const name = this.#names();
    const all = ([4, 6] as const).flatMap((family) => this.#socket.dump('dump routes', () => dumpRoutes(family)));
    return present(all.map((m) => readRoute(m.payload, name)));
  }

  neighbours(): Neighbour[] {
    const name = this.#names();
    return present(
      this.#socket
        .dump('dump neighbours', () => dumpNeighbours('neighbour'))
        .map((m) => readNeighbour(m.payload, name)),
    );
  }

  fdb(): Fdb[] {
    const name = this.#names();
    return present(this.#socket.dump('dump fdb', () => dumpNeighbours('fdb')).map((m) => readFdb(m.payload, name)));
  }

  hostAddresses(): HostAddress[] {
    const name = this.#names();
    return present(this.#socket.dump('dump addresses', dumpAddresses).map((m) => readHostAddress(m.payload, name)));
  }

  hostRoutes(): HostRoute[] {
    const name = this.#names();
    const dumps = ([4, 6] as const).flatMap((f) => this.#socket.dump('dump routes', () => dumpRoutes(f)));
    return present(dumps.map((m) => readHostRoute(m.payload, name)));
  }

  apply(ops: readonly NetlinkOp[]): (NetlinkError | undefined)[] {
    const results: (NetlinkError | undefined)[] = [];
    let start = 0;
    while (start < ops.length) {
      // A device that this batch creates has no index yet: what refers to it waits for the next system call.
      const created = new Set<string>();
      let end = start;
      for (; end < ops.length; end++) {
        const op = ops[end];
        if (!op || devicesOf(op).some((d) => created.has(d))) break;
        if (op.verb === 'create') created.add(op.value.name);
      }
      results.push(...this.#applyBatch(ops.slice(start, end)));
      start = end;
    }
    return results;
  }

  [Symbol.dispose](): void {
    sockets.close(this);
  }

  #applyBatch(ops: readonly NetlinkOp[]): (NetlinkError | undefined)[] {
    const files = new Map<string, number>();
    const fd = (path: string | undefined): number | undefined => {
      if (path === undefined) return undefined;
      const open = files.get(path) ?? openSync(path, 'r');
      files.set(path, open);
      return open;
    };
    const results: (NetlinkError | undefined)[] = Array.from({ length: ops.length });
    const requests: { what: string; writer: MessageWriter; at: number }[] = [];
    try {
      for (const [at, op] of ops.entries()) {
        try {
          requests.push({ what: describe(op), writer: this.#message(op, fd), at });
        } catch (error) {
          results[at] =
            error instanceof NetlinkError ? error : new NetlinkError(codeOf(error), describe(op), String(error));
        }
      }
      const answers = this.#socket.send(requests);
      for (const [i, request] of requests.entries()) results[request.at] = answers[i];
    } finally {
      for (const open of files.values()) closeSync(open);
    }
    for (const op of ops) {
      if (op.verb === 'delete' && op.kind === 'link') this.#index.delete(op.name);
      if (op.verb === 'delete' && op.kind === 'group') this.#index.clear();
      if (op.verb === 'create') this.#index.delete(op.value.name);
    }
    return results;
  }

  #message(op: NetlinkOp, fd: (path: string | undefined) => number | undefined): MessageWriter {
    const indexOf = (dev: string): number => this.#indexOf(dev);
    switch (op.kind) {
      case 'veth':
        return newVeth({ ...op.value, netns: fd(op.value.netns) }, { ...op.peer, netns: fd(op.peer.netns) });
      case 'vxlan':
        return newVxlan({ ...op.value, netns: fd(op.value.netns) });
      case 'bridge':
        return newBridge(op.value.name);
      case 'link': {
        if (op.verb === 'delete') return deleteLink(op.name);
        const { master, ...change } = op.change;
        return setLink(op.name, { ...change, ...(master === undefined ? {} : { master: indexOf(master) }) });
      }
      case 'group':
        return deleteLinkGroup(op.group);
      case 'address':
        return addressMessage(op.verb, op.value, indexOf);
      case 'route':
        return routeMessage(op.verb, op.value, indexOf);
      case 'neighbour':
        return neighbourMessage(op.verb, op.value, indexOf);
      case 'fdb':
        return fdbMessage(op.verb, op.value, indexOf);
      case 'rule':
        return ruleMessage(op.verb, op.value);
    }
  }

  #indexOf(dev: string): number {
    if (dev === 'lo') return 1;
    const known = this.#index.get(dev);
    if (known !== undefined) return known;
    this.links();
    const index = this.#index.get(dev);
    if (index === undefined) throw new NetlinkError('ENODEV', `find device ${dev}`);
    return index;
  }

  /** By the last dump of links; asked again when it lacks one. */
  #names(): (index: number) => string | undefined {
    let names = new Map([...this.#index].map(([name, index]) => [index, name]));
    let fresh = false;
    return (index) => {
      if (!names.has(index) && !fresh) {
        names = new Map(this.links().map((l) => [l.index, l.name]));
        fresh = true;
      }
      return names.get(index);
    };
  }
}

/** One line for errors and logs: "set route 10.0.0.0/24 dev vx0 via 10.0.0.0". */
export function describe(op: NetlinkOp): string {
  switch (op.kind) {
    case 'veth':
    case 'vxlan':
    case 'bridge':
      return `create ${op.kind} ${op.value.name}`;
    case 'link':
      return `${op.verb} link ${op.name}`;
    case 'group':
      return `delete links of group ${op.group}`;
    case 'address':
      return `${op.verb} address ${op.value.cidr} dev ${op.value.dev}`;
    case 'route':
      return `${op.verb} ${op.value.type} route ${op.value.dst}${op.value.dev ? ` dev ${op.value.dev}` : ''}${op.value.via ? ` via ${op.value.via}` : ''}`;
    case 'neighbour':
      return `${op.verb} neighbour ${op.value.ip} dev ${op.value.dev}`;
    case 'rule':
      return `${op.verb} rule from ${op.value.from} table ${op.value.table}`;
    case 'fdb':
      return `${op.verb} fdb ${op.value.mac} dst ${op.value.dst} dev ${op.value.dev}`;
  }
}

function devicesOf(op: NetlinkOp): string[] {
  switch (op.kind) {
    case 'veth':
    case 'vxlan':
    case 'bridge':
    case 'group':
    case 'rule':
      return [];
    case 'link':
      return [op.name, ...(op.verb === 'set' && op.change.master !== undefined ? [op.change.master] : [])];
    case 'route':
      return op.value.dev === undefined ? [] : [op.value.dev];
    case 'address':
    case 'neighbour':
    case 'fdb':
      return [op.value.dev];
  }
}

const present = <T>(values: readonly (T | undefined)[]): T[] => values.filter((v): v is T => v !== undefined);
const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'EINVAL';
