import { BUDGETS, overBudget } from '../../api/budgets.ts';
import { FLAT_NETWORK, OPEN_PORTS, OPEN_TO } from '../../api/names.ts';
import { type NetworkKey, type OpeningItem, type PortSet, PROTOCOLS, type SourceItem } from '../../api/nodeconfig.ts';
import { annotationOverBudget } from '../read/annotations.ts';
import { flatSources } from '../view/flat-sources.ts';
import { keyOf, type Pod, type Strings } from '../cluster/state.ts';
import { networkOf, type View } from '../view/view.ts';
import { admits, NO_PORTS, portElements, portSet } from '../cluster/ports.ts';

/** What a pod opens of itself to pods of the flat network. */
export type OpenRequest = {
  readonly ports: PortSet;
  /** Namespaces whose flat pods may come in; "*": all. */
  readonly namespaces: readonly string[];
  readonly problems: readonly string[];
  /** Why nothing of it is opened; see api/budgets.ts. */
  readonly overBudget?: string;
};

/** All flat pods, where namespaces are named. */
export const EVERY_NAMESPACE = '*';

/** Reads `bulkhead.dev/open-ports` ("8080/TCP, 9000-9010/UDP") and `bulkhead.dev/open-to` ("monitoring, ingress" or "*"). */
export function readOpenings(annotations: Strings): OpenRequest {
  if (annotations[OPEN_PORTS] === undefined && annotations[OPEN_TO] === undefined) return NOTHING;
  const known = requests.get(annotations);
  if (known) return known;
  const read = parseOpenings(annotations);
  requests.set(annotations, read);
  return read;
}

/** A pod's annotations never change: a change makes a new pod. */
const requests = new WeakMap<Strings, OpenRequest>();
const NOTHING: OpenRequest = { ports: NO_PORTS, namespaces: [], problems: [] };

function parseOpenings(annotations: Strings): OpenRequest {
  const tooLong = annotationOverBudget(annotations, OPEN_PORTS, OPEN_TO);
  if (tooLong !== undefined) return { ...NOTHING, overBudget: tooLong };
  const ports = annotations[OPEN_PORTS];
  const to = annotations[OPEN_TO];
  const [texts, names] = [split(ports), split(to)];
  const tooMany =
    overBudget('openPorts', texts.length, 'ports') ?? overBudget('openNamespaces', names.length, 'namespaces');
  if (tooMany !== undefined) return { ...NOTHING, overBudget: tooMany };
  const problems: string[] = [];
  const ranges = texts.flatMap((text) => {
    const [, first = '', last = first, word = 'TCP'] = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(\w+))?$/.exec(text) ?? [];
    const protocol = PROTOCOLS.find((p) => p === word.toUpperCase());
    const [port, endPort] = [Number(first), Number(last)];
    if (protocol && port >= 1 && endPort <= 65_535 && port <= endPort) return [{ protocol, port, endPort }];
    problems.push(`annotation ${OPEN_PORTS}: "${text}" is no port; write 8080/TCP or 9000-9010/UDP`);
    return [];
  });
  for (const n of names)
    if (n !== EVERY_NAMESPACE && !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(n))
      problems.push(`annotation ${OPEN_TO}: "${n}" is no name of a namespace, nor "*"`);
  if (ports === undefined) problems.push(`annotation ${OPEN_TO} needs ${OPEN_PORTS} beside it: which ports?`);
  if (to === undefined) problems.push(`annotation ${OPEN_PORTS} needs ${OPEN_TO} beside it: to which namespaces?`);
  if (problems.length > 0) return { ...NOTHING, problems };
  const namespaces = names.includes(EVERY_NAMESPACE) ? [EVERY_NAMESPACE] : [...new Set(names)].sort();
  const read = { ports: portSet(ranges), namespaces, problems };
  const tooLarge = overBudget('openingElements', elementsOf(read), 'elements (namespaces × ports)');
  return tooLarge === undefined ? read : { ...NOTHING, overBudget: tooLarge };
}

const elementsOf = ({ ports, namespaces }: OpenRequest): number => namespaces.length * portElements(ports);

/** What the pods of a network on one node open. Pods that open nothing are not in it. */
export function openingsOf(view: View, node: string, network: NetworkKey): readonly OpeningItem[] {
  return openingsOn(view, node).items.get(network) ?? [];
}

/** Why what a pod opens is not opened, though it is within the budgets of a pod: others of its network came before it. */
export function crowdedOut(view: View, pod: Pod): string | undefined {
  return openingsOn(view, pod.node).refused.get(keyOf(pod));
}

type NodeOpenings = {
  readonly items: ReadonlyMap<NetworkKey, readonly OpeningItem[]>;
  readonly refused: ReadonlyMap<string, string>;
};

const worked = new WeakMap<View, Map<string, NodeOpenings>>();

function openingsOn(view: View, node: string): NodeOpenings {
  const nodes = worked.get(view) ?? new Map<string, NodeOpenings>();
  worked.set(view, nodes);
  const known = nodes.get(node);
  if (known) return known;
  const items = new Map<NetworkKey, OpeningItem[]>();
  const refused = new Map<string, string>();
  const used = new Map<NetworkKey, number>();
  const opening = (view.podsByNode.get(node) ?? []).filter((p) => readOpenings(p.annotations).namespaces.length > 0);
  // The oldest first: what a network has opened stays open whatever comes behind it.
  for (const pod of opening.sort((a, b) => a.created - b.created || (a.uid < b.uid ? -1 : 1))) {
    const network = networkOf(view, pod);
    if (network === undefined || network === FLAT_NETWORK || pod.ips.length === 0) continue;
    const request = readOpenings(pod.annotations);
    const sum = (used.get(network) ?? 0) + elementsOf(request) * pod.ips.length;
    const over = overBudget(
      'networkOpeningElements',
      sum,
      `elements (namespaces × ports of all pods of network ${network} on node ${node})`,
    );
    if (over !== undefined) {
      refused.set(keyOf(pod), over);
      continue;
    }
    used.set(network, sum);
    const item = { pod: keyOf(pod), network, ips: pod.ips, ports: request.ports, namespaces: request.namespaces };
    const list = items.get(network);
    if (list) list.push(item);
    else items.set(network, [item]);
  }
  const made = { items, refused };
  nodes.set(node, made);
  return made;
}

/** Whether a pod lets one of the flat network in. */
export function opens(
  view: View,
  to: Pod,
  fromNamespace: string,
  protocol: 'TCP' | 'UDP' | 'SCTP' | 'ICMP',
  port: number,
): boolean {
  const { ports, namespaces } = readOpenings(to.annotations);
  const named = namespaces.includes(EVERY_NAMESPACE) || namespaces.includes(fromNamespace);
  return named && admits(ports, protocol, port) && crowdedOut(view, to) === undefined;
}

/** The flat pods of a namespace one by one; all of them by the flat network's blocks. */
export function sourceItem(view: View, namespace: string): SourceItem {
  if (namespace !== EVERY_NAMESPACE) return { prefixes: flatSources(view, namespace) };
  return { prefixes: (view.blocksByNetwork.get(FLAT_NETWORK) ?? []).map((b) => b.cidr).sort() };
}

/** At most as many parts as tell that there are too many. */
const split = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .flatMap((t) => t.trim() || [])
    .slice(0, MOST_PARTS);
const MOST_PARTS = Math.max(BUDGETS.openPorts, BUDGETS.openNamespaces) + 1;
