import type { Backend, Frontend, Protocol, ServiceItem, ServicePort } from '../../api/nodeconfig.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { endpointsAt, type Place, policyFor } from '../../lib/servicenat/endpoints.ts';
import { frontendKey, type NatPort, serviceChain, serviceChains } from '../../lib/servicenat/service-chains.ts';
import { element, type Fragment } from './fragment.ts';
import { ALLOWED_MARK, FAMILIES, ipWord } from './names.ts';

/** How a Service is reached from an instance: as one of its own, by the allow list, or as a router opens it. */
export type ServiceReach = 'own' | 'allowed' | ((protocol: Protocol, ip: string, port: number) => boolean);

/** Who translates, and for a Service that is reached in which way. */
export type Translation = { readonly place: Place; readonly reach: ServiceReach };

/** What an instance's pods dial: a cluster IP, or an outer address or node port of a Service of their own network. */
export type Dialled = 'ClusterIP' | 'NodePort';

/** The backends of one family that this node chooses from. Clients of an instance are pods of its own node. */
export function backendsHere(
  service: Pick<ServiceItem, 'internalTrafficPolicy'>,
  { protocol, backends }: Pick<ServicePort, 'protocol' | 'backends'>,
  family: 4 | 6,
  dialled: Dialled,
  { place, reach }: Translation,
): Backend[] {
  const policy = policyFor({ ...service, externalTrafficPolicy: 'Cluster' }, dialled, 'inside');
  const mine = backends.filter((b) => familyOf(b.ip) === family);
  const chosen = endpointsAt(mine, policy, place);
  return typeof reach === 'string' ? chosen : chosen.filter((b) => reach(protocol, b.ip, b.port));
}

/**
 * A Service in an instance's own service map. One of another network marks its connections, and only these pass the gate:
 * dialling a backend directly does not.
 *
 * Outer addresses and node ports are short-cut for the network's own pods, as kube-proxy does; others use them as a host outside does.
 */
export const planService = (service: ServiceItem, translation: Translation): Fragment => ({
  nft: service.ports.flatMap((port) => planServicePort(service, port, translation).nft ?? []),
});

/** One of its ports: what means nothing to the others. */
export function planServicePort(service: ServiceItem, port: ServicePort, translation: Translation): Fragment {
  const nft = FAMILIES.flatMap((family) => portObjects(service, port, family, translation));
  if (translation.reach !== 'own') return { nft };
  nft.push(...frontends('backend', port));
  if (service.exposed) nft.push(...frontends('exposed', port));
  return { nft };
}

/** What leads from one port of a Service to its backends. Without a chain the gate rejects the address itself. */
function portObjects(service: ServiceItem, port: ServicePort, family: 4 | 6, translation: Translation): NftObject[] {
  const clusterIPs = service.clusterIPs.filter((ip) => familyOf(ip) === family);
  if (clusterIPs.length === 0) return []; // a family that the Service does not have
  const protocol = port.protocol.toLowerCase() as NatPort['protocol'];
  const inner = natPort(service, port, family, 'ClusterIP', translation);
  const nft: NftObject[] = [...serviceChains(inner)];
  if (inner.backends.length > 0)
    for (const ip of clusterIPs)
      nft.push(element(`svc${family}`, frontendKey(ip, protocol, port.port), `goto ${serviceChain(inner)}`));
  if (translation.reach !== 'own') return nft;

  const outerAddresses = (service.frontends ?? []).filter(({ ip }) => familyOf(ip) === family);
  if (outerAddresses.length === 0 && port.nodePort === undefined) return nft;
  const outer =
    service.internalTrafficPolicy === 'Cluster' ? inner : natPort(service, port, family, 'NodePort', translation);
  if (outer.backends.length === 0) return nft;
  nft.push(...serviceChains(outer));
  for (const { ip, sources } of outerAddresses) {
    const restricted = sources ? restrictedChain(outer, ip, sources) : undefined;
    const target = restricted?.name ?? serviceChain(outer);
    nft.push(
      ...(restricted ? [restricted] : []),
      element(`svc${family}`, frontendKey(ip, protocol, port.port), `goto ${target}`),
    );
  }
  if (port.nodePort !== undefined)
    nft.push(element(`node_port${family}`, `${protocol} . ${port.nodePort}`, `goto ${serviceChain(outer)}`));
  return nft;
}

function natPort(
  service: ServiceItem,
  port: ServicePort,
  family: 4 | 6,
  dialled: Dialled,
  translation: Translation,
): NatPort {
  const protocol = port.protocol.toLowerCase() as NatPort['protocol'];
  return {
    id: `${service.namespace}/${service.name}/${protocol}/${port.port}`,
    ...(dialled === 'ClusterIP' ? {} : { variant: 'outer' }),
    family,
    protocol,
    backends: backendsHere(service, port, family, dialled, translation).map(({ ip, port: p }) => ({ ip, port: p })),
    ...(service.affinitySeconds === undefined ? {} : { affinitySeconds: service.affinitySeconds }),
    ...(translation.reach === 'own' ? {} : { before: [`ct mark set ${ALLOWED_MARK}`] }),
  };
}

/** In front of a Service's chain: only some sources pass (spec.loadBalancerSourceRanges); others are dropped, as kube-proxy does. */
function restrictedChain(
  nat: NatPort,
  ip: string,
  sources: NonNullable<Frontend['sources']>,
): NftObject & { kind: 'chain' } {
  const mine = sources.filter((s) => familyOf(s) === nat.family);
  const allowed =
    mine.length > 0 ? [`${ipWord(nat.family)} saddr { ${mine.join(', ')} } goto ${serviceChain(nat)}`] : [];
  return { kind: 'chain', name: `lb${nat.family}/${nat.id}/${ip.replaceAll(':', '_')}`, rules: [...allowed, 'drop'] };
}

/** Backends of a port of an allow-listed Service that may be the node itself: the API server, as a rule. */
export const planHostBackends = (port: ServicePort): Fragment => ({ nft: frontends('hostbackend', port) });

/** Every backend that any node may choose: which one it is, is not for the receiving node to say. */
function frontends(set: 'backend' | 'exposed' | 'hostbackend', port: ServicePort): NftObject[] {
  return port.backends.map((b) =>
    element(`${set}${familyOf(b.ip)}`, frontendKey(b.ip, port.protocol.toLowerCase() as NatPort['protocol'], b.port)),
  );
}
