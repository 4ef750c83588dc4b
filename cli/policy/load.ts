import { Option } from 'commander';
import { stateOfManifests } from '../../core/view/from-manifests.ts';
import { type View, viewOf } from '../../core/view/view.ts';
import { policyKey } from '../../core/cluster/policy.ts';
import { type Manifest, readManifests } from '../../lib/manifests/read.ts';
import { printable } from '../../lib/text/printable.ts';
import { chooseTarget, type TargetFlags } from '../target/choose.ts';
import type { PlaceOf } from './places.ts';
import { loadState } from '../cluster/state.ts';
import { UsageError, warn } from '../terminal/output.ts';

/** What manifests describe, or a cluster. Problems of policies are told, and what they mean is taken as the agents take it. */
export async function loadView(
  files: readonly string[] | undefined,
  flags: TargetFlags,
  { quiet = false }: { readonly quiet?: boolean } = {},
): Promise<View> {
  if (!files) {
    await using target = chooseTarget(flags);
    return viewOf(await loadState(target));
  }
  if (flags.name !== undefined || flags.kubeconfig !== undefined || flags.context !== undefined)
    throw new UsageError('-f asks manifests alone: leave --name, --kubeconfig and --context out');
  const state = stateOfManifests(files.flatMap(readManifests));
  for (const policy of quiet ? [] : (state.policies?.values() ?? []))
    for (const problem of policy.problems) warn(`warning: ${policyKey(policy)}: ${printable(problem)}`);
  const view = viewOf(state);
  for (const refused of quiet ? [] : [view.state.conflicts, view.state.limited])
    for (const [key, { reason, message }] of refused ?? [])
      warn(`warning: VirtualNetwork ${key}: ${reason}: ${printable(message)}`);
  return view;
}

/** What `policy lint` looks at: the view, and what of the input it does not hold. */
export type LintInput = {
  readonly view: View;
  /** The objects of manifests, all of them. */
  readonly others: readonly Manifest[];
  /** A cluster: what is not there does not exist. */
  readonly complete: boolean;
  readonly placeOf: PlaceOf;
};

export async function loadInput(files: readonly string[] | undefined, flags: TargetFlags): Promise<LintInput> {
  const view = await loadView(files, flags, { quiet: true });
  return { view, others: files?.flatMap(readManifests) ?? [], complete: files === undefined, placeOf: () => undefined };
}

/** `-f`, as often as there are files and folders. */
export const manifestsOption = (): Option =>
  new Option(
    '-f, --filename <path>',
    'read manifests from this file or folder instead of a cluster; may be repeated',
  ).argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
