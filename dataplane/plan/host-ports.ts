import type { PortMapping } from '../../api/cni.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { frontendKey } from '../../lib/servicenat/service-chains.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { addrType, FAMILIES, ipWord } from './names.ts';
import { element, type Fragment } from './fragment.ts';

/**
 * Ports of the node that lead to pods (`hostPort`), without iptables: two maps of each family in the root's table, by address
 * and port, and by port alone. IPv4 loopback works, as with the reference plugin; IPv6 has no way to route ::1.
 */
export const HOST_PORT_OBJECTS: readonly NftObject[] = [
  ...FAMILIES.flatMap((f): NftObject[] => [
    {
      kind: 'set',
      name: `hostip${f}`,
      type: `${addrType(f)} . inet_proto . inet_service`,
      to: `${addrType(f)} . inet_service`,
    },
    { kind: 'set', name: `hostport${f}`, type: 'inet_proto . inet_service', to: `${addrType(f)} . inet_service` },
    { kind: 'set', name: `mapped${f}`, type: `${addrType(f)} . ${addrType(f)}` },
    // Where they lead: open to pods of the flat network, whatever else leads there.
    { kind: 'set', name: `host_port_pods${f}`, type: `${addrType(f)} . inet_proto . inet_service` },
  ]),
  {
    kind: 'chain',
    name: 'host_ports',
    rules: FAMILIES.flatMap((f) => {
      const ip = ipWord(f);
      return [
        `meta l4proto { tcp, udp, sctp } dnat ${ip} to ${ip} daddr . meta l4proto . th dport map @hostip${f}`,
        `meta l4proto { tcp, udp, sctp } dnat ${ip} to meta l4proto . th dport map @hostport${f}`,
      ];
    }),
  },
  // Before kube-proxy's chains: the first translation of a connection stands.
  ...(['prerouting', 'output'] as const).map(
    (hook): NftObject => ({
      kind: 'chain',
      name: `nat_${hook}`,
      hook: { type: 'nat', hook, priority: hook === 'prerouting' ? 'dstnat - 5' : '-105', policy: 'accept' },
      rules: ['fib daddr type local jump host_ports'],
    }),
  ),
];

/** What the root needs for one pod's host ports. */
export function planHostPorts(ips: readonly string[], ports: readonly PortMapping[]): Fragment {
  const nft: NftObject[] = [];
  for (const ip of ips) {
    const family = familyOf(ip);
    for (const { hostIP, hostPort, protocol, containerPort } of ports) {
      const target = `${ip} . ${containerPort}`;
      if (hostIP === '') nft.push(element(`hostport${family}`, `${protocol} . ${hostPort}`, target));
      else if (familyOf(hostIP) === family)
        nft.push(element(`hostip${family}`, frontendKey(hostIP, protocol, hostPort), target));
      if (hostIP === '' || (familyOf(hostIP) === family && !isLoopback(hostIP)))
        nft.push(element(`host_port_pods${family}`, frontendKey(ip, protocol, containerPort)));
    }
    nft.push(element(`mapped${family}`, `${ip} . ${ip}`));
  }
  return { nft };
}

/** Such a port of the node is its own processes' alone. */
const isLoopback = (ip: string): boolean => ip === '::1' || ip.startsWith('127.');

/** Where the host ports of some pods lead, the last of those that want the same: "address port" by address of the node, protocol and port. */
export function hostPortTargets(
  pods: Iterable<{ readonly ips: readonly string[]; readonly ports?: readonly PortMapping[] }>,
): (ip: string, protocol: PortMapping['protocol'], port: number) => string | undefined {
  const targets = new Map<string, string>();
  for (const { ips, ports = [] } of pods)
    for (const ip of ips)
      for (const { hostIP, hostPort, protocol, containerPort } of ports)
        if (hostIP === '' || familyOf(hostIP) === familyOf(ip))
          targets.set(`${hostIP === '' ? familyOf(ip) : hostIP} ${protocol} ${hostPort}`, `${ip} ${containerPort}`);
  return (ip, protocol, port) =>
    targets.get(`${ip} ${protocol} ${port}`) ?? targets.get(`${familyOf(ip)} ${protocol} ${port}`);
}

/** Opens a pod's mapped ports in the gate of its instance. */
export function planMappedPorts(ips: readonly string[], ports: readonly PortMapping[]): NftObject[] {
  return ips.flatMap((ip) =>
    ports.map(({ protocol, containerPort }) =>
      element(`exposed${familyOf(ip)}`, frontendKey(ip, protocol, containerPort)),
    ),
  );
}
