import type { PodsSelector } from '../cluster/policy.ts';
import type { LabelSelector } from '../../api/kinds/label-selector.ts';
import { keyOf, type Strings } from '../cluster/state.ts';
import { labelsOfPod } from '../policy/index.ts';
import type { LintCode } from './codes.ts';
import type { Severity } from './codes.ts';
import type { World } from './world.ts';

/** Why a selector means no pod. */
export type Emptiness = { readonly code: LintCode; readonly message: string; readonly severity?: Severity };

/**
 * Tells what is hardly a mistake (pods that come at run time, host-network pods, namespaces that are not in the input) from what
 * hardly is anything else.
 *
 * @param verb what the selector does: "selects", "matches"
 */
export function emptinessOf(world: World, selector: PodsSelector, verb: 'selects' | 'matches'): Emptiness {
  const { namespaces, pods } = world.pods.near(selector);
  if (namespaces.length === 0) return noNamespace(world, selector);
  const like = world.index.labelled(selector);
  const [first] = like;
  const node = like.find((p) => p.hostNetwork && !p.finished);
  if (node)
    return {
      code: 'HostNetwork',
      message: `${verb} only pods of the host's network, such as ${keyOf(node)}: to policies they are their node`,
    };
  if (first) return { code: 'Finished', message: `${verb} only pods that have ended, such as ${keyOf(first)}` };
  const meant = hint(selector.pods, pods.map(labelsOfPod));
  const maker = world.operators.makerOf(selector, meant !== '');
  if (maker !== undefined) return { code: 'MadeAtRunTime', message: `${verb} no pod of the input: ${maker}` };
  if (pods.length === 0) {
    const where = namespaces.length === 1 ? `namespace ${namespaces[0]} has` : `the namespaces that it names have`;
    return { code: 'NoPods', message: `${verb} no pod: ${where} none${world.complete ? '' : ' in the input'}` };
  }
  const elsewhere = !world.complete && meant === '' && reachesFurther(selector);
  return {
    code: verb === 'selects' ? 'SelectsNothing' : 'MatchesNothing',
    message: `${verb} no pod${meant}${elsewhere ? ' of the input' : ''}`,
    ...(elsewhere ? { severity: 'info' } : {}),
  };
}

/** Whether a selector may mean namespaces that the input does not have: one that names its namespace, or is in its own, does not. */
export const reachesFurther = ({ namespace, namespaces }: PodsSelector): boolean =>
  namespace === undefined && namespaces.matchLabels?.[NAME] === undefined;

function noNamespace(world: World, { namespace, namespaces }: PodsSelector): Emptiness {
  if (namespace !== undefined)
    return {
      code: 'NoPods',
      message: `means no pod: namespace ${namespace} has none${world.complete ? '' : ' in the input'}`,
    };
  const name = namespaces.matchLabels?.[NAME];
  const also = hint(namespaces, world.pods.namespaceLabels);
  // Manifests need not have the namespaces of others, and least of all those that are only named.
  const missing = !world.complete && also === '' && (name !== undefined || !knowsKeys(world, namespaces));
  const where = world.complete ? '' : ' of the input';
  return {
    code: 'NoSuchNamespace',
    message: `matches no namespace${where}${name === undefined ? '' : ` (${name})`}${also}`,
    ...(missing ? { severity: 'info' } : {}),
  };
}

/** Namespaces of the input have one of these labels, with other values: the author's namespaces are likely among them. */
function knowsKeys(world: World, { matchLabels = {}, matchExpressions = [] }: LabelSelector): boolean {
  const keys = [...Object.keys(matchLabels), ...matchExpressions.map((e) => e.key)];
  return world.pods.namespaceLabels.some((own) => keys.some((key) => key !== NAME && Object.hasOwn(own, key)));
}

const NAME = 'kubernetes.io/metadata.name';

/** What the author may have meant, when a label is only almost one that there is. */
function hint({ matchLabels = {} }: LabelSelector, all: readonly Strings[]): string {
  const some = all.slice(0, MOST_ASKED);
  for (const [key, value] of Object.entries(matchLabels)) {
    const values = new Set(some.flatMap((own) => own[key] ?? []));
    if (values.has(value)) continue;
    const meant = nearest(value, [...values]);
    if (meant !== undefined) return `; is ${key}: ${meant} meant?`;
    if (values.size > 0) continue;
    const other = nearest(key, [...new Set(some.flatMap((own) => Object.keys(own)))]);
    if (other !== undefined) return `; is label ${other} meant?`;
  }
  return '';
}

const MOST_ASKED = 50;

/** The one that is written almost the same. */
function nearest(text: string, all: readonly string[]): string | undefined {
  const most = Math.min(2, Math.floor(text.length / 3));
  return all.slice(0, MOST_ASKED).find((other) => other !== text && distance(text, other, most) <= most);
}

/** How many letters must be changed, put in, left out or swapped with their neighbour; given up beyond `most`. */
function distance(a: string, b: string, most: number): number {
  if (Math.abs(a.length - b.length) > most || a.length > 63) return most + 1;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next.push(
        Math.min(
          (row[j] as number) + 1,
          (next[j - 1] as number) + 1,
          (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1),
          swapped ? (before[j - 2] as number) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    before = row;
    row = next;
  }
  return row[b.length] as number;
}
