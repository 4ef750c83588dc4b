import { FLAT_NETWORK } from '../../api/names.ts';
import type { NetworkItem, ServiceItem } from '../../api/nodeconfig.ts';
import { allowedBy } from '../follow/config-index.ts';
import type { ConfigStore } from '../follow/config-store.ts';
import { peerAdmits } from '../plan/peers.ts';
import type { ServiceReach } from '../plan/services.ts';

/** A Service in a network's own map, and by which right it is there. */
export type Reached = {
  readonly service: ServiceItem;
  readonly reach: ServiceReach;
  /** What the plan of it depends on. */
  readonly deps: readonly unknown[];
};

/** Services that a network reaches: its own, those of its allow list, those that routers open. */
export function reachedServices({ config, index }: ConfigStore, { key, allow, closed }: NetworkItem): Reached[] {
  const reached = (index.services.get(key) ?? []).map(
    (service): Reached => ({ service, reach: 'own', deps: [service] }),
  );
  for (const name of allowedBy(allow)) {
    const service = config.service.get(name);
    if (service?.network === FLAT_NETWORK && key !== FLAT_NETWORK)
      reached.push({ service, reach: 'allowed', deps: [service, 'allowed'] });
  }
  for (const peer of closed ? [] : (index.peers.get(key) ?? []))
    for (const name of peer.services) {
      const service = config.service.get(name);
      if (service?.network !== peer.other || (service.network === FLAT_NETWORK && allowedBy(allow).has(name))) continue;
      reached.push({ service, reach: peerAdmits(peer, service), deps: [service, peer] });
    }
  return reached;
}

/** Services of the flat network that some network here is allowed. */
export function allowedServices({ config }: ConfigStore): ServiceItem[] {
  const keys = new Set([...config.network.values()].flatMap((n) => n.allow));
  return [...keys].flatMap((k) => config.service.get(k) ?? []).filter((s) => s.network === FLAT_NETWORK);
}
