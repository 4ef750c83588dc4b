/**
 * Puts what several agents log into one order of time.
 *
 * What is there already is read to its end and sorted. What comes later (`windowMs`) is held back that long, since the lines of
 * different nodes overtake each other on their way.
 */
export async function* byTime<T extends { readonly time: number }>(
  records: AsyncIterable<T>,
  windowMs?: number,
): AsyncGenerator<T> {
  const held: T[] = [];
  if (windowMs === undefined) {
    for await (const r of records) held.push(r);
    yield* held.sort(inOrder);
    return;
  }
  const source = records[Symbol.asyncIterator]();
  try {
    let next = source.next();
    for (;;) {
      const timer = Promise.withResolvers<'quiet'>();
      const timeout = setTimeout(() => timer.resolve('quiet'), windowMs);
      const came = await Promise.race([next, ...(held.length > 0 ? [timer.promise] : [])]);
      clearTimeout(timeout);
      if (came !== 'quiet' && came.done !== true) {
        held.push(came.value);
        next = source.next();
        held.sort(inOrder);
        const settled = (held.at(-1)?.time ?? 0) - windowMs;
        yield* held.splice(0, held.filter((r) => r.time < settled).length);
        continue;
      }
      yield* held.splice(0).sort(inOrder);
      if (came !== 'quiet') return;
    }
  } finally {
    await source.return?.();
  }
}

const inOrder = (a: { readonly time: number }, b: { readonly time: number }): number => a.time - b.time;
