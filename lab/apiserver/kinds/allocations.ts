import { canonicalIp, type Family, formatIp, mustIp } from '../../../lib/ip/address.ts';
import { contains, mustPrefix, nth, type Prefix, sizeOf } from '../../../lib/ip/prefix.ts';
import { arr, at, type Json, num, str, strs } from '../model/path.ts';
import type { ResourceType } from '../objects/resources.ts';
import type { Store, StoredObject } from '../objects/store.ts';

export const NODE_PORTS = { first: 30_000, last: 32_767 } as const;

/** The first addresses of a range are left for those that are asked for. */
const LEFT = 256n;

/** Which Service has which addresses and node ports. Follows the store. */
export class ServiceAllocations {
  readonly #ranges: readonly { readonly prefix: Prefix; next: bigint }[];
  readonly #holders = new Map<string, string>();
  readonly #held = new Map<string, readonly string[]>();

  constructor(store: Store, services: ResourceType, cidrs: readonly string[]) {
    this.#ranges = cidrs.map((c) => ({ prefix: mustPrefix(c), next: LEFT }));
    store.subscribe(services, ({ type, object }) => {
      const self = `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
      for (const key of this.#held.get(self) ?? []) this.#release(key, self);
      this.#held.delete(self);
      if (type === 'DELETED') return;
      const keys = keysOf(object);
      this.#held.set(self, keys);
      for (const key of keys) this.#holders.set(key, self);
    });
  }

  /** Whether another Service has it. `self`: "namespace/name". */
  isIpTaken(ip: string, self: string): boolean {
    return this.#isTaken(canonicalIp(ip) ?? ip, self);
  }

  isNodePortTaken(port: Json, self: string): boolean {
    return this.#isTaken(nodePortKey(port), self);
  }

  isInRange(ip: string): boolean {
    return this.#ranges.some(({ prefix }) => contains(prefix, mustIp(ip)));
  }

  /** The lowest address that no Service has; undefined when there is none. */
  freeIp(family: Family): string | undefined {
    const range = this.#ranges.find((r) => r.prefix.family === family);
    if (!range) return undefined;
    for (; range.next < sizeOf(range.prefix) - 1n; range.next++) {
      const ip = formatIp(nth(range.prefix, range.next));
      if (!this.#holders.has(ip)) return ip;
    }
    return undefined;
  }

  /** The lowest node port that no Service has with the protocol, and that is none of `besides`; undefined when there is none. */
  freeNodePort(protocol: string, besides: ReadonlySet<number>): number | undefined {
    for (let nodePort = NODE_PORTS.first; nodePort <= NODE_PORTS.last; nodePort++)
      if (!besides.has(nodePort) && !this.#holders.has(nodePortKey({ protocol, nodePort }))) return nodePort;
    return undefined;
  }

  #isTaken(key: string, self: string): boolean {
    const holder = this.#holders.get(key);
    return holder !== undefined && holder !== self;
  }

  #release(key: string, self: string): void {
    if (this.#holders.get(key) !== self) return;
    this.#holders.delete(key);
    if (key.includes('/')) return;
    const ip = mustIp(key);
    const range = this.#ranges.find(({ prefix }) => contains(prefix, ip));
    const index = range && ip.value - range.prefix.first;
    if (range && index !== undefined && index >= LEFT && index < range.next) range.next = index;
  }
}

export const nodePortKey = (p: Json): string => `${str(p['protocol']) || 'TCP'}/${num(p['nodePort'])}`;

function keysOf(service: StoredObject): string[] {
  const ips = strs(at(service, 'spec', 'clusterIPs')).flatMap((ip) => canonicalIp(ip) ?? []);
  const ports = arr(at(service, 'spec', 'ports')).filter((p) => num(p['nodePort']) !== 0);
  return [...ips, ...ports.map(nodePortKey)];
}
