import { FLAT_NETWORK } from '../../api/names.ts';
import type { VirtualNetworkSpec } from '../../api/kinds/virtual-network.ts';
import { keyOf, type Service } from '../cluster/state.ts';
import { serviceNetwork, type View } from '../view/view.ts';

/**
 * Services of the flat network that a network's pods may reach without a router. Only what lives in the flat network can be
 * allowed so: another tenant's Service needs that tenant's consent.
 */
export function allowedServices(view: View, { services }: Pick<VirtualNetworkSpec, 'services'>): Service[] {
  if (services.access === 'DefaultNetwork') return [...(view.servicesByNetwork.get(FLAT_NETWORK) ?? [])];
  return services.allow.flatMap((ref) => {
    const service = view.state.services.get(keyOf(ref));
    return service && serviceNetwork(view, ref) === FLAT_NETWORK ? [service] : [];
  });
}

/** Whether one Service is among them. */
export function isAllowed(
  view: View,
  spec: Pick<VirtualNetworkSpec, 'services'> | undefined,
  service: Service,
): boolean {
  if (!spec || serviceNetwork(view, service) !== FLAT_NETWORK) return false;
  return spec.services.access === 'DefaultNetwork' || spec.services.allow.some((ref) => keyOf(ref) === keyOf(service));
}
