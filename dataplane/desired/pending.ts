import type { Changes } from '../follow/config-store.ts';

/** What is still to be done, by network: to plan it, to plan its pods alone, to look at its connections. */
export class Pending {
  readonly #plan = new Set<string>();
  readonly #pods = new Set<string>();
  readonly #connections = new Set<string>();
  #allPlans = true;

  /** These networks are planned again. */
  plan(...keys: readonly string[]): void {
    for (const key of keys) this.#plan.add(key);
  }

  /** So are all that are here by then. */
  planAll(): void {
    this.#allPlans = true;
  }

  /** Connections of these networks were made under other rules, and are looked at once the present ones stand. */
  lookAt(...keys: readonly string[]): void {
    for (const key of keys) this.#connections.add(key);
  }

  /** What concerns all networks is noted for each of those that are here: they are planned one by one. */
  absorb(changes: Changes, here: readonly string[]): void {
    this.plan(...changes.plan, ...(changes.allPlans || this.#allPlans ? here : []));
    this.lookAt(...changes.connections, ...(changes.allConnections ? here : []));
    if (changes.policies) for (const key of here) this.#pods.add(key);
    this.#allPlans = false;
  }

  isPlanned(key: string): boolean {
    return this.#plan.has(key);
  }

  /** What of a network is to be planned now. */
  takePlan(key: string): 'network' | 'pods' | undefined {
    const [network, pods] = [this.#plan.delete(key), this.#pods.delete(key)];
    return network ? 'network' : pods ? 'pods' : undefined;
  }

  /** Networks whose connections are to be looked at; what is noted from now on is for the next time. */
  takeConnections(): string[] {
    const keys = [...this.#connections];
    this.#connections.clear();
    return keys;
  }

  /** Networks that are not here are none to plan. */
  keepOnly(here: ReadonlySet<string>): void {
    for (const key of this.#plan) if (!here.has(key)) this.#plan.delete(key);
  }
}
