import { type Clock, systemClock } from '../reconcile/clock.ts';
import { type KubeClient, type KubeObject, type Resource } from './client.ts';
import { isKube } from './error.ts';

const LEASES: Resource = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases' };

export type LeaseOptions = {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  readonly identity: string;
  /** Written on the Lease by the holder: where it can be reached. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly leaseMs?: number;
  readonly renewMs?: number;
  readonly retryMs?: number;
  readonly clock?: Clock;
  readonly onTrouble?: (error: unknown) => void;
};

/** `epoch` grows with every change of holder: a program that acts on a lower one is an old leader. */
export type Leadership = {
  readonly epoch: number;
  readonly lost: Promise<string>;
  readonly release: () => Promise<void>;
};

type LeaseSpec = {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  renewTime?: string;
  acquireTime?: string;
  leaseTransitions?: number;
};

/**
 * Waits until this process holds the Lease, then keeps it. Every write carries the resourceVersion that was read, so two
 * candidates never both win.
 *
 * Only the local clock judges: a Lease is over when *we* have not seen it change for its whole duration, whatever times are written
 * in it. `lost` resolves with the reason when the Lease could not be renewed in time: then leave, at once.
 */
export async function acquireLease(options: LeaseOptions, signal: AbortSignal): Promise<Leadership | undefined> {
  const candidate = new Candidate(options);
  const held = await candidate.acquire(signal);
  if (!held) return undefined;
  const done = new AbortController();
  const lost = candidate.keep(AbortSignal.any([signal, done.signal]));
  const release = async (): Promise<void> => {
    done.abort();
    await lost;
    await candidate.release();
  };
  return { epoch: specOf(held)?.leaseTransitions ?? 1, lost, release };
}

const specOf = (lease: KubeObject | undefined): LeaseSpec | undefined => lease?.['spec'] as LeaseSpec | undefined;

/** A process that wants a Lease, or has it. */
class Candidate {
  readonly #options: LeaseOptions & { readonly leaseMs: number; readonly renewMs: number; readonly retryMs: number };
  readonly #clock: Clock;
  /** The Lease as it was seen last, and when it was seen to change. */
  #seen = { version: '', at: 0 };
  /** The Lease as this process wrote it last. */
  #held: KubeObject | undefined;

  constructor(options: LeaseOptions) {
    const { leaseMs = 10_000, renewMs = 7_000, retryMs = 2_000, clock = systemClock } = options;
    if (!(leaseMs > renewMs && renewMs > retryMs * 1.2))
      throw new RangeError('lease times must satisfy lease > renew > 1.2 × retry');
    this.#options = { ...options, leaseMs, renewMs, retryMs };
    this.#clock = clock;
  }

  /** Tries until the Lease is held or the signal fires. */
  async acquire(signal: AbortSignal): Promise<KubeObject | undefined> {
    const { onTrouble, retryMs } = this.#options;
    while (!signal.aborted && !this.#held) {
      try {
        this.#held = await this.#attempt();
      } catch (error) {
        if (!isKube(error, 'Conflict') && !isKube(error, 'AlreadyExists')) onTrouble?.(error);
      }
      if (!this.#held) await this.#clock.sleep(retryMs * (0.9 + Math.random() * 0.2), signal);
    }
    return this.#held;
  }

  /** Renews until the signal fires or the Lease is lost; says why it ended. */
  async keep(stop: AbortSignal): Promise<string> {
    const { leaseMs, renewMs, retryMs, onTrouble } = this.#options;
    let renewed = this.#clock.now();
    const since = (): number => this.#clock.now() - renewed;
    while (!stop.aborted) {
      await this.#clock.sleep(retryMs, stop);
      if (stop.aborted) break;
      if (since() > leaseMs) return `the Lease ran out: this process stood still for ${Math.round(since())} ms`;
      try {
        this.#held = await this.#write(this.#held);
        renewed = this.#clock.now();
      } catch (error) {
        const other = isKube(error, 'Conflict') ? await this.#otherHolder() : undefined;
        if (other !== undefined) return `the Lease went to ${other}`;
        if (!isKube(error, 'Conflict')) onTrouble?.(error);
        if (since() > renewMs) return 'the Lease could not be renewed in time';
      }
    }
    return 'stopped';
  }

  /** Gives the Lease back, so that another candidate need not wait for it to run out. */
  async release(): Promise<void> {
    if (!this.#held) return;
    const spec = { ...specOf(this.#held), holderIdentity: '' };
    await this.#options.client.replace(LEASES, { ...this.#held, spec }).catch(() => undefined);
  }

  /** The holder, when that is another one; otherwise what was written meanwhile is taken over. */
  async #otherHolder(): Promise<string | undefined> {
    const { client, name, namespace, identity, retryMs } = this.#options;
    const now = await client.get(LEASES, name, namespace, { timeoutMs: retryMs }).catch(() => undefined);
    const holder = specOf(now)?.holderIdentity;
    if (now && holder !== identity) return holder ?? 'no holder';
    if (now) this.#held = now;
    return undefined;
  }

  async #attempt(): Promise<KubeObject | undefined> {
    const { client, name, namespace, identity, leaseMs, renewMs } = this.#options;
    let current: KubeObject | undefined;
    try {
      current = await client.get(LEASES, name, namespace, { timeoutMs: renewMs });
    } catch (error) {
      if (!isKube(error, 'NotFound')) throw error;
    }
    const version = current?.metadata.resourceVersion ?? '';
    if (version !== this.#seen.version) this.#seen = { version, at: this.#clock.now() };
    const spec = specOf(current);
    const holder = spec?.holderIdentity ?? '';
    const theirs = Math.max(leaseMs, (spec?.leaseDurationSeconds ?? 0) * 1000);
    if (holder !== '' && holder !== identity && this.#clock.now() - this.#seen.at < theirs) return undefined;
    return await this.#write(current);
  }

  async #write(current: KubeObject | undefined): Promise<KubeObject> {
    const { client, name, namespace, annotations } = this.#options;
    const metadata = {
      ...(current?.metadata ?? { name, namespace }),
      annotations: { ...current?.metadata.annotations, ...annotations },
    };
    const spec = this.#spec(specOf(current));
    const lease: KubeObject = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec };
    return current ? await client.replace(LEASES, lease) : await client.create(LEASES, lease);
  }

  #spec(before: LeaseSpec | undefined): LeaseSpec {
    const { identity, leaseMs } = this.#options;
    const now = new Date().toISOString().replace('Z', '000Z');
    const mine = before?.holderIdentity === identity;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1000),
      renewTime: now,
      acquireTime: mine ? (before.acquireTime ?? now) : now,
      leaseTransitions: (before?.leaseTransitions ?? 0) + (mine ? 0 : 1),
    };
  }
}
