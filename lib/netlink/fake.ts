import { NetlinkError } from './error.ts';
import type { Address, Fdb, Neighbour, Route } from './inet.ts';
import { type Link, type VxlanDetails, vxlanDetails } from './link.ts';
import { describe, type Netlink, type NetlinkOp } from './netlink.ts';
import { formatPrefix, parsePrefix } from '../ip/prefix.ts';

type Namespace = {
  links: Map<string, FakeLink>;
  addresses: Map<string, Address>;
  routes: Map<string, Route>;
  neighbours: Map<string, Neighbour>;
  fdb: Map<string, Fdb>;
  rules: Set<string>;
};
type FakeLink = Link & { readonly peer: { readonly netns: string; readonly name: string } | undefined };

/**
 * A kernel in memory: namespaces by path, as far as links, addresses, routes and neighbours go. It rejects what the kernel
 * rejects, with the same codes, and passes the same conformance tests.
 *
 * `faults` is asked before each change; what it returns is the error of that change.
 */
export class FakeKernel {
  readonly #namespaces = new Map<string, Namespace>();
  #nextIndex = 2;
  faults: (op: NetlinkOp) => NetlinkError | undefined = () => undefined;

  addNamespace(path: string): void {
    const lo: FakeLink = {
      index: 1,
      name: 'lo',
      kind: '',
      mac: '00:00:00:00:00:00',
      mtu: 65536,
      up: false,
      group: 0,
      peerIndex: 0,
      vxlan: undefined,
      peer: undefined,
    };
    this.#namespaces.set(path, {
      links: new Map([['lo', lo]]),
      addresses: new Map(),
      routes: new Map(),
      neighbours: new Map(),
      fdb: new Map(),
      rules: new Set(),
    });
  }

  /** The netlink of a namespace. Throws ENOENT for one that is not there, as opening its file does. */
  open(path: string): Netlink {
    const ns = this.#must(path);
    return {
      links: () => [...ns.links.values()].map(({ peer: _peer, ...link }) => link),
      addresses: () => [...ns.addresses.values()],
      routes: () => [...ns.routes.values()].filter((r) => r.table === undefined),
      hostAddresses: () =>
        [...ns.addresses.values()].map(({ dev, cidr, seconds }) => ({
          dev,
          ip: cidr.split('/')[0] ?? '',
          lent: seconds !== undefined,
        })),
      hostRoutes: () => [], // all that a fake has were set by us
      neighbours: () => [...ns.neighbours.values()],
      fdb: () => [...ns.fdb.values()],
      apply: (ops) => ops.map((op) => this.#try(path, op)),
      [Symbol.dispose]: () => undefined,
    };
  }

  /** All state as text, one thing a line, sorted: for reading and comparing. */
  dump(path: string): string {
    const ns = this.#must(path);
    const all = [...ns.links.values()].map(
      (l) => `link ${l.name} ${l.kind} ${JSON.stringify(l.vxlan ?? '')} mtu ${l.mtu}${l.up ? ' up' : ''}`,
    );
    all.push(...[...ns.addresses.values()].map((a) => `address ${a.cidr} dev ${a.dev}`));
    all.push(...[...ns.routes.values()].map((r) => `route ${JSON.stringify(r)}`));
    all.push(...[...ns.neighbours.values()].map((n) => `neighbour ${n.ip} ${n.mac} dev ${n.dev}`));
    all.push(...[...ns.fdb.values()].map((f) => `fdb ${f.mac} dst ${f.dst} dev ${f.dev}`));
    return all.sort().join('\n');
  }

  #try(path: string, op: NetlinkOp): NetlinkError | undefined {
    try {
      const fault = this.faults(op);
      if (fault) return fault;
      this.#carryOut(this.#must(path), path, op);
      return undefined;
    } catch (error) {
      if (error instanceof NetlinkError) return error;
      throw error;
    }
  }

  #carryOut(ns: Namespace, path: string, op: NetlinkOp): void {
    const fail = (code: string): never => {
      throw new NetlinkError(code, describe(op));
    };
    const dev = (name: string): FakeLink => ns.links.get(name) ?? fail('ENODEV');
    switch (op.kind) {
      case 'veth': {
        const here = this.#must(op.value.netns ?? path);
        const there = this.#must(op.peer.netns ?? path);
        if (here.links.has(op.value.name) || there.links.has(op.peer.name)) fail('EEXIST');
        this.#addLink(op.value.netns ?? path, op.value, 'veth', { netns: op.peer.netns ?? path, name: op.peer.name });
        this.#addLink(op.peer.netns ?? path, op.peer, 'veth', { netns: op.value.netns ?? path, name: op.value.name });
        return;
      }
      case 'vxlan':
        if (this.#must(op.value.netns ?? path).links.has(op.value.name)) fail('EEXIST');
        this.#addLink(op.value.netns ?? path, op.value, 'vxlan', undefined, vxlanDetails(op.value));
        return;
      case 'bridge':
        if (ns.links.has(op.value.name)) fail('EEXIST');
        this.#addLink(path, { name: op.value.name, mac: '', mtu: 1500 }, 'bridge', undefined);
        return;
      case 'link': {
        const link = dev(op.name);
        if (op.verb === 'delete') return this.#removeLink(path, op.name);
        const { up = link.up, mtu = link.mtu, mac = link.mac, group = link.group } = op.change;
        ns.links.set(op.name, { ...link, up, mtu, mac, group });
        // The kernel forgets routes of a link that goes down.
        if (!up) for (const [k, r] of ns.routes) if (r.dev === op.name) ns.routes.delete(k);
        return;
      }
      case 'group': {
        const doomed = [...ns.links.values()].filter((l) => l.group === op.group && l.group !== 0);
        if (doomed.length === 0) fail('ENODEV');
        for (const l of doomed) this.#removeLink(path, l.name);
        return;
      }
      case 'address': {
        const key = `${op.value.dev} ${op.value.cidr}`;
        dev(op.value.dev);
        if (op.verb === 'set') ns.addresses.set(key, op.value);
        else if (!ns.addresses.delete(key)) fail('EADDRNOTAVAIL');
        return;
      }
      case 'route': {
        const r = op.value;
        const key = `${r.table ?? ''} ${formatPrefix(parsePrefix(r.dst) ?? fail('EINVAL'))} ${r.metric ?? 0}`;
        if (op.verb === 'delete') {
          if (!ns.routes.delete(key)) fail('ESRCH');
          return;
        }
        if (r.dev !== undefined && !dev(r.dev).up) fail('ENETDOWN');
        if (r.via !== undefined && !r.onlink && !this.#onLink(ns, r.via))
          fail(r.via.includes(':') ? 'EHOSTUNREACH' : 'ENETUNREACH');
        ns.routes.set(key, r);
        return;
      }
      case 'neighbour': {
        dev(op.value.dev);
        const key = `${op.value.dev} ${op.value.ip}`;
        if (op.verb === 'set') ns.neighbours.set(key, op.value);
        else if (!ns.neighbours.delete(key)) fail('ENOENT');
        return;
      }
      case 'fdb': {
        if (dev(op.value.dev).kind !== 'vxlan') fail('EOPNOTSUPP');
        const key = `${op.value.dev} ${op.value.mac}`;
        if (op.verb === 'set') ns.fdb.set(key, op.value);
        else if (!ns.fdb.delete(key)) fail('ENOENT');
        return;
      }
      case 'rule': {
        const key = JSON.stringify(op.value);
        if (op.verb === 'delete') {
          if (!ns.rules.delete(key)) fail('ENOENT');
        } else if (ns.rules.has(key)) fail('EEXIST');
        else ns.rules.add(key);
      }
    }
  }

  #addLink(
    path: string,
    end: { readonly name: string; readonly mac: string; readonly mtu: number },
    kind: string,
    peer: FakeLink['peer'],
    vxlan?: VxlanDetails,
  ): void {
    this.#must(path).links.set(end.name, {
      index: this.#nextIndex++,
      name: end.name,
      kind,
      mac: end.mac,
      mtu: end.mtu,
      up: false,
      group: 0,
      peerIndex: 0,
      vxlan,
      peer,
    });
  }

  #removeLink(path: string, name: string): void {
    const ns = this.#must(path);
    const link = ns.links.get(name);
    ns.links.delete(name);
    for (const map of [ns.addresses, ns.routes, ns.neighbours, ns.fdb] as Map<string, { readonly dev?: string }>[]) {
      for (const [k, v] of map) if (v.dev === name) map.delete(k);
    }
    const other = link?.peer && this.#namespaces.get(link.peer.netns);
    if (link?.peer && other?.links.has(link.peer.name)) this.#removeLink(link.peer.netns, link.peer.name);
  }

  #onLink(ns: Namespace, via: string): boolean {
    return [...ns.routes.values()].some((r) => r.scope === 'link' && r.dst.startsWith(`${via}/`));
  }

  #must(path: string): Namespace {
    const ns = this.#namespaces.get(path);
    if (!ns) throw new NetlinkError('ENOENT', `open namespace ${path}`);
    return ns;
  }
}
