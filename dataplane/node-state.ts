import type { NodeProblem } from '../api/report.ts';
import { multusIsThere, otherNetwork } from './cniserver/conflist.ts';
import type { Lack } from './probe/features.ts';

/** What this agent knows to be wrong with its node, and what it still waits for. */
export class NodeState {
  readonly #lacks: readonly Lack[];
  readonly #cniConfDir: string;
  /** What must come before the first ADD; undefined when all is there. */
  waitsFor: string | undefined = 'starting';
  /** Why the last good configuration could not be kept on disk. */
  notSaved: Error | undefined;
  /** What stands on addresses that the node had before. */
  renumbered: readonly NodeProblem[] = [];

  constructor(lacks: readonly Lack[], cniConfDir: string) {
    this.#lacks = lacks;
    this.#cniConfDir = cniConfDir;
  }

  /** Required features that are missing: with one of them no pod can be attached. */
  get blocked(): string | undefined {
    const required = this.#lacks.filter((l) => l.required);
    return required.length === 0 ? undefined : required.map((l) => `${l.feature}: ${l.message}`).join('; ');
  }

  get serving(): boolean {
    return this.waitsFor === undefined && this.blocked === undefined;
  }

  /** For /readyz. */
  missing(): string | undefined {
    return this.blocked ?? this.waitsFor;
  }

  problems(): NodeProblem[] {
    const found: NodeProblem[] = this.#lacks.map(({ feature, required, message }) => ({
      reason: 'KernelFeatureMissing',
      message: `${feature}: ${message}`,
      blocking: required,
    }));
    const other = otherNetwork(this.#cniConfDir);
    if (other !== undefined && !multusIsThere(this.#cniConfDir)) {
      found.push({
        reason: 'OtherNetworkConfigured',
        message: `${this.#cniConfDir}/${other} comes before Bulkhead's configuration, so the runtime gives new pods another network; remove that file if Bulkhead is to serve this node`,
        blocking: false,
      });
    }
    if (this.notSaved) {
      found.push({
        reason: 'StateNotWritable',
        message: `the last good configuration cannot be kept (${this.notSaved.message}); after a reboot this node waits for the controller before it attaches pods. Make room`,
        blocking: false,
      });
    }
    return [...found, ...this.renumbered];
  }
}
