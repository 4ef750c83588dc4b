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
  const { client, namespace, name, identity, clock = systemClock } = options;
  const leaseMs = options.leaseMs ?? 10_000;
  const renewMs = options.renewMs ?? 7_000;
  const retryMs = options.retryMs ?? 2_000;
  if (!(leaseMs > renewMs && renewMs > retryMs * 1.2))
    throw new RangeError('lease times must satisfy lease > renew > 1.2 × retry');
  let seen = { version: '', at: 0 };

  const body = (before: LeaseSpec | undefined): LeaseSpec => {
    const now = new Date().toISOString().replace('Z', '000Z');
    const mine = before?.holderIdentity === identity;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1000),
      renewTime: now,
      acquireTime: mine ? (before.acquireTime ?? now) : now,
      leaseTransitions: (before?.leaseTransitions ?? 0) + (mine ? 0 : 1),
    };
  };
  const write = async (current: KubeObject | undefined): Promise<KubeObject> => {
    const spec = body(current?.['spec'] as LeaseSpec | undefined);
    const metadata = {
      ...(current?.metadata ?? { name, namespace }),
      annotations: { ...current?.metadata.annotations, ...options.annotations },
    };
    const lease: KubeObject = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec };
    return current ? await client.replace(LEASES, lease) : await client.create(LEASES, lease);
  };
  const attempt = async (): Promise<KubeObject | undefined> => {
    let current: KubeObject | undefined;
    try {
      current = await client.get(LEASES, name, namespace, { timeoutMs: renewMs });
    } catch (error) {
      if (!isKube(error, 'NotFound')) throw error;
    }
    const version = current?.metadata.resourceVersion ?? '';
    if (version !== seen.version) seen = { version, at: clock.now() };
    const spec = current?.['spec'] as LeaseSpec | undefined;
    const holder = spec?.holderIdentity ?? '';
    const theirs = Math.max(leaseMs, (spec?.leaseDurationSeconds ?? 0) * 1000);
    if (holder !== '' && holder !== identity && clock.now() - seen.at < theirs) return undefined;
    return await write(current);
  };

  let held: KubeObject | undefined;
  while (!signal.aborted && !held) {
    try {
      held = await attempt();
    } catch (error) {
      if (!isKube(error, 'Conflict') && !isKube(error, 'AlreadyExists')) options.onTrouble?.(error);
    }
    if (!held) await clock.sleep(retryMs * (0.9 + Math.random() * 0.2), signal);
  }
  if (!held) return undefined;

  const done = new AbortController();
  const stop = AbortSignal.any([signal, done.signal]);
  let current = held;
  const lost = (async (): Promise<string> => {
    let renewed = clock.now();
    while (!stop.aborted) {
      await clock.sleep(retryMs, stop);
      if (stop.aborted) break;
      if (clock.now() - renewed > leaseMs)
        return `the Lease ran out: this process stood still for ${Math.round(clock.now() - renewed)} ms`;
      try {
        current = await write(current);
        renewed = clock.now();
      } catch (error) {
        if (isKube(error, 'Conflict')) {
          const now = await client.get(LEASES, name, namespace, { timeoutMs: retryMs }).catch(() => undefined);
          const holder = (now?.['spec'] as LeaseSpec | undefined)?.holderIdentity;
          if (now && holder !== identity) return `the Lease went to ${holder ?? 'no holder'}`;
          if (now) current = now;
        } else options.onTrouble?.(error);
        if (clock.now() - renewed > renewMs) return 'the Lease could not be renewed in time';
      }
    }
    return 'stopped';
  })();
  const release = async (): Promise<void> => {
    done.abort();
    await lost;
    const spec = { ...(current['spec'] as LeaseSpec), holderIdentity: '' };
    await client.replace(LEASES, { ...current, spec }).catch(() => undefined);
  };
  return { epoch: (held['spec'] as LeaseSpec).leaseTransitions ?? 1, lost, release };
}
