import { Runner, type RunnerOptions } from './runner.ts';

/** When one loop of a program runs; see {@link RunnerOptions}. */
export type Loop = Omit<RunnerOptions, 'clock' | 'onError'> & {
  /** What could not be done when it fails, for the log. */
  readonly what: string;
  /** How a failure is logged: many repeat what others say already. */
  readonly log: 'debug' | 'warn' | 'error';
};

export type LoopsOptions<Name extends string> = {
  /** Gets a failure; the same one once, until the work has succeeded. */
  readonly onTrouble: (loop: Loop, error: unknown) => void;
  /** In place of the table's. */
  readonly maxIntervalMs?: { readonly [K in Name]?: () => number };
};

/** The loops of a program: a table of when each runs, and the work of each. None runs before it is started. */
export class Loops<Name extends string> implements AsyncDisposable {
  readonly #runners: ReadonlyMap<Name, Runner>;

  constructor(
    table: Readonly<Record<Name, Loop>>,
    work: Readonly<Record<Name, () => Promise<void> | void>>,
    options: LoopsOptions<Name>,
  ) {
    const names = Object.keys(table) as Name[];
    this.#runners = new Map(names.map((name) => [name, runnerOf(table[name], work[name], options, name)]));
  }

  /** From now on these run, first of all at once. */
  start(...names: readonly Name[]): this {
    for (const name of names) this.#runners.get(name)?.start().request();
    return this;
  }

  /** Asks for a run, soon; of a loop that is not started yet: when it is. */
  request(name: Name): void {
    this.#runners.get(name)?.request();
  }

  /** Ends all, the last of the table first, each when its present run is through. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const runner of [...this.#runners.values()].toReversed()) await runner[Symbol.asyncDispose]();
  }
}

function runnerOf<Name extends string>(
  loop: Loop,
  work: () => Promise<void> | void,
  { onTrouble, maxIntervalMs }: LoopsOptions<Name>,
  name: Name,
): Runner {
  const { what: _, log: __, ...options } = loop;
  const interval = maxIntervalMs?.[name];
  let told = '';
  return new Runner(
    async () => {
      await work();
      told = '';
    },
    {
      ...options,
      ...(interval ? { maxIntervalMs: interval } : {}),
      onError: (error) => {
        if (String(error) !== told) onTrouble(loop, error);
        told = String(error);
      },
    },
  );
}
