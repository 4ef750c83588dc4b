import { apiServerHosts } from '../../core/api-server/hosts.ts';
import type { View } from '../../core/view/view.ts';

const known = new WeakMap<View, ReadonlySet<string>>();

/** Whether the API server calls from this address: one behind the Service `default/kubernetes`, or of a node that has one of them. */
export function isApiServer(view: View, address: string): boolean {
  let addresses = known.get(view);
  if (!addresses) {
    const hosts = apiServerHosts(view.state);
    addresses = new Set([
      ...hosts.addresses,
      ...hosts.nodes.flatMap((name) => view.state.nodes.get(name)?.addresses ?? []),
    ]);
    known.set(view, addresses);
  }
  return addresses.has(address);
}
