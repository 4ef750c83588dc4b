/** Adds a value to the set of its key; the first one makes the set. */
export function addTo<K, T>(map: Map<K, Set<T>>, key: K, value: T): void {
  const set = map.get(key) ?? new Set();
  map.set(key, set.add(value));
}

/** Takes a value out of the set of its key; the last one takes the set with it. */
export function removeFrom<K, T>(map: Map<K, Set<T>>, key: K, value: T): void {
  const set = map.get(key);
  set?.delete(value);
  if (set?.size === 0) map.delete(key);
}
