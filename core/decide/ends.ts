import { apiServerHosts } from '../api-server/hosts.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { keyOf, type Node, type Pod, type Service } from '../cluster/state.ts';
import { podAt, type View } from '../view/view.ts';
import { ipsOf } from './by-networks.ts';
import type { Source } from './decide.ts';
import type { Target } from './decision.ts';
import { type EndPlace, type EndText, parseEnd } from './end-text.ts';
import { ofFamily } from './gate-in.ts';
import { podFor } from './pod-named.ts';

/** What cannot be asked about, with every reason. */
export class EndError extends Error {
  override readonly name = 'EndError';
  readonly code = 'Usage';
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

export type AskedPort = Pick<Target, 'port' | 'protocol'>;

/** One family of a question: who asks, and which address. */
export type AskedWay = {
  readonly family: 4 | 6;
  readonly from: Source;
  readonly address: string;
  /** Absent: every port. */
  readonly ports?: readonly AskedPort[];
};

/** A question about two ends, looked up. */
export type Asked = {
  readonly from: string;
  readonly to: string;
  /** One for each family that both ends have. */
  readonly ways: readonly AskedWay[];
  /** The port to take where only one is asked about: the first that the receiver has. */
  readonly first: AskedPort;
  /** Only this protocol is meant, where every port is asked about. */
  readonly protocol?: Target['protocol'];
  /** What was taken for what, where a text could mean more than one thing. */
  readonly notes: readonly string[];
};

export type AskOptions = {
  /** Where a name without a namespace is looked for. */
  readonly namespace?: string;
  /** Hosts outside that are known; without any, addresses for documentation stand for the outside. */
  readonly outside?: readonly {
    readonly address: string;
    readonly port: number;
    readonly protocol: Target['protocol'];
  }[];
  readonly families?: readonly (4 | 6)[];
};

/** Stands for any address outside where none is known (RFC 5737, RFC 3849). */
const DOCUMENTATION = ['203.0.113.1', '2001:db8::1'];
const FAMILIES = [4, 6] as const;

/** Looks up both ends of a question. Throws {@link EndError} with all that is wrong with either. */
export function askAbout(view: View, fromText: string, toText: string, options: AskOptions = {}): Asked {
  const problems: string[] = [];
  const notes: string[] = [];
  const [from, to] = [fromText, toText].map((text) => {
    const read = parseEnd(text, options);
    problems.push(...read.problems);
    return read.end;
  });
  if (from?.port !== undefined || from?.protocol !== undefined)
    problems.push(`${fromText}: the sender has no port and no protocol: write them after the receiver`);
  const sender = from && senderOf(view, from, { options, problems, notes });
  const receiver = to && receiverOf(view, to, { options, problems, notes, outside: sender?.outside === true });
  if (problems.length > 0 || !sender || !receiver) throw new EndError(problems);
  const families = (options.families ?? FAMILIES).filter((f) => sender.sources.has(f) && receiver.addresses.has(f));
  if (families.length === 0) throw new EndError([noFamily(sender, receiver, options)]);
  return {
    from: sender.name,
    to: receiver.name,
    ways: families.map((family) => ({
      family,
      from: sender.sources.get(family) as Source,
      ...(receiver.addresses.get(family) as Receiving),
    })),
    first: receiver.first,
    ...(receiver.protocol === undefined ? {} : { protocol: receiver.protocol }),
    notes,
  };
}

/** The pod that a text means, where only a pod will do. Throws {@link EndError}. */
export function podAsked(
  view: View,
  text: string,
  options: AskOptions = {},
): { readonly pod: Pod; readonly notes: readonly string[] } {
  const problems: string[] = [];
  const notes: string[] = [];
  const read = parseEnd(text, options);
  problems.push(...read.problems);
  const place = read.end?.place;
  if (place && !('namespace' in place && place.kind !== 'Service'))
    problems.push(`${text}: not a pod: write NAMESPACE/POD`);
  const pod = place && problems.length === 0 ? podFor(view, text, place, { problems, notes }) : undefined;
  if (!pod) throw new EndError(problems);
  return { pod, notes };
}

type Looking = { readonly options: AskOptions; readonly problems: string[]; readonly notes: string[] };
type Sender = {
  readonly name: string;
  readonly sources: ReadonlyMap<4 | 6, Source>;
  readonly outside: boolean;
};
type Receiving = Pick<AskedWay, 'address' | 'ports'>;
type Receiver = {
  readonly name: string;
  readonly addresses: ReadonlyMap<4 | 6, Receiving>;
  readonly first: AskedPort;
  readonly protocol?: Target['protocol'];
};

function noFamily(sender: Sender, receiver: Receiver, { families = FAMILIES }: AskOptions): string {
  const words = (have: Iterable<4 | 6>): string => [...have].map((f) => `IPv${f}`).join(' and ') || 'no address';
  const asked = families.length === 1 ? `, and IPv${families[0]} was asked for` : '';
  return `${sender.name} has ${words(sender.sources.keys())}, ${receiver.name} has ${words(receiver.addresses.keys())}${asked}: no family is common to both`;
}

/** Who opens the connection. */
function senderOf(view: View, { text, place }: EndText, { options, problems, notes }: Looking): Sender | undefined {
  const host = (name: string, entries: readonly (readonly [4 | 6, Source])[], outside = false): Sender => ({
    name,
    sources: new Map(entries),
    outside,
  });
  switch (place.kind) {
    case 'Address': {
      const pod = podAt(view, place.ip);
      if (pod) return podSender(view, pod, [familyOf(place.ip)]);
      const node = nodeWith(view, place.ip);
      if (node) return host(`node ${node.name}`, [[familyOf(place.ip), nodeSource(node)]]);
      return host(place.ip, [[familyOf(place.ip), { kind: 'Outside', ip: place.ip }]], true);
    }
    case 'Internet':
      return host(
        'the outside',
        outsideAddresses(options).map((ip) => [familyOf(ip), { kind: 'Outside', ip }]),
        true,
      );
    case 'Api': {
      const { nodes, addresses } = apiServerHosts(view.state);
      const node = view.state.nodes.get(nodes[0] ?? '');
      if (node)
        return host(
          `the API server on node ${node.name}`,
          familiesOf(node.addresses).map((f) => [f, nodeSource(node)]),
        );
      const entries = addresses.map((ip) => [familyOf(ip), { kind: 'Outside', ip }] as const);
      if (entries.length > 0) return host('the API server', entries, true);
      problems.push(`${text}: no endpoint of Service default/kubernetes says where the API server is`);
      return undefined;
    }
    case 'Node': {
      const node = view.state.nodes.get(place.name);
      if (node)
        return host(
          `node ${node.name}`,
          familiesOf(node.addresses).map((f) => [f, nodeSource(node)]),
        );
      problems.push(`${text}: ${missing('node', place.name, view.state.nodes.keys())}`);
      return undefined;
    }
    case 'Service':
      problems.push(`${text}: a Service opens no connections: name a pod behind it`);
      return undefined;
    case 'Pod':
    case 'Any':
    case 'Workload': {
      const pod = podFor(view, text, place, { problems, notes });
      if (pod) return podSender(view, pod, FAMILIES);
      return undefined;
    }
  }
}

function podSender(view: View, pod: Pod, families: readonly (4 | 6)[]): Sender {
  const known = familiesOf(ipsOf(view, pod));
  // One that has no address is asked about all the same: the answer says why.
  const mine = families.filter((f) => known.length === 0 || known.includes(f));
  return {
    name: `pod ${keyOf(pod)}${pod.hostNetwork && pod.node !== '' ? ` (on the network of node ${pod.node})` : ''}`,
    sources: new Map(mine.map((f) => [f, { kind: 'Pod', pod }])),
    outside: false,
  };
}

/** What is dialled. */
function receiverOf(view: View, end: EndText, looking: Looking & { readonly outside: boolean }): Receiver | undefined {
  const { text, place } = end;
  const { options, problems, notes } = looking;
  switch (place.kind) {
    case 'Address':
      return atAddresses(end, place.ip, [place.ip], looking);
    case 'Internet': {
      const host = options.outside?.[0];
      const receiver = atAddresses(end, 'the outside', outsideAddresses(options), looking);
      return receiver && { ...receiver, first: end.port === undefined && host ? host : receiver.first };
    }
    case 'Node': {
      const node = view.state.nodes.get(place.name);
      if (node) return atAddresses(end, `node ${node.name}`, [...node.addresses, ...node.further], looking);
      problems.push(`${text}: ${missing('node', place.name, view.state.nodes.keys())}`);
      return undefined;
    }
    case 'Api':
    case 'Service': {
      const key = place.kind === 'Api' ? 'default/kubernetes' : keyOf(place);
      const service = view.state.services.get(key);
      if (service) return atService(view, end, service, looking);
      problems.push(`${text}: ${missing('Service', key, view.state.services.keys())}`);
      return undefined;
    }
    case 'Any': {
      // A Service's whole name goes before the beginning of a pod's.
      const service = view.state.services.get(keyOf(place));
      const exact = view.state.pods.has(keyOf(place));
      if (service && !exact) {
        notes.push(`${text} is taken as Service ${keyOf(service)}; pod/${keyOf(service)} means its pods`);
        return atService(view, end, service, looking);
      }
      if (service) notes.push(`${text} is taken as pod ${keyOf(place)}; svc/${keyOf(place)} is a Service`);
      return atPod(view, end, place, looking);
    }
    case 'Pod':
    case 'Workload':
      return atPod(view, end, place, looking);
  }
}

function atPod(view: View, end: EndText, place: EndPlace & { name: string }, looking: Looking): Receiver | undefined {
  const pod = podFor(view, end.text, place, looking);
  if (!pod) return undefined;
  const name = `pod ${keyOf(pod)}${pod.hostNetwork && pod.node !== '' ? ` (on the network of node ${pod.node})` : ''}`;
  const ips = ipsOf(view, pod);
  if (pod.finished)
    looking.problems.push(`${end.text}: pod ${keyOf(pod)} has finished: nothing answers there any more`);
  else if (ips.length === 0) looking.problems.push(`${end.text}: pod ${keyOf(pod)} has no address yet`);
  return atAddresses(end, name, ips, looking, pod);
}

/** Addresses as they are, each of the first of its family. */
function atAddresses(
  end: EndText,
  name: string,
  ips: readonly string[],
  { problems }: Looking,
  pod?: Pod,
): Receiver | undefined {
  const ports = portsAt(end, pod, problems);
  const addresses = FAMILIES.flatMap((f) => {
    const address = ofFamily(ips, f);
    return address === undefined ? [] : [[f, { address, ...(ports ? { ports } : {}) }] as const];
  });
  const [declared] = pod?.ports ?? [];
  return {
    name,
    addresses: new Map(addresses),
    first: ports?.[0] ?? (declared ? { port: declared.port, protocol: declared.protocol } : PING),
    ...(ports || end.protocol === undefined ? {} : { protocol: end.protocol }),
  };
}

/** Undefined: every port. */
function portsAt({ text, port, protocol }: EndText, pod: Pod | undefined, problems: string[]): AskedPort[] | undefined {
  if (protocol === 'ICMP') return [PING];
  if (port === undefined) return undefined;
  if (typeof port === 'number') return [{ port, protocol: protocol ?? 'TCP' }];
  const named = pod?.ports.find((p) => p.name === port && (protocol === undefined || p.protocol === protocol));
  if (named) return [{ port: named.port, protocol: named.protocol }];
  const names = pod?.ports.flatMap((p) => p.name || []) ?? [];
  problems.push(
    pod
      ? `${text}: pod ${keyOf(pod)} has no port of the name ${port}${protocol === undefined ? '' : `/${protocol}`}${names.length > 0 ? `; it has ${names.join(', ')}` : ''}`
      : `${text}: only pods and Services have names for ports: write the number`,
  );
  return undefined;
}

function atService(
  view: View,
  end: EndText,
  service: Service,
  { problems, notes, outside }: Looking & { readonly outside: boolean },
): Receiver | undefined {
  const { text, port } = end;
  const name = keyOf(service) === 'default/kubernetes' ? 'the Kubernetes API' : `Service ${keyOf(service)}`;
  if (service.type === 'ExternalName')
    problems.push(
      `${text}: ${name} is an ExternalName, another name of a host outside: ask for an address of that host`,
    );
  else if (service.clusterIPs.length === 0)
    problems.push(`${text}: ${name} has no cluster IP (headless, or left to another proxy): name one of its pods`);
  const ports = portsOfService(end, service);
  if (typeof port === 'string' && ports.length === 0)
    problems.push(`${text}: ${name} has no port of the name ${port}; it has ${listPorts(service)}`);
  if (problems.length > 0) return undefined;
  const ways = outside ? outerWays(view, service, ports, notes) : insideWays(service, ports);
  return { name, addresses: new Map(ways), first: ways[0]?.[1].ports?.[0] ?? PING };
}

/** All that were not ruled out. A number that the Service has not is asked about, too: the answer says so. */
function portsOfService({ port, protocol }: EndText, { ports }: Service): AskedPort[] {
  if (protocol === 'ICMP') return [PING];
  const known = ports
    .filter((p) => (typeof port === 'number' ? p.port === port : port === undefined || p.name === port))
    .filter((p) => protocol === undefined || p.protocol === protocol)
    .map((p): AskedPort => ({ port: p.port, protocol: p.protocol }));
  if (typeof port !== 'number') return known.length > 0 || port !== undefined ? known : [PING];
  return [known.find((p) => p.protocol === 'TCP') ?? known[0] ?? { port, protocol: protocol ?? 'TCP' }];
}

const PING: AskedPort = { port: 0, protocol: 'ICMP' };
const listPorts = ({ ports }: Service): string =>
  ports.map((p) => `${p.name ? `${p.name} ` : ''}${p.port}/${p.protocol}`).join(', ');

const insideWays = (service: Service, ports: readonly AskedPort[]): (readonly [4 | 6, Receiving])[] =>
  service.clusterIPs.map((address) => [familyOf(address), { address, ports }] as const);

/** From outside a Service is reached by its outer addresses, else by its node ports. */
function outerWays(
  view: View,
  service: Service,
  ports: readonly AskedPort[],
  notes: string[],
): (readonly [4 | 6, Receiving])[] {
  const name = `Service ${keyOf(service)}`;
  if (service.frontends.length > 0) {
    notes.push(`from outside, ${name} is asked for by its address ${service.frontends.map((f) => f.ip).join(' and ')}`);
    return service.frontends.toReversed().map(({ ip }) => [familyOf(ip), { address: ip, ports }] as const);
  }
  const nodePorts = ports.flatMap(({ port, protocol }): AskedPort[] => {
    const found = service.ports.find((p) => p.port === port && p.protocol === protocol)?.nodePort;
    return found === undefined ? [] : [{ port: found, protocol }];
  });
  const [node] = view.state.nodes.values();
  if (nodePorts.length === 0 || !node) return insideWays(service, ports);
  const list = nodePorts.map((p) => `${p.port}/${p.protocol}`).join(', ');
  notes.push(`from outside, ${name} is asked for by its node port ${list} of node ${node.name}`);
  return FAMILIES.flatMap((f) => {
    const address = ofFamily(node.addresses, f);
    return address === undefined || !service.clusterIPs.some((ip) => familyOf(ip) === f)
      ? []
      : [[f, { address, ports: nodePorts }] as const];
  });
}

const familiesOf = (ips: readonly string[]): (4 | 6)[] => FAMILIES.filter((f) => ips.some((ip) => familyOf(ip) === f));
const nodeSource = ({ name, addresses }: Node): Source => ({ kind: 'Node', node: name, ips: addresses });
/** An address outside for each family: of a known host, else one for documentation. */
export const outsideAddresses = ({ outside }: AskOptions): string[] =>
  FAMILIES.flatMap((f) => ofFamily([...(outside ?? []).map((o) => o.address), ...DOCUMENTATION], f) ?? []);

const nodeWith = (view: View, ip: string): Node | undefined =>
  [...view.state.nodes.values()].find((n) => n.addresses.includes(ip) || n.further.includes(ip));

/** "there is no node n9; there are n1, n2" */
export function missing(kind: string, name: string, known: Iterable<string>): string {
  const all = [...known].sort();
  const close = all.filter(
    (k) => k.split('/').at(-1) === name.split('/').at(-1) || k.startsWith(name.split('/')[0] ?? ''),
  );
  const shown = (close.length > 0 ? close : all).slice(0, 5);
  return `there is no ${kind} ${name}${shown.length > 0 ? `; there ${shown.length === 1 ? 'is' : 'are'} ${shown.join(', ')}${shown.length < (close.length || all.length) ? ', …' : ''}` : ''}`;
}
