import type { Loop } from '../lib/reconcile/loops.ts';

/** The loops of the agent: how often each runs, how soon it tries again, and why. Milliseconds. */
export const LOOPS = {
  /**
   * Puts the configuration on disk. At once where it is small; many thousands of objects are not written out anew for each that
   * changes.
   */
  save: { what: 'save the configuration', log: 'debug', minIntervalMs: 30, share: 0.05 },
  /**
   * Writes to the kernel what has changed. A pass costs what the tables are large, however little changed: meanwhile more events
   * come in, and go into one pass. Every 10 s without any: what could not be written may work now.
   */
  apply: { what: 'apply', log: 'debug', minIntervalMs: 30, share: 0.5, retryMs: 500, maxIntervalMs: 10_000 },
  /**
   * Deletes what is not wanted any more. Deletions wait for grace periods in the kernel, some 20 ms each, and this is the thread
   * that answers ADD: few and large.
   */
  collect: { what: 'clean-up', log: 'warn', minIntervalMs: 500, share: 0.5, retryMs: 500 },
  /** Reports to the controller: soon after a change, and every 15 s as a sign of life. A new leader wants it within seconds. */
  report: { what: 'report', log: 'debug', minIntervalMs: 20, maxIntervalMs: 15_000, retryMs: 300, maxRetryMs: 3_000 },
  /**
   * Looks at the node: addresses on devices of others come and go, and other programs change the tables. Without our table in the
   * root strangers may speak VXLAN to this node, so at most 2 s.
   */
  survey: { what: "this node's addresses", log: 'warn', minIntervalMs: 500, maxIntervalMs: 2_000, retryMs: 1_000 },
  /** Renews egress addresses, which the kernel takes away after 6 s: three attempts in that time. */
  egress: {
    what: 'egress addresses',
    log: 'debug',
    minIntervalMs: 200,
    maxIntervalMs: 2_000,
    retryMs: 500,
    maxRetryMs: 1_000,
  },
  /** Compares one namespace with what it should be; `--audit-interval` is for a round of all: hundreds at once would hold up ADD. */
  audit: { what: 'audit', log: 'warn', minIntervalMs: 0, maxIntervalMs: 30_000, retryMs: 1_000 },
  /** Writes packets that policies dropped to the log: often, since the kernel keeps few of them. */
  denials: {
    what: 'packets that policies dropped',
    log: 'warn',
    minIntervalMs: 0,
    maxIntervalMs: 100,
    retryMs: 100,
    maxRetryMs: 1_000,
  },
  /** Counts connections: the rules bound how many can come within a second (plan/shares.ts). */
  balance: {
    what: 'shares of connection tracking',
    log: 'warn',
    minIntervalMs: 0,
    maxIntervalMs: 1_000,
    retryMs: 1_000,
    maxRetryMs: 1_000,
  },
} as const satisfies Readonly<Record<string, Loop>>;
export type LoopName = keyof typeof LOOPS;
