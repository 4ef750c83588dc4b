/**
 * Between two steps others may have their turn. `write`: what has been set so far may go into the kernel, since nothing leads to it.
 * `switch`: all that was set since the last write goes into the kernel in one transaction, with the pods that have other chains now.
 */
export type Step = 'breath' | 'write' | 'switch';

/** A change of one element. `before`: the value that it has, when it has one. */
export type SetElement = (set: string, key: string, value: string | undefined, before?: string) => void;

/** Elements of one step, each some ten microseconds. */
const WORK_AT_ONCE = 256;

/** Says when an update has done enough for one step. */
export class Pace {
  readonly #atOnce: number;
  /** Since the last step. */
  #work = 0;

  constructor(atOnce = WORK_AT_ONCE) {
    this.#atOnce = atOnce;
  }

  /** Whether it is time for a step. */
  hasDone(work: number): boolean {
    this.#work += work;
    if (this.#work < this.#atOnce) return false;
    this.#work = 0;
    return true;
  }
}
