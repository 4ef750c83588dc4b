import { FLAT_NETWORK } from '../../api/names.ts';
import type { NetworkItem } from '../../api/nodeconfig.ts';
import type { Desired } from '../desired/desired.ts';
import type { Pending } from '../desired/pending.ts';

/** Egress addresses of networks that leave the cluster by this node. */
export class EgressAddresses {
  readonly #desired: Desired;
  readonly #pending: Pending;
  #held = '';

  constructor(desired: Desired, pending: Pending) {
    this.#desired = desired;
    this.#pending = pending;
  }

  /** Those that this node has to have now; they belong on the device of its own address. */
  wanted(): string[] {
    return this.#networks().flatMap((n) => n.egressVia?.addresses ?? []);
  }

  /** Which of them it has. Returns whether that is new: networks leave by an address only while the node has it. */
  setHeld(addresses: readonly string[]): boolean {
    const text = [...addresses].sort().join();
    if (text === this.#held) return false;
    this.#held = text;
    this.#desired.local.setHeld(addresses);
    for (const { key } of this.#networks()) {
      this.#pending.plan(key, FLAT_NETWORK);
      this.#pending.lookAt(key);
    }
    return true;
  }

  /** Networks that leave by an address. */
  networksBy(address: string): string[] {
    return this.#networks().flatMap(({ key, egressVia }) => (egressVia?.addresses.includes(address) ? key : []));
  }

  #networks(): NetworkItem[] {
    const { store, local } = this.#desired;
    return [...store.config.network.values()].filter((n) => n.egressVia?.node === local.nodeName);
  }
}
