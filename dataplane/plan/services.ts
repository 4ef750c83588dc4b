import type { Frontend, Protocol, ServiceItem } from '../../api/nodeconfig.ts';
import { familyOf } from '../../lib/ip/address.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { frontendKey, type NatPort, serviceChain, serviceChains } from '../../lib/servicenat/service-chains.ts';
import { element, type Fragment } from './fragment.ts';
import { ALLOWED_MARK, ipWord } from './names.ts';

/** How a Service is reached from an instance: as one of its own, by the allow list, or as a router opens it. */
export type ServiceReach = 'own' | 'allowed' | ((protocol: Protocol, ip: string, port: number) => boolean);

/**
 * A Service in an instance's own service map. One of another network marks its connections, and only these pass the gate:
 * dialling a backend directly does not.
 */
export function planService(
  service: ServiceItem,
  { node, reach }: { readonly node: string; readonly reach: ServiceReach },
): Fragment {
  const usable = (protocol: Protocol, b: { readonly ip: string; readonly port: number; readonly node: string }) =>
    (service.internalTrafficPolicy === 'Cluster' || b.node === node) &&
    (typeof reach === 'string' || reach(protocol, b.ip, b.port));
  const nft: NftObject[] = [];
  // Outer addresses are short-cut for the network's own pods, as kube-proxy does; others use them as anybody outside.
  const fronts = [
    ...service.clusterIPs.map((ip): Frontend => ({ ip })),
    ...(reach === 'own' ? (service.frontends ?? []) : []),
  ];
  for (const port of service.ports) {
    const protocol = port.protocol.toLowerCase() as NatPort['protocol'];
    for (const { ip, sources } of fronts) {
      const family = familyOf(ip);
      const backends = port.backends
        .filter((b) => familyOf(b.ip) === family && usable(port.protocol, b))
        .map(({ ip: address, port: p }) => ({ ip: address, port: p }));
      const nat: NatPort = {
        id: `${service.namespace}/${service.name}/${protocol}/${port.port}`,
        family,
        protocol,
        backends,
        ...(service.affinitySeconds === undefined ? {} : { affinitySeconds: service.affinitySeconds }),
        ...(reach === 'own' ? {} : { before: [`ct mark set ${ALLOWED_MARK}`] }),
      };
      const chains = serviceChains(nat);
      if (chains.length === 0) continue; // the gate rejects the address itself
      const restricted = sources ? restrictedChain(nat, ip, sources) : undefined;
      nft.push(
        ...chains,
        ...(restricted ? [restricted] : []),
        element(`svc${family}`, frontendKey(ip, protocol, port.port), `goto ${restricted?.name ?? serviceChain(nat)}`),
      );
    }
    if (reach !== 'own') continue;
    nft.push(...frontends('backend', port));
    if (service.exposed) nft.push(...frontends('exposed', port));
  }
  return { nft };
}

/** In front of a Service's chain: only some sources pass (spec.loadBalancerSourceRanges); others are dropped, as kube-proxy does. */
function restrictedChain(nat: NatPort, ip: string, sources: readonly string[]): NftObject & { kind: 'chain' } {
  const mine = sources.filter((s) => familyOf(s) === nat.family);
  const allowed =
    mine.length > 0 ? [`${ipWord(nat.family)} saddr { ${mine.join(', ')} } goto ${serviceChain(nat)}`] : [];
  return { kind: 'chain', name: `lb${nat.family}/${nat.id}/${ip.replaceAll(':', '_')}`, rules: [...allowed, 'drop'] };
}

/** Backends of an allow-listed Service that may be the node itself: the API server, as a rule. */
export function planHostBackends(service: ServiceItem): Fragment {
  return { nft: service.ports.flatMap((port) => frontends('hostbackend', port)) };
}

function frontends(set: string, port: ServiceItem['ports'][number]): NftObject[] {
  return port.backends.map((b) =>
    element(`${set}${familyOf(b.ip)}`, frontendKey(b.ip, port.protocol.toLowerCase() as NatPort['protocol'], b.port)),
  );
}
