import type { PortMapping } from '../../api/cni.ts';
import { canonicalIp } from '../../lib/ip/address.ts';

/** What was read of `runtimeConfig.portMappings`; `problems` name the field. */
export type ReadMappings = { readonly mappings: readonly PortMapping[]; readonly problems: readonly string[] };

/** Reads the port mappings that a runtime passes (CNI conventions, capability portMappings). */
export function readPortMappings(config: Readonly<Record<string, unknown>>): ReadMappings {
  const raw = (config['runtimeConfig'] as { portMappings?: unknown } | undefined)?.portMappings ?? [];
  if (!Array.isArray(raw)) return { mappings: [], problems: ['runtimeConfig.portMappings: must be a list'] };
  const mappings: PortMapping[] = [];
  const problems: string[] = [];
  for (const [i, item] of (raw as unknown[]).entries()) {
    const at = `runtimeConfig.portMappings[${i}]`;
    if (typeof item !== 'object' || item === null) {
      problems.push(`${at}: must be an object`);
      continue;
    }
    // containerd writes HostPort, the convention says hostPort: Go reads keys in any case.
    const field = Object.fromEntries(Object.entries(item).map(([k, v]) => [k.toLowerCase(), v]));
    const { hostport: hostPort, containerport: containerPort } = field;
    if (hostPort === 0) continue; // a port without a hostPort, as older runtimes pass it
    const protocol = (typeof field['protocol'] === 'string' ? field['protocol'] : 'tcp').toLowerCase();
    const hostIP = typeof field['hostip'] === 'string' ? field['hostip'] : '';
    const address = hostIP === '' ? '' : canonicalIp(hostIP);
    if (!isPort(hostPort)) problems.push(`${at}.hostPort: must be from 1 to 65535`);
    if (!isPort(containerPort)) problems.push(`${at}.containerPort: must be from 1 to 65535`);
    if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp')
      problems.push(`${at}.protocol: "${protocol}" is not tcp, udp or sctp`);
    if (address === undefined) problems.push(`${at}.hostIP: "${hostIP}" is not an address`);
    if (problems.length > 0 || !isPort(hostPort) || !isPort(containerPort)) continue;
    mappings.push({
      hostPort,
      containerPort,
      protocol: protocol as PortMapping['protocol'],
      // "any" addresses mean the same as none.
      hostIP: address === undefined || address === '0.0.0.0' || address === '::' ? '' : address,
    });
  }
  return { mappings, problems };
}

const isPort = (v: unknown): v is number => typeof v === 'number' && Number.isInteger(v) && v >= 1 && v <= 65_535;
