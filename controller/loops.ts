import type { Loop } from '../lib/reconcile/loops.ts';

/** The loops of the leader: how often each runs, and why. Milliseconds. */
export const LEADER_LOOPS = {
  /** Sends nodes what has changed. In a burst the nodes get more at a time, and the Lease is renewed in time. */
  distribute: { what: 'distribute', log: 'error', minIntervalMs: 5, share: 0.3 },
  /** Writes to the API what has to be there; every 30 s without a change, since a node may have fallen silent. */
  allocate: { what: 'allocate', log: 'debug', minIntervalMs: 20, share: 0.3, maxIntervalMs: 30_000 },
  /**
   * Writes events. They are a courtesy: they come after a second, when a network that was about to be made is there, and hold up
   * nothing.
   */
  events: { what: 'events', log: 'debug', minIntervalMs: 1_000, maxIntervalMs: 30_000 },
  /** Keeps streams alive that have nothing to say: an agent takes one for dead after 20 s (dataplane/follow). */
  ping: { what: 'ping', log: 'warn', minIntervalMs: 0, maxIntervalMs: 5_000 },
  /** Looks at the nodes that have egress addresses: they are given to others after 8 s of silence. */
  holders: { what: 'holders of egress addresses', log: 'warn', minIntervalMs: 0, maxIntervalMs: 1_000 },
} as const satisfies Readonly<Record<string, Loop>>;
export type LeaderLoop = keyof typeof LEADER_LOOPS;

/** The loop of every replica, leader or not: its serving certificate, which is renewed long before it ends. */
export const REPLICA_LOOPS = {
  certificate: { what: 'certificate', log: 'warn', minIntervalMs: 1_000, maxIntervalMs: 600_000 },
} as const satisfies Readonly<Record<string, Loop>>;
export type ReplicaLoop = keyof typeof REPLICA_LOOPS;
