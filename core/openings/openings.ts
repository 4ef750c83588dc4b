import { FLAT_NETWORK, OPEN_PORTS, OPEN_TO } from '../../api/names.ts';
import { type NetworkKey, type OpeningItem, type PortSet, PROTOCOLS } from '../../api/nodeconfig.ts';
import { hostCidr } from '../../lib/ip/prefix.ts';
import { keyOf, type Pod, type Strings } from '../cluster/state.ts';
import { networkOf, type View } from '../cluster/view.ts';
import { admits, NO_PORTS, portSet } from '../routers/ports.ts';

/** What a pod opens of itself to pods of the flat network. */
export type OpenRequest = {
  readonly ports: PortSet;
  /** Namespaces whose flat pods may come in; "*": all. */
  readonly namespaces: readonly string[];
  readonly problems: readonly string[];
};

/** Reads `bulkhead.dev/open-ports` ("8080/TCP, 9000-9010/UDP") and `bulkhead.dev/open-to` ("monitoring, ingress" or "*"). */
export function readOpenings(annotations: Strings): OpenRequest {
  const ports = annotations[OPEN_PORTS];
  const to = annotations[OPEN_TO];
  if (ports === undefined && to === undefined) return { ports: NO_PORTS, namespaces: [], problems: [] };
  const problems: string[] = [];
  const ranges = split(ports).flatMap((text) => {
    const [, first = '', last = first, word = 'TCP'] = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(\w+))?$/.exec(text) ?? [];
    const protocol = PROTOCOLS.find((p) => p === word.toUpperCase());
    const [port, endPort] = [Number(first), Number(last)];
    if (protocol && port >= 1 && endPort <= 65_535 && port <= endPort) return [{ protocol, port, endPort }];
    problems.push(`annotation ${OPEN_PORTS}: "${text}" is no port; write 8080/TCP or 9000-9010/UDP`);
    return [];
  });
  const namespaces = split(to);
  for (const n of namespaces)
    if (n !== '*' && !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(n))
      problems.push(`annotation ${OPEN_TO}: "${n}" is no name of a namespace, nor "*"`);
  if (ports === undefined) problems.push(`annotation ${OPEN_TO} needs ${OPEN_PORTS} beside it: which ports?`);
  if (to === undefined) problems.push(`annotation ${OPEN_PORTS} needs ${OPEN_TO} beside it: to which namespaces?`);
  return problems.length > 0
    ? { ports: NO_PORTS, namespaces: [], problems }
    : { ports: portSet(ranges), namespaces, problems };
}

/** What the pods of a network on one node open, with the addresses that may come in. Pods that open nothing are not in it. */
export function openingsOf(view: View, node: string, network: NetworkKey): OpeningItem[] {
  return (view.podsByNode.get(node) ?? []).flatMap((pod): OpeningItem[] => {
    if (networkOf(view, pod) !== network || network === FLAT_NETWORK || pod.ips.length === 0) return [];
    const { ports, namespaces } = readOpenings(pod.annotations);
    if (namespaces.length === 0) return [];
    const sources = sourcesIn(view, namespaces);
    return sources.length > 0 ? [{ pod: keyOf(pod), network, ips: pod.ips, ports, sources }] : [];
  });
}

/** Whether a pod lets one of the flat network in. */
export function opens(
  to: Pod,
  fromNamespace: string,
  protocol: 'TCP' | 'UDP' | 'SCTP' | 'ICMP',
  port: number,
): boolean {
  const { ports, namespaces } = readOpenings(to.annotations);
  return (namespaces.includes('*') || namespaces.includes(fromNamespace)) && admits(ports, protocol, port);
}

/** Flat pods of these namespaces one by one; all of them by the flat network's blocks. */
function sourcesIn(view: View, namespaces: readonly string[]): string[] {
  if (namespaces.includes('*')) return (view.blocksByNetwork.get(FLAT_NETWORK) ?? []).map((b) => b.cidr).sort();
  return [...view.state.pods.values()]
    .filter((p) => namespaces.includes(p.namespace) && networkOf(view, p) === FLAT_NETWORK)
    .flatMap((p) => p.ips.map(hostCidr))
    .sort();
}

const split = (text: string | undefined): string[] => (text ?? '').split(',').flatMap((t) => t.trim() || []);
