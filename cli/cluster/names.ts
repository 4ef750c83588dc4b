import type { Pod } from '../../core/cluster/state.ts';
import { podAsked } from '../../core/decide/ends.ts';
import type { View } from '../../core/view/view.ts';
import { warn } from '../terminal/output.ts';

/** The pod that a text means, as in every question. What was taken for what is said. */
export function podNamed(view: View, text: string): Pod {
  const { pod, notes } = podAsked(view, text);
  for (const note of notes) warn(note);
  return pod;
}
