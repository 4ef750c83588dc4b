import { aborted } from '../reconcile/aborted.ts';

/** A part of a program's life. `stay`: no phase comes after it, and the program stays as it is until the signal fires. */
export type Phase = (signal: AbortSignal) => Promise<'stay' | 'go on'>;

/**
 * Goes through the phases of a program, one after the other, and stays in the last until the signal fires. A phase that throws ends
 * the program: the next start goes by what is there.
 *
 * @param stop lets go of everything that was begun, whatever phase that was in
 */
export async function runPhases(
  phases: readonly Phase[],
  { stop, signal }: { readonly stop: () => Promise<void>; readonly signal: AbortSignal },
): Promise<void> {
  try {
    for (const phase of phases) if (signal.aborted || (await phase(signal)) === 'stay') break;
    await aborted(signal);
  } finally {
    await stop();
  }
}
