/** How much may come at once, and how much is added in a second. */
export type Rate = { readonly burst: number; readonly perSecond: number };

type Bucket = { level: number; at: number };

/** Token buckets by key. Only so many keys are remembered: the one that was used longest ago is forgotten first. */
export class TokenBuckets {
  readonly #rate: Rate;
  readonly #mostKeys: number;
  readonly #now: () => number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: Rate, { mostKeys = 10_000, now = () => performance.now() } = {}) {
    this.#rate = rate;
    this.#mostKeys = mostKeys;
    this.#now = now;
  }

  /** Takes `cost` when that much is there, and says whether it was. */
  take(key: string, cost = 1): boolean {
    const bucket = this.#filled(key);
    if (bucket.level < cost) return false;
    bucket.level -= cost;
    return true;
  }

  /** Gives back what was taken for nothing. */
  giveBack(key: string, cost = 1): void {
    this.#filled(key).level += cost;
  }

  #filled(key: string): Bucket {
    const now = this.#now();
    const { burst, perSecond } = this.#rate;
    const bucket = this.#buckets.get(key) ?? { level: burst, at: now };
    bucket.level = Math.min(burst, bucket.level + ((now - bucket.at) / 1000) * perSecond);
    bucket.at = now;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#mostKeys) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return bucket;
  }
}
