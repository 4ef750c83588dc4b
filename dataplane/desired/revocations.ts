import type { NftObject } from '../../lib/nft/program.ts';
import { type DeniedFlow, flowsOfRevoked, REVOKED_SETS, revokedElements } from '../plan/denied-flows.ts';
import type { Flow } from '../../lib/netlink/flow.ts';

/** Longer than TCP goes on sending again (tcp_retries2: up to 924 s in the worst case, minutes in practice). */
const REMEMBER_MS = 180_000;

/** Connections that policies have cut in one namespace: remembered for a while, so that neither end can bring them back. */
export class Revocations {
  readonly #set: (owner: string, nft: readonly NftObject[] | undefined) => void;
  readonly #until = new Map<string, { readonly at: number; readonly flows: readonly Flow[] }>();

  constructor(set: (owner: string, nft: readonly NftObject[] | undefined) => void) {
    this.#set = set;
  }

  /** Takes over what an earlier life of this agent has cut. When that was is not known: it counts from now. */
  inherit(namespace: { readonly keysIn: (set: (typeof REVOKED_SETS)[number]) => string[] }, now: number): void {
    for (const set of REVOKED_SETS)
      for (const key of namespace.keysIn(set)) {
        const owner = `revoked earlier ${key}`;
        this.#until.set(owner, {
          at: now + REMEMBER_MS,
          flows: flowsOfRevoked(key).map((f) => ({ ...f, handle: NO_HANDLE })),
        });
        this.#set(owner, [{ kind: 'element', set: set.name, key }]);
      }
  }

  add(denied: DeniedFlow, now: number): void {
    const key = ownerOf(denied);
    this.#until.set(key, { at: now + REMEMBER_MS, flows: [denied.flow] });
    this.#set(key, revokedElements(denied));
  }

  /** Forgets what is old, and what would be allowed again. */
  prune(now: number, stillDenied: (flows: readonly Flow[]) => boolean): void {
    for (const [key, { at, flows }] of this.#until) {
      if (at > now && stillDenied(flows)) continue;
      this.#until.delete(key);
      this.#set(key, undefined);
    }
  }

  get size(): number {
    return this.#until.size;
  }
}

/** What is forgotten already needs no name. */
const NO_HANDLE: Flow['handle'] = { tuple: Buffer.alloc(0), id: undefined };

const ownerOf = ({ protocol, source, sourcePort, destination, port }: DeniedFlow): string =>
  `revoked ${protocol} ${source} ${sourcePort} ${destination} ${port}`;
