import { BUDGETS, overBudget } from '../../api/budgets.ts';
import { IPS, MAC, NETWORK, NETWORK_STATUS, NETWORKS, OPEN_PORTS, OPEN_TO, ROUTERS } from '../../api/names.ts';
import type { Strings } from '../cluster/state.ts';

/** Why an annotation is too long to be read; undefined when none of these is. */
export function annotationOverBudget(annotations: Strings, ...keys: readonly string[]): string | undefined {
  for (const key of keys) {
    const over = overBudget('annotationLength', annotations[key]?.length ?? 0, 'characters');
    if (over !== undefined) return `annotation ${key} ${over}`;
  }
  return undefined;
}

/** Annotations that are read at all. */
const READ = [
  ...[NETWORK, IPS, MAC].flatMap((n) => [n.key, ...n.aliases]),
  OPEN_PORTS,
  OPEN_TO,
  NETWORKS,
  NETWORK_STATUS,
  ROUTERS,
];

/**
 * The annotations that are read, and of each no more than tells that it is too long: a cluster has many pods, and all annotations of
 * one may have 256 kB.
 */
export function ownAnnotations(annotations: Strings): Strings {
  return Object.fromEntries(
    READ.flatMap((key) => {
      const value = annotations[key];
      if (value === undefined) return [];
      const most = key === NETWORK_STATUS ? BUDGETS.networkStatusLength : BUDGETS.annotationLength;
      return [[key, value.length > most ? value.slice(0, most + 1) : value]];
    }),
  );
}
