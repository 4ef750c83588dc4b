import type { ApiServers, NodeItem, ServiceItem } from '../../api/nodeconfig.ts';
import { probeSource } from '../../core/nodes/addresses.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { frontendKey, type NatPort } from '../../lib/servicenat/service-chains.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { element, type Fragment } from './fragment.ts';
import { addrType, ipWord, OVERLAY_DEV } from './names.ts';

/** Sets of an instance: as who the API server comes in, and what it may reach by name. */
export const apiServerSets = (family: 4 | 6): NftObject[] => [
  { kind: 'set', name: `api${family}`, type: addrType(family) },
  { kind: 'set', name: `registered${family}`, type: `${addrType(family)} . inet_proto . inet_service` },
];

/** Addresses of the API servers in the gate. This node's own is its probe source, which passes anyway. */
export function planApiServers(
  self: Pick<NodeItem, 'name'>,
  nodes: Iterable<NodeItem>,
  { nodes: hosts, addresses }: ApiServers,
): Fragment {
  return {
    nft: apiServerSources(self, nodes, { nodes: hosts, addresses }).map((a) => element(`api${familyOf(a)}`, a)),
  };
}

/** As who the API servers of other hosts come in. */
export function apiServerSources(
  self: Pick<NodeItem, 'name'>,
  nodes: Iterable<NodeItem>,
  { nodes: hosts, addresses }: ApiServers,
): string[] {
  const names = new Set(hosts);
  const others = [...nodes].filter((n) => names.has(n.name) && n.name !== self.name);
  return [...others.flatMap((n) => n.podCIDRs.map(probeSource)), ...addresses];
}

/** Backends that the API server calls by itself. */
export function planRegistered({ ports }: Pick<ServiceItem, 'ports'>): Fragment {
  const nft = ports
    .filter((p) => p.registered)
    .flatMap(({ protocol, backends }) =>
      backends.map((b) =>
        element(
          `registered${familyOf(b.ip)}`,
          frontendKey(b.ip, protocol.toLowerCase() as NatPort['protocol'], b.port),
        ),
      ),
    );
  return { nft };
}

/**
 * On a host of the API server: its own processes come to pods of all nodes from the probe source. What the node masquerades comes
 * from its `.0` address, so a node port of this host is no way to pass for the API server. In front of kube-proxy's masquerade,
 * since the first translation of a connection stays.
 */
export function planOwnProcesses(self: NodeItem): Fragment {
  const rules = self.podCIDRs.map((cidr) => {
    const family = familyOf(cidr);
    const ip = ipWord(family);
    return `oifname { "${OVERLAY_DEV}", "bhu*" } ${ip} daddr @pods${family} fib saddr type local snat ${ip} to ${probeSource(cidr)}`;
  });
  return {
    nft: [
      {
        kind: 'chain',
        name: 'own_processes',
        hook: { type: 'nat', hook: 'postrouting', priority: 'srcnat - 10', policy: 'accept' },
        rules,
      },
    ],
  };
}
