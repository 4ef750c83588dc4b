import fc from 'fast-check';

/** `ATTACKS=long` runs everything that can be generated. */
export const LONG: boolean = process.env['ATTACKS'] === 'long';

/** Which part of it a short run takes; `ATTACKS_SEED` repeats one. */
export const SEED: number = Number(process.env['ATTACKS_SEED'] ?? Date.now() % 1_000_000);

/** So many of all, in their order, by the seed; all of them in a long run. */
export function sampled<T>(all: readonly T[], most: number): T[] {
  if (LONG || all.length <= most) return [...all];
  const [some = []] = fc.sample(fc.shuffledSubarray([...all.keys()], { minLength: most, maxLength: most }), {
    seed: SEED,
    numRuns: 1,
  });
  return some.sort((a, b) => a - b).flatMap((i) => all[i] ?? []);
}
