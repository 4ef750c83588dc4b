import { connectAll, type Outcome } from '../../lib/connect/connect.ts';
import type { PodAttempt } from './target.ts';

/** Tries connections from pods whose namespaces are at hand (uid → path), in the order asked. Undefined: no such pod here. */
export async function connectFromPods(
  attempts: readonly PodAttempt[],
  netns: ReadonlyMap<string, string>,
  onProgress?: (done: number) => void,
): Promise<(Outcome | undefined)[]> {
  const known = attempts.flatMap(({ pod, ...attempt }, index) => {
    const path = netns.get(pod.uid);
    return path === undefined ? [] : [{ index, attempt: { ...attempt, netns: path } }];
  });
  const outcomes = await connectAll(
    known.map((k) => k.attempt),
    onProgress,
  );
  const all = attempts.map((): Outcome | undefined => undefined);
  for (const [i, { index }] of known.entries()) all[index] = outcomes[i];
  return all;
}
