import { z } from 'zod';
import { API_SERVER_ACCESS, ITEM_KINDS, type ItemKind, POLICY_TIERS, PROTOCOLS } from '../../api/nodeconfig.ts';
import { parseIp } from '../../lib/ip/address.ts';
import { parsePrefix } from '../../lib/ip/prefix.ts';

// The schema of what comes from outside: the controller's stream, and the file that was saved of it. Fields of a newer controller pass.

const ip = z.string().refine((v) => parseIp(v) !== undefined, 'is no address');
const prefix = z.string().refine((v) => parsePrefix(v) !== undefined, 'is no prefix');
const name = z.string().max(1_024);
const port = z.number().int().min(0).max(65_535);
const protocol = z.enum(PROTOCOLS);
const mac = z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i);
const ports = z.union([z.literal('any'), z.array(z.looseObject({ protocol, first: port, last: port }))]);
const assignment = z.union([
  z.looseObject({ network: name }),
  z.looseObject({ problem: z.looseObject({ code: name, message: z.string() }) }),
]);
const egress = z.enum(['None', 'NAT', 'Routed']);
const access = z.enum(API_SERVER_ACCESS).optional();
const wanted = { ips: z.array(ip).optional(), mac: mac.optional() };
const side = z.looseObject({
  isolatedBy: z.array(z.string()),
  rules: z.array(
    z.looseObject({
      tier: z.enum(POLICY_TIERS),
      policy: z.string(),
      rule: z.string(),
      action: z.enum(['Accept', 'Deny', 'Pass']),
      matches: z.array(z.looseObject({ peers: z.union([z.literal('any'), z.array(z.string())]), ports })),
    }),
  ),
});

const SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  cluster: z.looseObject({
    podCIDRs: z.array(prefix),
    serviceCIDRs: z.array(prefix),
    closedNodePorts: z.array(z.looseObject({ protocol, port })).optional(),
    closedFrontends: z.array(z.looseObject({ ip, protocol, port })).optional(),
    policed: z.looseObject({ namespaces: z.array(name), others: z.boolean() }).optional(),
    apiServers: z.looseObject({ nodes: z.array(name), addresses: z.array(ip) }).optional(),
    settings: z
      .looseObject({
        isolateNew: z.boolean(),
        since: z.number().optional(),
        exceptNames: z.array(name),
        exceptLabels: z.record(z.string(), z.string()).optional(),
        egress,
        apiServerAccess: access,
      })
      .optional(),
  }),
  node: z.looseObject({
    name,
    underlay: ip,
    addresses: z.array(ip),
    further: z.array(ip).optional(),
    podCIDRs: z.array(prefix),
    zone: name.optional(),
  }),
  network: z.looseObject({
    key: name,
    vni: z.number().int().min(1).max(0xff_ff_ff),
    subnets: z.array(prefix).optional(),
    closed: z.literal(true).optional(),
    egress,
    egressAllow: z.array(z.looseObject({ prefix, ports })).optional(),
    egressVia: z.looseObject({ node: name, addresses: z.array(ip) }).optional(),
    mtu: z.number().int().min(68).max(65_535).optional(),
    apiServerAccess: access,
    allow: z.array(name),
  }),
  namespace: z.looseObject({ name, assignment }),
  group: z.looseObject({ addresses: z.array(ip), prefixes: z.array(prefix) }),
  profile: z.looseObject({ ingress: side, egress: side }),
  pod: z.looseObject({
    namespace: name,
    name,
    uid: name,
    assignment,
    ...wanted,
    interfaces: z
      .array(z.looseObject({ ifname: z.string().regex(/^[^/\s:]{1,15}$/), assignment, ...wanted }))
      .optional(),
    profile: z.string().optional(),
  }),
  block: z.looseObject({
    cidr: prefix,
    node: name,
    network: name,
    given: z.literal(true).optional(),
    except: z.array(prefix).optional(),
  }),
  service: z.looseObject({
    namespace: name,
    name,
    network: name,
    clusterIPs: z.array(ip),
    frontends: z.array(z.looseObject({ ip, sources: z.array(prefix).optional() })).optional(),
    affinitySeconds: z.number().int().min(0).max(86_400).optional(),
    internalTrafficPolicy: z.enum(['Cluster', 'Local']),
    exposed: z.boolean(),
    ports: z.array(
      z.looseObject({
        name: z.string(),
        protocol,
        port,
        registered: z.literal(true).optional(),
        nodePort: port.optional(),
        backends: z.array(
          z.looseObject({
            ip,
            port,
            node: name,
            ending: z.literal(true).optional(),
            zones: z.array(name).optional(),
            nodes: z.array(name).optional(),
          }),
        ),
      }),
    ),
  }),
  peer: z.looseObject({
    network: name,
    other: name,
    parts: z.array(z.looseObject({ prefixes: z.array(prefix), pods: ports, services: ports })),
    services: z.array(name),
  }),
  opening: z.looseObject({
    pod: name,
    network: name,
    ips: z.array(ip),
    ports,
    sources: z.array(ip).optional(),
    namespaces: z.array(name).optional(),
  }),
  source: z.looseObject({ prefixes: z.array(prefix) }),
  closed: z.looseObject({ backends: z.array(z.looseObject({ ip, protocol, port })) }),
};
const ANY = z.looseObject({});

/** Kinds without which others would mean something wider: a rule that denies a group which is missing denies nothing. */
const NEEDED: ReadonlySet<string> = new Set(['cluster', 'node', 'group', 'profile', 'closed'] satisfies ItemKind[]);

export const isItemKind = (kind: unknown): kind is ItemKind => (ITEM_KINDS as readonly unknown[]).includes(kind);

/** Whether nothing may be taken over when an item of this kind cannot be read; of other kinds the item alone is left out, which closes. */
export const isNeeded = (kind: ItemKind): boolean => NEEDED.has(kind);

/** Why a value is no item of its kind, with the path of the first fault; undefined when it is one. */
export function itemProblem(kind: ItemKind, key: unknown, value: unknown): string | undefined {
  if (typeof key !== 'string') return `${kind}: a key that is no text`;
  const parsed = (SCHEMAS[kind] ?? ANY).safeParse(value);
  if (parsed.success) return undefined;
  const [issue] = parsed.error.issues;
  return `${kind} ${key}: ${issue?.path.map(String).join('.') ?? ''}: ${issue?.message ?? ''}`;
}
