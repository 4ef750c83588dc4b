import { FLAT_NETWORK } from '../../api/names.ts';
import { familyOf, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';
import { PrefixMap } from '../../lib/ip/prefix-map.ts';
import { type EndpointSlice, keyOf, type Pod, type SliceEndpoint } from '../cluster/state.ts';
import { networkOf, podAt, type View } from '../view/view.ts';
import { DEFAULT_CEILINGS, parsedPrefixes } from '../networks/ceiling.ts';

/**
 * Who translates a Service's address: an instance's own map, which opens the gate for what it translates, or kube-proxy, behind
 * whose translation every gate judges as ever.
 */
export type Translator = 'instance' | 'kube-proxy';

/**
 * Where an endpoint answers on a network; undefined when it does not count.
 *
 * A user who may write EndpointSlices in a namespace may write any address into them. So an endpoint with a pod counts only with an address
 * that this pod has, and one without a pod opens nothing that its author could not reach: behind Services of an isolated network the
 * network's gate decides, and the flat network's Services lead those who reach them by `services.allow` to flat pods, and beside
 * them only where the administrator says.
 */
export function endpointAddress(
  view: View,
  slice: Pick<EndpointSlice, 'namespace' | 'name' | 'service' | 'family'>,
  endpoint: SliceEndpoint,
  { network, by }: { readonly network: string; readonly by: Translator },
): string | undefined {
  const { ip } = endpoint;
  if (by === 'instance' && endpoint.pod !== '') return ofPod(view, slice, endpoint, network);
  const pod = podAt(view, ip);
  if (pod) return addressOn(view, pod, ip, network);
  if (by === 'kube-proxy' || network !== FLAT_NETWORK) return ip;
  if (slice.namespace === 'default' && slice.service === 'kubernetes') return ofApiServer(view, slice, ip);
  const { podlessEndpoints } = (view.state.settings?.ceilings ?? DEFAULT_CEILINGS).services;
  const allowed = parsedPrefixes(podlessEndpoints).some((p) => contains(p, mustIp(ip)));
  return allowed && !isInside(view, ip) && !isNode(view, ip) ? ip : undefined;
}

function ofPod(
  view: View,
  slice: Pick<EndpointSlice, 'namespace'>,
  { ip, pod: key }: SliceEndpoint,
  network: string,
): string | undefined {
  const pod = view.state.pods.get(key);
  if (!pod || pod.finished) return undefined;
  // Another namespace's pod on the host has the node's address, and the slice names any port of it.
  if (pod.hostNetwork)
    return network === FLAT_NETWORK && pod.namespace === slice.namespace && pod.ips.includes(ip) ? ip : undefined;
  return addressesOf(view, pod).includes(ip) ? addressOn(view, pod, ip, network) : undefined;
}

/** Of a pod's addresses the one on a network: that which is named, or of an interface there. */
function addressOn(view: View, pod: Pod, ip: string, network: string): string | undefined {
  const extras = view.state.interfaces?.get(pod.uid) ?? [];
  const named = extras.find((i) => i.ips.includes(ip))?.network ?? networkOf(view, pod);
  if (named === network) return ip;
  return extras.find((i) => i.network === network)?.ips.find((own) => familyOf(own) === familyOf(ip));
}

const addressesOf = ({ state }: View, pod: Pod): string[] => [
  ...pod.ips,
  ...(state.addresses?.get(pod.uid) ?? []),
  ...(state.interfaces?.get(pod.uid) ?? []).flatMap((i) => i.ips),
];

/**
 * The API server keeps the slice "kubernetes" itself. Another slice of its Service counts only for a family that this one has not,
 * and the Service of a real cluster has one family.
 */
function ofApiServer(view: View, slice: Pick<EndpointSlice, 'name' | 'family'>, ip: string): string | undefined {
  const own = view.state.slices.get(keyOf({ namespace: 'default', name: 'kubernetes' }));
  if (slice.name !== 'kubernetes' && (own?.family === slice.family || isNode(view, ip))) return undefined;
  return isInside(view, ip) ? undefined : ip;
}

/** Whether an address is of pods or Services. */
const isInside = (view: View, ip: string): boolean => rangesOf(view).inside.has(mustIp(ip));
const isNode = (view: View, ip: string): boolean => rangesOf(view).nodes.has(ip);

type Ranges = { readonly inside: PrefixMap<true>; readonly nodes: ReadonlySet<string> };

/** Asked of every endpoint: put in order once for each view. */
function rangesOf(view: View): Ranges {
  const known = worked.get(view);
  if (known) return known;
  const { podCIDRs, serviceCIDRs, nodes, networks } = view.state;
  const all = [...nodes.values()];
  const texts = [
    ...podCIDRs,
    ...serviceCIDRs,
    ...all.flatMap((n) => n.podCIDRs),
    ...[...networks.values()].flatMap((n) => n.spec?.subnets ?? []),
  ];
  const made = {
    inside: new PrefixMap(texts.map((t) => [mustPrefix(t), true] as const)),
    nodes: new Set(all.flatMap((n) => [...n.addresses, ...n.further])),
  };
  worked.set(view, made);
  return made;
}

const worked = new WeakMap<View, Ranges>();
