import { Option } from 'commander';
import { fromManifests, type NotJudged } from '../../core/view/from-manifests.ts';
import type { Raw } from '../../core/read/objects.ts';
import { type View, viewOf } from '../../core/view/view.ts';
import { policyKey } from '../../core/cluster/policy.ts';
import { ManifestError } from '../../lib/manifests/error.ts';
import { gatherManifests, type Located } from '../../lib/manifests/read.ts';
import { printable } from '../../lib/text/printable.ts';
import type { Manifest } from '../../lib/manifests/items.ts';
import { chooseTarget, type TargetFlags } from '../target/choose.ts';
import { foreignPolicies } from './foreign.ts';
import { loadState } from '../cluster/state.ts';
import { UsageError, warn } from '../terminal/output.ts';

/** Flags that say what is looked at: manifests, or a cluster. */
export type InputFlags = TargetFlags & {
  readonly filename?: readonly string[];
  readonly kustomize?: readonly string[];
  readonly namespace?: string;
};

/** What a command looks at. */
export type Input = {
  readonly view: View;
  /** A cluster: what is not there does not exist. */
  readonly complete: boolean;
  /** The objects of manifests as they are written; of a cluster the policies that Bulkhead does not enforce. */
  readonly objects: readonly { readonly object: Manifest }[];
  /** The objects of manifests that count, as they were taken; none of a cluster. */
  readonly taken: readonly Raw[];
  /** Where the policies of manifests stand, by policyKey; nowhere in a cluster. */
  readonly policies: ReadonlyMap<string, Located>;
};

/** Whether manifests are meant, and no cluster. */
export const isOffline = ({ filename, kustomize }: InputFlags): boolean => Boolean(filename ?? kustomize);

/**
 * What manifests describe, or a cluster. What was skipped, translated or not judged is told on standard error, and unless `quiet`
 * the problems of policies and networks too; they mean what the agents take them for.
 */
export async function loadInput(
  flags: InputFlags,
  { quiet = false }: { readonly quiet?: boolean } = {},
): Promise<Input> {
  if (!isOffline(flags)) {
    await using target = chooseTarget(flags);
    const [state, foreign] = await Promise.all([loadState(target), foreignPolicies(target)]);
    if (foreign.problem !== undefined) warn(`warning: ${printable(foreign.problem)}`);
    const objects = foreign.objects.map((object) => ({ object }));
    return { view: viewOf(state), complete: true, objects, taken: [], policies: new Map() };
  }
  const { filename = [], kustomize = [], namespace } = flags;
  if (flags.name !== undefined || flags.kubeconfig !== undefined || flags.context !== undefined)
    throw new UsageError('-f and -k ask manifests alone: leave --name, --kubeconfig and --context out');
  const { objects, skipped, warnings } = await gatherManifests(filename, { kustomize });
  const read = fromManifests(objects, namespace === undefined ? {} : { namespace });
  if (read.problems.length > 0) throw new ManifestError(read.problems);
  const view = viewOf(read.state);
  for (const text of [...warnings, ...read.notes]) warn(`warning: ${printable(text)}`);
  if (skipped.length > 0)
    warn(`skipped ${counted(skipped.length, 'file')} that ${are(skipped)} no manifest: ${some(skipped)}`);
  if (read.notJudged.length > 0) warn(notJudgedLine(read.notJudged));
  if (!quiet) warnOfProblems(view);
  return { view, complete: false, objects, taken: read.taken, policies: read.policies };
}

/** "not judged: 2 CiliumNetworkPolicy (cilium.io/v2), 1 NetworkPolicy (projectcalico.org/v3)" */
export const notJudgedLine = (all: readonly NotJudged[]): string =>
  `not judged, as Bulkhead does not enforce them: ${all
    .map(({ apiVersion, kind, places }) => printable(`${places.length} ${kind} (${apiVersion})`))
    .join(', ')}`;

function warnOfProblems({ state }: View): void {
  for (const policy of state.policies?.values() ?? [])
    for (const problem of policy.problems) warn(`warning: ${policyKey(policy)}: ${printable(problem)}`);
  for (const refused of [state.conflicts, state.limited])
    for (const [key, { reason, message }] of refused ?? [])
      warn(`warning: VirtualNetwork ${key}: ${reason}: ${printable(message)}`);
}

const counted = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;
const are = (all: readonly unknown[]): string => (all.length === 1 ? 'is' : 'are');
const some = (names: readonly string[]): string =>
  `${names.slice(0, 5).map(printable).join(', ')}${names.length > 5 ? ', …' : ''}`;

const repeated = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

/** `-f`, as often as there are files and folders. */
export const manifestsOption = (): Option =>
  new Option(
    '-f, --filename <path>',
    'read manifests from this file, folder or - (standard input) instead of a cluster; may be repeated',
  ).argParser(repeated);

/** `-k`, for folders that kustomize builds. */
export const kustomizeOption = (): Option =>
  new Option(
    '-k, --kustomize <folder>',
    'read what the kustomization of this folder builds; may be repeated',
  ).argParser(repeated);

/** `-n`, of commands that use it for nothing else. */
export const namespaceOption = (): Option =>
  new Option('-n, --namespace <name>', 'namespace of manifests without one').default(undefined, 'default');
