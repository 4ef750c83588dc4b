import { keyOf, type Pod } from '../../core/cluster/state.ts';
import type { View } from '../../core/view/view.ts';
import type { Target } from '../../core/decide/decision.ts';
import { canonicalIp, familyOf } from '../../lib/ip/address.ts';
import { UsageError } from '../terminal/output.ts';
import type { ClusterTarget } from '../target/target.ts';

/** Stands for any address outside where none is known: addresses for documentation (RFC 5737, RFC 3849). */
const DOCUMENTATION = { 4: '203.0.113.1', 6: '2001:db8::1' } as const;

/** The pod that "namespace/name" means, or the first whose name begins so: "shop-a/web" is a pod of Deployment web. */
export function podNamed(view: View, text: string): Pod {
  const [namespace, name] = text.includes('/') ? text.split('/', 2) : ['default', text];
  const all = [...view.state.pods.values()].filter((p) => p.namespace === namespace);
  const exact = all.find((p) => p.name === name);
  const close = all.filter((p) => p.name.startsWith(name ?? '\0'));
  const found = exact ?? close.sort((a, b) => (a.name < b.name ? -1 : 1))[0];
  if (found) return found;
  throw new UsageError(`there is no pod ${namespace}/${name}`);
}

/**
 * What "TO[:PORT[/PROTOCOL]]" means: an address, "namespace/name" of a pod or a Service (`pod/…`, `svc/…` to say which),
 * `node/NAME`, `api`, `internet`. Without a port: a Service's or pod's first one, else ICMP.
 */
export function parseTo(view: View, from: Pod, text: string, outside: ClusterTarget['outside'] = []): Target {
  const [, where = '', port, protocol] =
    /^(.*?|\[[^\]]+\])(?::(\d+)(?:\/(\w+))?)?$/.exec(isBareIp(text) ? `[${text}]` : text) ?? [];
  const family = familyOf(from.ips[0] ?? '');
  const number = port === undefined ? undefined : Number(port);
  if (number !== undefined && (number < 1 || number > 65_535))
    throw new UsageError(`${text}: port ${number} is not from 1 to 65535`);
  const known = protocol?.toUpperCase();
  if (known !== undefined && known !== 'TCP' && known !== 'UDP' && known !== 'SCTP')
    throw new UsageError(`${text}: protocol ${protocol} is not tcp, udp or sctp`);
  const at = (address: string, first?: { readonly port: number; readonly protocol: Target['protocol'] }): Target => ({
    address,
    port: number ?? first?.port ?? 0,
    protocol: known ?? (number === undefined ? (first?.protocol ?? 'ICMP') : 'TCP'),
  });
  const ofFamily = (ips: readonly string[]): string => ips.find((ip) => familyOf(ip) === family) ?? ips[0] ?? '';
  const ip = canonicalIp(where.replace(/^\[|\]$/g, ''));
  if (ip !== undefined) return at(ip);
  if (where === 'internet') {
    const host = outside.find((o) => familyOf(o.address) === family);
    return at(host?.address ?? DOCUMENTATION[family], host ?? { port: 443, protocol: 'TCP' });
  }
  const service = view.state.services.get(where === 'api' ? 'default/kubernetes' : where.replace(/^svc\//, ''));
  if (where.startsWith('node/')) {
    const node = view.state.nodes.get(where.slice(5));
    if (!node) throw new UsageError(`there is no node ${where.slice(5)}`);
    return at(ofFamily(node.addresses));
  }
  const pod = where.startsWith('svc/') ? undefined : findPod(view, where.replace(/^pod\//, ''));
  if (pod) return at(ofFamily(pod.ips), pod.ports[0]);
  if (service) {
    if (service.clusterIPs.length === 0)
      throw new UsageError(`Service ${keyOf(service)} is headless: name one of its pods`);
    return at(ofFamily(service.clusterIPs), service.ports[0]);
  }
  throw new UsageError(
    `${text}: no pod, Service, node or address of that name; write namespace/name, svc/namespace/name, node/name, an address, api or internet`,
  );
}

const isBareIp = (text: string): boolean => text.includes(':') && canonicalIp(text) !== undefined;

function findPod(view: View, text: string): Pod | undefined {
  try {
    return podNamed(view, text);
  } catch {
    return undefined;
  }
}
