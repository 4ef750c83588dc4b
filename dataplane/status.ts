import type { Logger } from 'pino';
import { brief } from '../lib/error/brief.ts';
import type { HostAddresses } from './probe/host-addresses.ts';

/** What one pass over the networks has come to. */
export type Pass = {
  readonly faults: ReadonlyMap<string, Error>;
  /** Networks that this node does not carry beyond their own instances, each with the reason. */
  readonly closed: ReadonlyMap<string, string>;
  /** Networks in which the policies of some pods are closed, each with the reason. */
  readonly over: readonly (readonly [network: string, why: string])[];
};

/** How far the agent is with what the controller has sent, and what is wrong with networks of this node. */
export class AgentStatus {
  /** The last revision that the controller sent, and the last that is in the kernel. */
  received = 0;
  realised = 0;
  /** This agent has written to the kernel since it started: a table that is missing before that is none that was taken away. */
  written = false;
  /** The configuration is the controller's present one, not what was saved on disk. */
  authoritative = false;
  /** The configuration has changed since it was put on disk. */
  unsaved = false;
  /** The node's own addresses and routes, when they were looked at last. */
  host: HostAddresses = { addresses: [], routes: [] };
  /** Egress addresses that another host has, each with which. */
  conflicts: ReadonlyMap<string, string> = new Map();
  #pass: Pass = { faults: new Map(), closed: new Map(), over: [] };

  get faults(): number {
    return this.#pass.faults.size;
  }

  /** Logs what is new. Returns whether the controller has to hear of it. */
  note(pass: Pass, log: Logger): boolean {
    const before = this.#pass;
    this.#pass = pass;
    for (const [network, error] of pass.faults)
      log.error({ network, err: brief(error) }, 'network could not be realised');
    const known = new Set(before.over.map(([network, why]) => `${network} ${why}`));
    const newlyOver = pass.over.filter(([network, why]) => !known.has(`${network} ${why}`));
    for (const [network, why] of newlyOver) log.warn({ network }, why);
    for (const [network, why] of pass.closed) if (!before.closed.has(network)) log.warn({ network }, why);
    return (
      newlyOver.length > 0 ||
      known.size !== pass.over.length ||
      before.faults.size !== pass.faults.size ||
      before.closed.size !== pass.closed.size
    );
  }

  /** Networks that are not as they should be, each with the reason. */
  problems(networksBy: (address: string) => readonly string[]): (readonly [network: string, message: string])[] {
    const taken = [...this.conflicts].flatMap(([ip, by]) =>
      networksBy(ip).map(
        (key) =>
          [
            key,
            `egress address ${ip} is in use by ${by}: it is not taken, and nothing leaves; choose another`,
          ] as const,
      ),
    );
    const { faults, closed, over } = this.#pass;
    return [...[...faults].map(([key, e]) => [key, e.message] as const), ...closed, ...over, ...taken];
  }
}
