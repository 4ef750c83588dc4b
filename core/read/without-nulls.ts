/** Maps whose values are strings, and lists of strings: where they have null, Kubernetes' built-in kinds have "". */
const STRING_MAPS = new Set(['matchLabels', 'labels', 'annotations', 'nodeSelector', 'selector']);
const STRING_LISTS = new Set(['values', 'policyTypes', 'except']);

/** No field that is read lies deeper. What does is left as it is. */
const DEEPEST = 100;

/**
 * A value as the API server takes it: a field that is null is one that is absent. An entry of a list or of a map of strings that is
 * null stays, as the empty value of its type, in built-in kinds; custom resources refuse the one, and lose the other.
 *
 * The same value comes back where there is nothing to leave out.
 */
export function withoutNulls<T>(value: T, { builtIn = false }: { readonly builtIn?: boolean } = {}): T {
  return cleaned(value, '', builtIn, 0) as T;
}

function cleaned(value: unknown, field: string, builtIn: boolean, depth: number): unknown {
  if (typeof value !== 'object' || value === null || depth > DEEPEST) return value;
  if (Array.isArray(value)) {
    const items = value as readonly unknown[];
    const empty = STRING_LISTS.has(field) ? '' : {};
    const kept = items.map((item) => (item === null && builtIn ? empty : cleaned(item, field, builtIn, depth + 1)));
    return kept.every((item, i) => item === items[i]) ? value : kept;
  }
  const entries = Object.entries(value);
  const kept = entries.flatMap(([key, inner]): [string, unknown][] => {
    if (inner === null) return builtIn && STRING_MAPS.has(field) ? [[key, '']] : [];
    return [[key, cleaned(inner, key, builtIn, depth + 1)]];
  });
  const same = kept.length === entries.length && kept.every(([, inner], i) => inner === entries[i]?.[1]);
  return same ? value : Object.fromEntries(kept);
}
