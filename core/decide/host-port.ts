import { familyOf } from '../../lib/ip/address.ts';
import type { Pod } from '../cluster/state.ts';
import { networkOf, type View } from '../view/view.ts';
import type { Target } from './decision.ts';

/** Where a host port of a node leads. */
export type HostPort = { readonly pod: Pod; readonly ip: string; readonly port: number };

/** The pod that has a port of a node for its own; the youngest of those that want the same. */
export function hostPortAt(view: View, node: string, { address, port, protocol }: Target): HostPort | undefined {
  let found: HostPort | undefined;
  for (const pod of view.podsByNode.get(node) ?? []) {
    const own = pod.ports.find(
      (p) => p.hostPort === port && p.protocol === protocol && (p.hostIP ?? address) === address,
    );
    const ip = own && pod.ips.find((i) => familyOf(i) === familyOf(address));
    if (own && ip !== undefined && networkOf(view, pod) !== undefined && (found?.pod.created ?? -1) <= pod.created)
      found = { pod, ip, port: own.port };
  }
  return found;
}
