import { z } from 'zod';
import { anySelector } from './any-selector.ts';
import { condition } from './condition.ts';

/**
 * ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2, release 0.2.0, experimental channel). Its parts are strict: a field that
 * this version does not know may narrow a rule, so its rule must not be taken for a wider one. Limits are those of the specification.
 */

/** Most rules in a direction, peers in a rule, protocols in a rule. */
export const CLUSTER_POLICY_LIMIT = 25;

const port = z.int().min(1).max(65535);
const ONE = { minProperties: 1, maxProperties: 1 };

const transport = z
  .strictObject({
    destinationPort: z
      .strictObject({
        number: port.optional(),
        range: z
          .strictObject({ start: port, end: port })
          .refine(({ start, end }) => start < end, 'start must be below end')
          .optional()
          .meta({
            'x-kubernetes-validations': [{ rule: 'self.start < self.end', message: 'start must be below end' }],
          }),
      })
      .refine(one, 'must be a number or a range')
      .optional()
      .meta(ONE)
      .describe('Absent: every port of the protocol.'),
  })
  .optional();

export const clusterPolicyProtocol = z
  .strictObject({
    tcp: transport,
    udp: transport,
    sctp: transport,
    destinationNamedPort: z.string().min(1).optional().describe('A name that the receiving container gives to a port.'),
  })
  .refine(one, 'must say exactly one of tcp, udp, sctp, destinationNamedPort')
  .meta(ONE);

const podsPeer = z.strictObject({
  namespaceSelector: anySelector.optional().describe('Absent or empty: every namespace.'),
  podSelector: anySelector,
});

export const clusterPolicySubject = z
  .strictObject({ namespaces: anySelector.optional(), pods: podsPeer.optional() })
  .refine(one, 'must say exactly one of namespaces, pods')
  .meta(ONE);

export const clusterPolicyIngressPeer = clusterPolicySubject;

export const clusterPolicyEgressPeer = z
  .strictObject({
    namespaces: anySelector.optional(),
    pods: podsPeer.optional(),
    nodes: anySelector.optional(),
    networks: z
      .array(z.string().max(43))
      .min(1)
      .max(CLUSTER_POLICY_LIMIT)
      .optional()
      .meta({ 'x-kubernetes-list-type': 'set' }),
    domainNames: z
      .array(z.string())
      .min(1)
      .max(CLUSTER_POLICY_LIMIT)
      .optional()
      .meta({ 'x-kubernetes-list-type': 'set' }),
  })
  .refine(one, 'must say exactly one of namespaces, pods, nodes, networks, domainNames')
  .meta(ONE);

export const clusterPolicyAction = z
  .enum(['Accept', 'Deny', 'Pass'])
  .describe('Accept and Deny settle it for this pod; Pass leaves it to the next tier.');
export const clusterPolicyTier = z
  .enum(['Admin', 'Baseline'])
  .describe('Admin comes before NetworkPolicies, Baseline behind them.');
export const clusterPolicyPriority = z.int().min(0).max(1000).describe('Lower comes first.');
export const clusterPolicyRuleName = z
  .string()
  .max(100)
  .optional()
  .describe('For people: it is named where the rule decides.');

const protocols = z.array(clusterPolicyProtocol).min(1).max(CLUSTER_POLICY_LIMIT).optional();
const rule = { name: clusterPolicyRuleName, action: clusterPolicyAction, protocols };

export const clusterNetworkPolicySpec = z.strictObject({
  tier: clusterPolicyTier,
  priority: clusterPolicyPriority,
  subject: clusterPolicySubject.describe('The pods for which the rules hold; never those of the host network.'),
  ingress: z
    .array(z.strictObject({ ...rule, from: z.array(clusterPolicyIngressPeer).min(1).max(CLUSTER_POLICY_LIMIT) }))
    .max(CLUSTER_POLICY_LIMIT)
    .optional(),
  egress: z
    .array(z.strictObject({ ...rule, to: z.array(clusterPolicyEgressPeer).min(1).max(CLUSTER_POLICY_LIMIT) }))
    .max(CLUSTER_POLICY_LIMIT)
    .optional(),
});

export const clusterNetworkPolicyStatus = z.strictObject({
  conditions: z
    .array(condition)
    .optional()
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] }),
});

function one(parts: Readonly<Record<string, unknown>>): boolean {
  return Object.values(parts).filter((v) => v !== undefined).length === 1;
}
