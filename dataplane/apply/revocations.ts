import type { NftObject } from '../../lib/nft/program.ts';
import { type DeniedFlow, revokedElements } from '../plan/denied-flows.ts';

/** Longer than TCP goes on sending again (tcp_retries2: up to 924 s in the worst case, minutes in practice). */
const REMEMBER_MS = 180_000;

/** Connections that policies have cut in one namespace: remembered for a while, so that neither end can bring them back. */
export class Revocations {
  readonly #set: (owner: string, nft: readonly NftObject[] | undefined) => void;
  readonly #until = new Map<string, { readonly at: number; readonly denied: DeniedFlow }>();

  constructor(set: (owner: string, nft: readonly NftObject[] | undefined) => void) {
    this.#set = set;
  }

  add(denied: DeniedFlow, now: number): void {
    const key = ownerOf(denied);
    this.#until.set(key, { at: now + REMEMBER_MS, denied });
    this.#set(key, revokedElements(denied));
  }

  /** Forgets what is old, and what would be allowed again. */
  prune(now: number, stillDenied: (denied: DeniedFlow) => boolean): void {
    for (const [key, { at, denied }] of this.#until) {
      if (at > now && stillDenied(denied)) continue;
      this.#until.delete(key);
      this.#set(key, undefined);
    }
  }

  get size(): number {
    return this.#until.size;
  }
}

const ownerOf = ({ protocol, source, sourcePort, destination, port }: DeniedFlow): string =>
  `revoked ${protocol} ${source} ${sourcePort} ${destination} ${port}`;
