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

  /** From now on exactly these, beside pods, which come and go by themselves. */
  replace(wanted: ReadonlyMap<string, Wish>): void {
    for (const owner of this.#deps.keys()) if (!wanted.has(owner) && !owner.startsWith('pod ')) this.drop(owner);
    for (const [owner, wish] of wanted) this.set(owner, wish);
  }

  set(owner: string, { deps, plan }: Wish): void {
    const before = this.#deps.get(owner);
    if (before && before.length === deps.length && before.every((d, i) => d === deps[i])) return;
    this.#sink.setFragment(owner, plan());
    this.#deps.set(owner, deps);
  }

  drop(owner: string): void {
    if (this.#deps.delete(owner)) this.#sink.setFragment(owner, undefined);
  }
}
