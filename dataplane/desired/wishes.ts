import type { Fragment } from '../plan/fragment.ts';

/** A fragment that is planned only when what it depends on has changed. `deps` are compared by identity. */
export type Wish = { readonly deps: readonly unknown[]; readonly plan: () => Fragment };

/** Where the fragments go: a namespace of the kernel. */
export type FragmentSink = { readonly setFragment: (owner: string, fragment: Fragment | undefined) => void };

/**
 * The fragments that one namespace has now, by owner. Most replans change one of hundreds: the others cost a comparison of
 * their dependencies, and neither planning nor a look at the trackers.
 */
export class Wishes {
  readonly #sink: FragmentSink;
  readonly #deps = new Map<string, readonly unknown[]>();

  constructor(sink: FragmentSink) {
    this.#sink = sink;
  }

  /** From now on exactly these, beside pods, which come and go by themselves, and beside what tenants write. */
  replace(wanted: ReadonlyMap<string, Wish>): void {
    for (const owner of this.#deps.keys())
      if (!wanted.has(owner) && !owner.startsWith('pod ') && !isTenants(owner)) this.drop(owner);
    for (const [owner, wish] of wanted) if (!isTenants(owner)) this.set(owner, wish);
  }

  /**
   * From now on exactly these of what tenants write. There may be many thousands, each for itself: the generator stops behind each that is
   * planned or dropped.
   */
  *replaceTenants(wanted: ReadonlyMap<string, Wish>): Generator<void> {
    for (const owner of [...this.#deps.keys()].filter((o) => isTenants(o) && !wanted.has(o))) {
      this.drop(owner);
      yield;
    }
    for (const [owner, wish] of wanted) if (isTenants(owner) && this.set(owner, wish)) yield;
  }

  /** Returns whether it had to be planned. */
  set(owner: string, { deps, plan }: Wish): boolean {
    const before = this.#deps.get(owner);
    if (before && before.length === deps.length && before.every((d, i) => d === deps[i])) return false;
    this.#sink.setFragment(owner, plan());
    this.#deps.set(owner, deps);
    return true;
  }

  drop(owner: string): void {
    if (this.#deps.delete(owner)) this.#sink.setFragment(owner, undefined);
  }
}

/** First words of owners whose fragments tenants make large, and that mean nothing to each other. */
const TENANTS: ReadonlySet<string> = new Set(['service', 'backends', 'registered', 'opening', 'source']);
const isTenants = (owner: string): boolean => TENANTS.has(owner.slice(0, owner.indexOf(' ')));
