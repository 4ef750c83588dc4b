import { FLAT_NETWORK } from '../../api/names.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { networkOf, type View } from './view.ts';

/** Addresses of the flat pods of a namespace, one by one, sorted. */
export function flatSources(view: View, namespace: string): readonly string[] {
  const known = byView.get(view) ?? workOut(view);
  byView.set(view, known);
  return known.get(namespace) ?? [];
}

const byView = new WeakMap<View, ReadonlyMap<string, readonly string[]>>();

function workOut(view: View): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const pod of view.state.pods.values()) {
    if (networkOf(view, pod) !== FLAT_NETWORK) continue;
    const list = found.get(pod.namespace);
    if (list) list.push(...pod.ips.map(hostCidr));
    else found.set(pod.namespace, pod.ips.map(hostCidr));
  }
  for (const list of found.values()) list.sort();
  return found;
}
