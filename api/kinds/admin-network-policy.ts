import { z } from 'zod';
import { anySelector } from './any-selector.ts';
import { clusterPolicyPriority, clusterPolicyRuleName } from './cluster-network-policy.ts';
import { PROTOCOLS } from '../nodeconfig.ts';

/**
 * AdminNetworkPolicy and BaselineAdminNetworkPolicy (policy.networking.k8s.io/v1alpha1, up to release 0.1.7): the kinds before
 * ClusterNetworkPolicy. Bulkhead enforces neither; these are the parts that can be translated. Strict, as a field that is not known
 * may narrow a rule. Limits are those of the specification.
 */

/** Most rules in a direction, peers in a rule, ports in a rule. */
export const ADMIN_POLICY_LIMIT = 100;
/** Most networks, or domain names, in a peer. */
const IN_A_PEER = 25;

const port = z.int().min(1).max(65535);
const protocol = z.enum(PROTOCOLS).default('TCP');

export const adminPolicyPort = z
  .strictObject({
    portNumber: z.strictObject({ protocol, port }).optional(),
    namedPort: z.string().min(1).optional(),
    portRange: z
      .strictObject({ protocol, start: port, end: port })
      .refine(({ start, end }) => start <= end, 'end must not be below start')
      .optional(),
  })
  .refine(one, 'must say exactly one of portNumber, namedPort, portRange');

const subjectParts = {
  namespaces: anySelector.optional(),
  pods: z.strictObject({ namespaceSelector: anySelector, podSelector: anySelector }).optional(),
};

export const adminPolicySubject = z.strictObject(subjectParts).refine(one, 'must say exactly one of namespaces, pods');

export const adminPolicyEgressPeer = z
  .strictObject({
    ...subjectParts,
    nodes: anySelector.optional(),
    networks: z.array(z.string().max(43)).min(1).max(IN_A_PEER).optional(),
    domainNames: z.array(z.string()).min(1).max(IN_A_PEER).optional(),
  })
  .refine(one, 'must say exactly one of namespaces, pods, nodes, networks, domainNames');

const ports = z.array(adminPolicyPort).max(ADMIN_POLICY_LIMIT).optional();

const spec = <Action extends 'Allow' | 'Deny' | 'Pass'>(...actions: readonly Action[]) => {
  const action = z.enum(actions);
  const rule = { name: clusterPolicyRuleName, action, ports };
  return {
    subject: adminPolicySubject,
    ingress: z
      .array(z.strictObject({ ...rule, from: z.array(adminPolicySubject).min(1).max(ADMIN_POLICY_LIMIT) }))
      .max(ADMIN_POLICY_LIMIT)
      .optional(),
    egress: z
      .array(z.strictObject({ ...rule, to: z.array(adminPolicyEgressPeer).min(1).max(ADMIN_POLICY_LIMIT) }))
      .max(ADMIN_POLICY_LIMIT)
      .optional(),
  };
};

export const adminNetworkPolicySpec = z.strictObject({
  priority: clusterPolicyPriority,
  ...spec('Allow', 'Deny', 'Pass'),
});

/** There is at most one, named default. */
export const baselineAdminNetworkPolicySpec = z.strictObject(spec('Allow', 'Deny'));

function one(parts: Readonly<Record<string, unknown>>): boolean {
  return Object.values(parts).filter((v) => v !== undefined).length === 1;
}
