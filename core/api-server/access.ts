import { API_SERVER_ACCESS, type ApiServerAccess } from '../../api/nodeconfig.ts';
import type { ClusterState, Network } from '../cluster/state.ts';

/**
 * What the API server may reach on a network: the narrower of what the cluster and the network say. The administrator's switch is
 * a ceiling, and the owner of a network may close it further.
 */
export function apiServerAccess(
  { settings }: Pick<ClusterState, 'settings'>,
  { spec }: Pick<Network, 'spec'>,
): ApiServerAccess {
  const asked = [settings?.apiServerAccess ?? 'All', spec?.apiServerAccess ?? 'All'];
  return API_SERVER_ACCESS.find((access) => asked.includes(access)) ?? 'None';
}
