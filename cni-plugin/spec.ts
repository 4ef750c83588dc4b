import { CNI_VERSIONS, type CniResult } from '../api/cni.ts';

/** Whether results of this version can be printed. */
export const isSupported = (version: string): boolean => (CNI_VERSIONS as readonly string[]).includes(version);

/** The answer to VERSION. */
export function versionResult(asked: string): object {
  return { cniVersion: isSupported(asked) ? asked : '1.1.0', supportedVersions: CNI_VERSIONS };
}

/** A result in the form of the version that the network configuration asks for (spec, "Result versions"). */
export function resultFor(version: string, result: CniResult): object {
  const { interfaces, ips, routes, dns } = result;
  switch (version) {
    case '1.1.0':
      return { cniVersion: version, interfaces, ips, routes, dns };
    case '1.0.0':
      return { cniVersion: version, interfaces: interfaces.map(withoutMtu), ips, routes, dns };
    default:
      // 0.3.0 to 0.4.0: each address says its family, interfaces have no mtu.
      return {
        cniVersion: version,
        interfaces: interfaces.map(withoutMtu),
        ips: ips.map((ip) => ({ version: ip.address.includes(':') ? '6' : '4', ...ip })),
        routes,
        dns,
      };
  }
}

function withoutMtu(i: CniResult['interfaces'][number]): object {
  const { mtu: _mtu, ...rest } = i;
  return rest;
}
