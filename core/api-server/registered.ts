import type { ClusterState } from '../cluster/state.ts';

/** Ports of each Service that the API server calls, by "namespace/name". */
export function registeredPorts({ called }: Pick<ClusterState, 'called'>): ReadonlyMap<string, ReadonlySet<number>> {
  const ports = new Map<string, Set<number>>();
  for (const { namespace, name, port } of [...(called?.values() ?? [])].flat()) {
    const key = `${namespace}/${name}`;
    const known = ports.get(key);
    if (known) known.add(port);
    else ports.set(key, new Set([port]));
  }
  return ports;
}
