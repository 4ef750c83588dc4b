import { keyOf, type Pod } from '../cluster/state.ts';
import type { View } from '../view/view.ts';
import { END_FORMS, type EndPlace } from './end-text.ts';

/**
 * The pod that a place names: by its whole name; by its workload; else the first whose name begins so, as "shop-a/web" means a pod
 * of Deployment web. `notes` says what was taken, and what else it could have been.
 */
export function podFor(
  view: View,
  text: string,
  place: EndPlace,
  { problems, notes }: { readonly problems: string[]; readonly notes: string[] },
): Pod | undefined {
  if (!('namespace' in place)) return undefined;
  const { namespace, name } = place;
  if (place.kind !== 'Workload') {
    const exact = view.state.pods.get(keyOf(place));
    if (exact) return exact;
  }
  const mine = [...view.state.pods.values()].filter((p) => p.namespace === namespace);
  const found = runningFirst(
    place.kind === 'Workload' ? ofWorkload(mine, place.workload, name) : beginning(mine, name),
  );
  const [first] = found;
  if (!first) {
    problems.push(`${text}: ${unknown(view, place)}`);
    return undefined;
  }
  const others = found.slice(1).map(keyOf);
  if (others.length > 0) {
    const some = others.slice(0, 3).join(', ');
    notes.push(
      `${text} is taken as pod ${keyOf(first)}, the first of ${found.length}; the others: ${some}${others.length > 3 ? ', …' : ''}`,
    );
  } else if (first.name !== name) notes.push(`${text} is taken as pod ${keyOf(first)}`);
  return first;
}

/** Pods that a workload made. A pod that manifests describe has its workload's name. */
function ofWorkload(pods: readonly Pod[], kind: string, name: string): Pod[] {
  const own = pods.filter((p) => p.workload?.name === name && p.workload.kind === kind);
  if (own.length > 0) return own;
  // A ReplicaSet or a Job stands between a pod and its Deployment or CronJob.
  if (kind === 'ReplicaSet' || kind === 'Job') {
    const between = pods.filter((p) => p.name.startsWith(`${name}-`) && p.workload !== undefined);
    if (between.length > 0) return between;
  }
  return pods.filter((p) => p.workload === undefined && p.name === name);
}

/** Those of a workload with this name first: "web" means Deployment web before a pod of "web-admin". */
function beginning(pods: readonly Pod[], name: string): Pod[] {
  const own = pods.filter((p) => p.workload?.name === name);
  return own.length > 0 ? own : pods.filter((p) => p.name.startsWith(name));
}

const runningFirst = (pods: readonly Pod[]): Pod[] => {
  const running = pods.filter((p) => !p.finished);
  return (running.length > 0 ? running : [...pods]).sort((a, b) => (a.name < b.name ? -1 : 1));
};

function unknown(view: View, place: EndPlace & { readonly namespace: string; readonly name: string }): string {
  const { namespace, name } = place;
  const what = place.kind === 'Workload' ? `pod of ${place.workload}` : 'pod';
  const there = [...view.state.pods.values()].filter((p) => p.namespace === namespace).map(keyOf);
  const shown = there.sort().slice(0, 5);
  const have =
    shown.length > 0
      ? `; namespace ${namespace} has ${shown.join(', ')}${shown.length < there.length ? ', …' : ''}`
      : `; namespace ${namespace} has no pods`;
  return `there is no ${what} ${namespace}/${name}${have}. Write ${END_FORMS}`;
}
