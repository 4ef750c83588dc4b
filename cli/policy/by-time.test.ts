import fc from 'fast-check';
import { expect, test } from 'vitest';
import { byTime } from './by-time.ts';

async function* from<T>(items: readonly T[], pauseAt = -1): AsyncGenerator<T> {
  for (const [i, item] of items.entries()) {
    if (i === pauseAt) await new Promise((resolve) => setTimeout(resolve, 30));
    yield item;
  }
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of source) found.push(item);
  return found;
}

const times = fc.array(fc.nat(1_000).map((time) => ({ time })));
const sorted = (items: readonly { time: number }[]) => [...items].sort((a, b) => a.time - b.time);

test('node after node comes out as one order of time', async () => {
  await fc.assert(
    fc.asyncProperty(times, async (items) => {
      expect(await all(byTime(from(items)))).toEqual(sorted(items));
    }),
  );
});

test('followed: what overtakes within the window is put in order, and nothing is lost or kept back', async () => {
  await fc.assert(
    fc.asyncProperty(times, fc.nat(20), async (items, jitter) => {
      const arriving = [...items].sort((a, b) => a.time - b.time);
      for (let i = 0; i + 1 < arriving.length; i += 2 + jitter) arriving.splice(i, 2, arriving[i + 1]!, arriving[i]!);
      const late = arriving.every((x, i) => i === 0 || x.time >= arriving[i - 1]!.time - 5_000);
      const found = await all(byTime(from(arriving), 5_000));
      expect(found).toHaveLength(items.length);
      if (late) expect(found).toEqual(sorted(items));
    }),
    { numRuns: 50 },
  );
});

test('followed: a line does not wait for the next one', async () => {
  const stream = byTime(from([{ time: 2 }, { time: 1 }, { time: 3 }], 2), 5);
  expect([(await stream.next()).value, (await stream.next()).value]).toEqual([{ time: 1 }, { time: 2 }]);
  expect((await stream.next()).value).toEqual({ time: 3 });
});
