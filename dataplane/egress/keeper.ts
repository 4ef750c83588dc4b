import { announce } from '../../lib/netlink/announce.ts';
import { isGone } from '../../lib/netlink/error.ts';
import { type Netlink, openNetlink } from '../../lib/netlink/netlink.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';

/** How long an address stays without being renewed. Shorter than the controller waits before it gives it to another node. */
const LIFETIME_S = 6;

/**
 * Keeps fixed egress addresses on this node while it has contact with the controller.
 *
 * The kernel itself takes an address away that is not renewed: an agent that dies, hangs or is cut off loses its addresses before
 * another node gets them, without doing anything, and a crash leaves none behind.
 */
export class EgressKeeper implements Disposable {
  readonly #netlink: Netlink = openNetlink();
  /** By address: on which device, and when it was set last. */
  readonly #held = new Map<string, { readonly dev: string; readonly at: number }>();

  /** Renews what is wanted, after a sign of life of the controller; gives up the rest. Announces what is new here. */
  renew(wanted: readonly string[], dev: string | undefined): void {
    for (const [ip, held] of this.#held) if (!wanted.includes(ip) || held.dev !== dev) this.#giveUp(ip, held.dev);
    if (dev === undefined || wanted.length === 0) return;
    const link = this.#netlink.links().find((l) => l.name === dev);
    if (!link) return;
    for (const ip of wanted) {
      const value = { dev, cidr: hostCidr(ip), scope: 'global', seconds: LIFETIME_S } as const;
      const [error] = this.#netlink.apply([{ verb: 'set', kind: 'address', value }]);
      if (error) throw error;
      const at = performance.now();
      const before = this.#held.get(ip)?.at ?? Number.NEGATIVE_INFINITY;
      // Also when it has been away: another node may have had it meanwhile.
      if (at - before > LIFETIME_S * 1000) announce(link, ip);
      this.#held.set(ip, { dev, at });
    }
  }

  /** At the end of the agent: a successor takes them up again, or another node does. */
  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }

  #giveUp(ip: string, dev: string): void {
    const [error] = this.#netlink.apply([
      { verb: 'delete', kind: 'address', value: { dev, cidr: hostCidr(ip), scope: 'global' } },
    ]);
    if (error && !isGone(error)) throw error;
    this.#held.delete(ip);
  }
}
