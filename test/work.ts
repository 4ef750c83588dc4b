import { Session } from 'node:inspector/promises';
import { setFlagsFromString } from 'node:v8';

// Optimised code counts only some of its turns, and code that was thrown away has forgotten them.
for (const flag of ['--no-opt', '--no-maglev', '--no-flush-bytecode']) setFlagsFromString(flag);

type Block = { readonly startOffset: number; readonly endOffset: number; readonly count: number };

/**
 * How much a piece of work does: every call of a function and every turn of a loop in the project's own code, as V8 counts them, and
 * every element that built-in functions of arrays and strings look at. The same each time, on any machine.
 */
export async function countWork(work: () => void): Promise<number> {
  const session = new Session();
  session.connect();
  const natives = new Natives();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
    await session.post('Profiler.takePreciseCoverage');
    natives.start();
    work();
    natives.stop();
    const { result } = await session.post('Profiler.takePreciseCoverage');
    let count = natives.count;
    for (const { url, functions } of result)
      if (/\/(core|controller|dataplane|lib|api)\//.test(url) && !url.includes('node_modules'))
        for (const { ranges } of functions) for (const range of ranges as Block[]) count += range.count;
    return count;
  } finally {
    natives.stop();
    await session.post('Profiler.stopPreciseCoverage');
    session.disconnect();
  }
}

/** Built-in functions that look at every element without calling anything of ours. */
const SCANS = [
  'includes',
  'indexOf',
  'lastIndexOf',
  'slice',
  'splice',
  'concat',
  'join',
  'reverse',
  'unshift',
  'shift',
] as const;

class Natives {
  count = 0;
  readonly #restore: (() => void)[] = [];

  start(): void {
    const add = (n: number): void => void (this.count += n);
    for (const name of SCANS) {
      this.#replace(Array.prototype, name, (real) => {
        return function (this: readonly unknown[], ...args: unknown[]) {
          const result: unknown = Reflect.apply(real, this, args);
          add(name === 'slice' ? (result as readonly unknown[]).length : this.length);
          return result;
        };
      });
    }
    // Spreads and loops over what they are given.
    this.#replace(Array.prototype, Symbol.iterator, (real) => {
      return function (this: readonly unknown[]) {
        add(this.length);
        return Reflect.apply(real, this, []) as unknown;
      };
    });
  }

  stop(): void {
    for (const restore of this.#restore.splice(0)) restore();
  }

  #replace(owner: object, name: PropertyKey, wrap: (real: (...args: unknown[]) => unknown) => unknown): void {
    const before = Object.getOwnPropertyDescriptor(owner, name) as PropertyDescriptor;
    Object.defineProperty(owner, name, { ...before, value: wrap(before.value as never) });
    this.#restore.push(() => Object.defineProperty(owner, name, before));
  }
}
