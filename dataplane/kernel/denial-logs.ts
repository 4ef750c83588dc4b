import { raiseFileLimit } from '../../lib/netns/files.ts';
import { type LoggedPacket, openPacketLog, PacketLog } from '../../lib/netlink/packet-log.ts';
import { LOG_GROUP } from '../plan/policy.ts';

/** A part of the files that this process may open: each log holds one for as long as its network has policies. */
const mostLogs = (): number => Math.max(0, Math.floor((raiseFileLimit() - 512) / 2));

/** Packets that policies drop, as the kernel logs them: one socket for each network that has policies on this node. */
export class DenialLogs implements Disposable {
  readonly #most: number;
  readonly #logs = new Map<string, PacketLog>();
  #left = 0;

  constructor(most = mostLogs()) {
    this.#most = most;
  }

  /**
   * From now on the network's packets are read, or no more.
   *
   * @param netns path of its namespace; undefined for the root
   */
  follow(network: string, wanted: boolean, netns: string | undefined): void {
    const known = this.#logs.get(network);
    if (wanted === (known !== undefined)) return;
    known?.[Symbol.dispose]();
    this.#logs.delete(network);
    const log = wanted && this.#logs.size < this.#most ? tryOpen(netns) : undefined;
    if (log) this.#logs.set(network, log);
  }

  /** What has come since, of each network alike. Costs what was logged, not what is open. */
  read(): { readonly network: string; readonly packets: readonly LoggedPacket[] }[] {
    const waiting = new Set(PacketLog.waiting([...this.#logs.values()]));
    if (waiting.size === 0) return [];
    const each = Math.max(1, Math.floor(MOST_AT_ONCE / waiting.size));
    return [...this.#logs]
      .filter(([, log]) => waiting.has(log))
      .map(([network, log]) => {
        const { packets, lost } = log.read();
        this.#left += Math.max(0, packets.length - each) + (lost ? 1 : 0);
        return { network, packets: packets.slice(0, each) };
      });
  }

  /** Packets that were left out so far, since too many came at once. */
  get left(): number {
    return this.#left;
  }

  [Symbol.dispose](): void {
    for (const log of this.#logs.values()) log[Symbol.dispose]();
  }
}

/** In one turn, of all networks together: each is a line of the agent's log, written by the thread that answers ADD. */
const MOST_AT_ONCE = 500;

/** Another program may have the group there, or no file may be left: then drops are only counted. */
function tryOpen(netns: string | undefined): PacketLog | undefined {
  try {
    return openPacketLog(LOG_GROUP, netns);
  } catch {
    return undefined;
  }
}
