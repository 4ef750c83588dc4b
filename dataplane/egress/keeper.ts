import { probeAddresses } from '../../lib/netlink/address-probe.ts';
import { announce } from '../../lib/netlink/announce.ts';
import { isGone } from '../../lib/netlink/error.ts';
import type { Link } from '../../lib/netlink/link.ts';
import { type Netlink, openNetlink } from '../../lib/netlink/netlink.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';

/** How long an address stays without being renewed. Shorter than the controller waits before it gives it to another node. */
const LIFETIME_S = 6;

/** For so long another node may still have an address that was its own before: that is no conflict yet. */
const PATIENCE_MS = 8_000;

type Conflict = { readonly by: string; readonly since: number };

/**
 * Keeps fixed egress addresses on this node while it has contact with the controller.
 *
 * The kernel itself takes an address away that is not renewed: an agent that dies, hangs or is cut off loses its addresses before
 * another node gets them, without doing anything, and a crash leaves none behind.
 *
 * An address that another host on the link has is not taken. It is asked for again each time, so one that another node is about to
 * lose is taken when that node has let go.
 */
export class EgressKeeper implements Disposable {
  readonly #netlink: Netlink = openNetlink();
  /** By address: on which device, and when it was set last. */
  readonly #held = new Map<string, { readonly dev: string; readonly at: number }>();
  readonly #conflicts = new Map<string, Conflict>();

  /** Addresses that are on this node now, for all that it knows. */
  get held(): string[] {
    const since = performance.now() - LIFETIME_S * 1000;
    return [...this.#held].flatMap(([ip, { at }]) => (at > since ? [ip] : []));
  }

  /** Addresses that another host has, and goes on having: each with which. */
  get conflicts(): Map<string, string> {
    const since = performance.now() - PATIENCE_MS;
    return new Map([...this.#conflicts].flatMap(([ip, c]) => (c.since < since ? [[ip, c.by] as const] : [])));
  }

  /** At the start of the agent: what its earlier life left here is its own still. */
  takeOver(wanted: readonly string[]): void {
    if (wanted.length === 0) return;
    for (const { dev, ip, lent } of this.#netlink.hostAddresses())
      if (lent && wanted.includes(ip)) this.#held.set(ip, { dev, at: performance.now() });
  }

  /**
   * Renews what is wanted, after a sign of life of the controller; gives up the rest. What is new is asked for on the link, and
   * taken and announced when no host answers.
   *
   * @param wanted asked again when the link has answered
   */
  async renew(wanted: () => readonly string[], dev: string | undefined): Promise<void> {
    const first = wanted();
    for (const ip of this.#conflicts.keys()) if (!first.includes(ip)) this.#conflicts.delete(ip);
    for (const [ip, held] of this.#held) if (!first.includes(ip) || held.dev !== dev) this.#giveUp(ip, held.dev);
    if (dev === undefined || first.length === 0) return;
    const link = this.#netlink.links().find((l) => l.name === dev);
    if (!link) return;
    const mine = new Set(this.held);
    for (const ip of first) if (mine.has(ip)) this.#set(ip, link);
    const news = first.filter((ip) => !mine.has(ip));
    const here = new Map(this.#netlink.hostAddresses().map((a) => [a.ip, a]));
    const free = news.filter((ip) => {
      const own = here.get(ip);
      // An address of the node itself is not lent: set again, it would go when it is no longer renewed.
      if (own && !(own.lent && own.dev === dev)) this.#meet(ip, `this node itself (${own.dev})`);
      return !own || (own.lent && own.dev === dev);
    });
    if (free.length === 0) return;
    const taken = await probeAddresses(link, free);
    const still = wanted();
    for (const ip of free) {
      const by = taken.get(ip);
      if (by !== undefined) this.#meet(ip, `${by} on ${dev}`);
      else if (still.includes(ip)) {
        this.#set(ip, link);
        announce(link, ip);
      }
    }
  }

  /** At the end of the agent: a successor takes them up again, or another node does. */
  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }

  #set(ip: string, { name: dev }: Link): void {
    const value = { dev, cidr: hostCidr(ip), scope: 'global', seconds: LIFETIME_S } as const;
    const [error] = this.#netlink.apply([{ verb: 'set', kind: 'address', value }]);
    if (error) throw error;
    this.#held.set(ip, { dev, at: performance.now() });
    this.#conflicts.delete(ip);
  }

  #meet(ip: string, by: string): void {
    this.#conflicts.set(ip, { by, since: this.#conflicts.get(ip)?.since ?? performance.now() });
  }

  #giveUp(ip: string, dev: string): void {
    const [error] = this.#netlink.apply([
      { verb: 'delete', kind: 'address', value: { dev, cidr: hostCidr(ip), scope: 'global' } },
    ]);
    if (error && !isGone(error)) throw error;
    this.#held.delete(ip);
  }
}
