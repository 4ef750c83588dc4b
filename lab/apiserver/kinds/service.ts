import { canonicalIp, familyOf, parseIp } from '../../../lib/ip/address.ts';
import type { Problem } from '../cel/rules.ts';
import { invalid } from '../model/error.ts';
import { arr, type Json, num, str, strs } from '../model/path.ts';
import { nodePortKey, NODE_PORTS, type ServiceAllocations } from './allocations.ts';
import { addressProblem } from './address-checks.ts';
import { checkProtocol, duplicates, isPort, portProblem, unsupported } from './port.ts';

/** What addresses and ports are given out from, and to which Services. */
export type ServiceRanges = {
  readonly families: readonly (4 | 6)[];
  readonly allocations: ServiceAllocations;
  /** Whether policies and slices are checked; else they may be as an older API server stored them. */
  readonly strict: boolean;
};

const TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'] as const;

/** Gives a Service its addresses and node ports, and takes from it what its type does not have. `before` is its spec as it was. */
export function serviceDefaults(given: Json, before: Json, ranges: ServiceRanges): Json {
  const spec = withoutFormer(given, before);
  const type = str(spec['type']) || 'ClusterIP';
  const ports = arr(spec['ports']).map(
    (p): Json => ({
      protocol: 'TCP',
      ...p,
      targetPort: p['targetPort'] === 0 ? p['port'] : (p['targetPort'] ?? p['port']),
    }),
  );
  if (type === 'ExternalName') return { sessionAffinity: 'None', ...spec, type };
  const policy = str(spec['ipFamilyPolicy']) || 'SingleStack';
  const wished = strs(spec['ipFamilies']).map((f): 4 | 6 => (f === 'IPv6' ? 6 : 4));
  const kept = strs(before['clusterIPs']);
  const own =
    strs(spec['clusterIPs']).length > 0
      ? strs(spec['clusterIPs'])
      : spec['clusterIP'] === undefined || spec['clusterIP'] === ''
        ? kept
        : [str(spec['clusterIP'])];
  const named = own.filter((ip) => parseIp(ip) !== undefined).map(familyOf);
  const order = [...new Set([...wished, ...named, ...ranges.families])].filter((f) => ranges.families.includes(f));
  const families = policy === 'SingleStack' ? order.slice(0, 1) : order;
  const clusterIPs =
    own[0] === 'None' || own.some((ip) => parseIp(ip) === undefined)
      ? own
      : families.map(
          (f) =>
            own.find((ip) => canonicalIp(ip) !== undefined && familyOf(ip) === f) ??
            freeClusterIp(f, ranges.allocations),
        );
  const wantsNodePorts = type === 'NodePort' || type === 'LoadBalancer';
  return {
    sessionAffinity: 'None',
    internalTrafficPolicy: 'Cluster',
    ...(wantsNodePorts ? { externalTrafficPolicy: 'Cluster' } : {}),
    ...spec,
    type,
    ipFamilyPolicy: policy,
    ipFamilies: families.map((f) => `IPv${f}`),
    clusterIP: clusterIPs[0],
    clusterIPs,
    ports: wantsNodePorts ? withNodePorts(ports, before, ranges.allocations) : ports,
  };
}

/** What is wrong with a Service that has its defaults. `before` is its spec as it was, and `name` its namespace and name. */
export function checkService(
  spec: Json,
  before: Json | undefined,
  { allocations }: ServiceRanges,
  self: string,
): Problem[] {
  const type = str(spec['type']);
  const external = type === 'ExternalName';
  const ports = arr(spec['ports']);
  const problems: Problem[] = [
    ...unsupported('spec.type', spec['type'], TYPES),
    ...unsupported('spec.sessionAffinity', spec['sessionAffinity'], ['ClientIP', 'None']),
    ...unsupported('spec.externalTrafficPolicy', spec['externalTrafficPolicy'], ['Cluster', 'Local']),
    ...unsupported('spec.internalTrafficPolicy', spec['internalTrafficPolicy'], ['Cluster', 'Local']),
    ...ports.flatMap((p, i) => checkServicePort(p, `spec.ports[${i}]`, ports.length > 1)),
    ...duplicates(
      ports.map((p) => str(p['name'])),
      (i) => `spec.ports[${i}].name`,
    ),
    ...duplicates(
      ports.map((p) => `${str(p['protocol'])}/${String(p['port'])}`),
      (i) => `spec.ports[${i}]`,
    ),
    ...strs(spec['externalIPs']).flatMap((ip, i): Problem[] => {
      const message = addressProblem(ip);
      return message === undefined ? [] : [{ field: `spec.externalIPs[${i}]`, message }];
    }),
  ];
  if (external && str(spec['externalName']) === '')
    problems.push({ field: 'spec.externalName', message: 'a value is required' });
  if (ports.length === 0 && spec['clusterIP'] !== 'None' && !external)
    problems.push({ field: 'spec.ports', message: 'at least one port is required' });
  if (spec['clusterIP'] === 'None' && (type === 'NodePort' || type === 'LoadBalancer'))
    problems.push({ field: 'spec.clusterIPs[0]', message: `may not be set to 'None' for ${type} services` });
  if (type === 'ClusterIP')
    for (const [i, p] of ports.entries())
      if (p['nodePort'] !== undefined && p['nodePort'] !== 0)
        problems.push({ field: `spec.ports[${i}].nodePort`, message: "may not be used when `type` is 'ClusterIP'" });
  problems.push(...checkChange(spec, before), ...checkTaken(spec, allocations, self));
  return problems;
}

function checkServicePort(p: Json, field: string, several: boolean): Problem[] {
  const target = p['targetPort'] === undefined ? undefined : portProblem(p['targetPort']);
  return [
    ...(isPort(p['port'])
      ? []
      : [{ field: `${field}.port`, message: `${JSON.stringify(p['port'])} is no port from 1 to 65535` }]),
    ...(target === undefined || !isPort(p['port']) ? [] : [{ field: `${field}.targetPort`, message: target }]),
    ...(several && str(p['name']) === ''
      ? [{ field: `${field}.name`, message: 'a name is required when there are several ports' }]
      : []),
    ...checkProtocol(p, `${field}.protocol`),
  ];
}

/** An address is a Service's for its life, as long as it has one. */
function checkChange(spec: Json, before: Json | undefined): Problem[] {
  if (before === undefined || before['type'] === 'ExternalName' || spec['type'] === 'ExternalName') return [];
  const now = strs(spec['clusterIPs']);
  return strs(before['clusterIPs']).flatMap((ip, i): Problem[] =>
    now[i] === undefined || now[i] === ip
      ? []
      : [{ field: `spec.clusterIPs[${i}]`, message: `${JSON.stringify(now)} may not change once set` }],
  );
}

/** Addresses and node ports that are not to be had. `self`: "namespace/name". */
export function checkTaken(spec: Json, allocations: ServiceAllocations, self: string): Problem[] {
  const problems: Problem[] = [];
  for (const [i, ip] of strs(spec['clusterIPs']).entries()) {
    if (ip === 'None') continue;
    const at = 'spec.clusterIPs';
    if (!parseIp(ip))
      problems.push({
        field: `${at}[${i}]`,
        message: `"${ip}" must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
      });
    else if (allocations.isIpTaken(ip, self))
      problems.push({ field: at, message: `failed to allocate IP ${ip}: provided IP is already allocated` });
    else if (!allocations.isInRange(ip))
      problems.push({
        field: at,
        message: `failed to allocate IP ${ip}: the provided network does not match the current range`,
      });
  }
  const mine = new Set<string>();
  for (const [i, p] of arr(spec['ports']).entries()) {
    const port = num(p['nodePort']);
    if (port === 0 || spec['type'] === 'ClusterIP') continue;
    const field = `spec.ports[${i}].nodePort`;
    if (port < NODE_PORTS.first || port > NODE_PORTS.last)
      problems.push({
        field,
        message: `${port}: provided port is not in the valid range. The range of valid ports is ${NODE_PORTS.first}-${NODE_PORTS.last}`,
      });
    else if (allocations.isNodePortTaken(p, self) || mine.has(nodePortKey(p)))
      problems.push({ field, message: `${port}: provided port is already allocated` });
    mine.add(nodePortKey(p));
  }
  return problems;
}

/** A new type drops what the old one brought, unless the change says a new value. */
function withoutFormer(spec: Json, before: Json): Json {
  const [type, was] = [str(spec['type']) || 'ClusterIP', str(before['type'])];
  if (was === '' || type === was) return spec;
  const dropped = new Set<string>();
  const drop = (...fields: readonly string[]): void => {
    for (const f of fields) if (JSON.stringify(spec[f]) === JSON.stringify(before[f])) dropped.add(f);
  };
  if (type === 'ExternalName') drop('clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy', 'internalTrafficPolicy');
  if (was === 'ExternalName') drop('externalName');
  const bare = type === 'ClusterIP' || type === 'ExternalName';
  if (bare) drop('externalTrafficPolicy', 'allocateLoadBalancerNodePorts');
  const kept = Object.fromEntries(Object.entries(spec).filter(([k]) => !dropped.has(k)));
  const ports = arr(spec['ports']).map((p): Json => {
    if (!bare || p['nodePort'] === undefined || portBefore(p, before) !== p['nodePort']) return p;
    const { nodePort: _, ...rest } = p;
    return rest;
  });
  return spec['ports'] === undefined ? kept : { ...kept, ports };
}

const portBefore = (p: Json, before: Json): unknown =>
  arr(before['ports']).find((b) => b['port'] === p['port'] && b['protocol'] === (p['protocol'] ?? 'TCP'))?.['nodePort'];

function freeClusterIp(family: 4 | 6, allocations: ServiceAllocations): string {
  const ip = allocations.freeIp(family);
  if (ip === undefined)
    throw invalid('Service', '', [{ field: 'spec.clusterIPs', message: 'no address is left in the Service range' }]);
  return ip;
}

/** A node port for each port that has none. */
function withNodePorts(ports: readonly Json[], before: Json, allocations: ServiceAllocations): Json[] {
  const mine = new Set(ports.map((p) => num(p['nodePort'])));
  return ports.map((p) => {
    const nodePort = p['nodePort'] ?? portBefore(p, before) ?? allocations.freeNodePort(str(p['protocol']), mine);
    if (nodePort === undefined)
      throw invalid('Service', '', [{ field: 'spec.ports', message: 'no node port is left' }]);
    mine.add(num(nodePort));
    return { ...p, nodePort };
  });
}
