import { z } from 'zod';
import { API_SERVER_ACCESS } from '../nodeconfig.ts';
import { condition } from './condition.ts';
import { labelSelector } from './label-selector.ts';
import { portRange } from './port-range.ts';

/** A CIDR prefix as text. Whether its host bits are zero is checked by CEL and by core. */
const cidr = z
  .string()
  .max(43)
  .describe('A CIDR prefix, for example 10.20.0.0/16 or fd00:20::/64.')
  .meta({
    'x-kubernetes-validations': [{ rule: 'isCIDR(self)', message: 'must be a CIDR prefix such as 10.20.0.0/16' }],
  });

/** A service that pods of the network may reach although it lives in the flat network. */
const serviceRef = z.strictObject({
  namespace: z.string().min(1).max(63).describe('Namespace of the Service.'),
  name: z.string().min(1).max(63).describe('Name of the Service.'),
});

export const virtualNetworkSpec = z
  .strictObject({
    subnets: z
      .array(cidr)
      .max(8)
      .optional()
      .describe(
        "Where addresses of pods come from, within the pools of the BulkheadConfig (subnets.pools). A family without a subnet has addresses from each node's pod CIDR.",
      )
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
    staticPrefixes: z
      .array(cidr)
      .max(16)
      .optional()
      .describe('Parts of the subnets that only pods get which ask for an address there (annotation bulkhead.dev/ips).')
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
    reservedPrefixes: z
      .array(cidr)
      .max(16)
      .optional()
      .describe('Parts of the subnets that no pod ever gets.')
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
    addressing: z
      .enum(['Unique', 'Private'])
      .default('Unique')
      .describe('Unique: subnets overlap with nothing else in the cluster. Private: they may overlap with anything.'),
    egress: z
      .strictObject({
        mode: z
          .enum(['None', 'NAT', 'Routed'])
          .default('None')
          .describe(
            'None: no way out of the cluster. NAT: out with the address of the node. Routed: out with the address of the pod.',
          ),
        addresses: z
          .array(z.string().min(2).max(39))
          .max(2)
          .optional()
          .describe(
            'With mode NAT: the addresses, one of each family, that outsiders see. They must be on the link of the nodes that may have them, and in a pool of the BulkheadConfig (egress.addressPools).',
          )
          .meta({ 'x-kubernetes-list-type': 'atomic' }),
        nodeSelector: labelSelector
          .optional()
          .describe('Nodes that may have the addresses. Absent: all. One of them has them; when it fails, another.'),
        allow: z
          .array(
            z.strictObject({
              cidr,
              ports: z
                .array(portRange)
                .max(16)
                .optional()
                .describe('Only these ports. Absent: all, and ICMP.')
                .meta({ 'x-kubernetes-list-type': 'atomic' }),
            }),
          )
          .max(128)
          .optional()
          .describe('What may be reached outside the cluster. Absent: everything. Means nothing with mode None.')
          .meta({ 'x-kubernetes-list-type': 'atomic' }),
      })
      .meta({
        'x-kubernetes-validations': [
          {
            rule: "!has(self.addresses) || self.addresses.size() == 0 || self.mode == 'NAT'",
            message: 'addresses need mode NAT',
          },
        ],
      })
      .default({ mode: 'None' })
      .describe('What pods of this network may reach outside the cluster.'),
    services: z
      .strictObject({
        allow: z
          .array(serviceRef)
          .max(64)
          .default([
            { namespace: 'kube-system', name: 'kube-dns' },
            { namespace: 'default', name: 'kubernetes' },
          ])
          .describe(
            'Services of the flat network that pods of this network may reach. Default: cluster DNS and the Kubernetes API.',
          )
          .meta({ 'x-kubernetes-list-type': 'atomic' }),
        access: z
          .enum(['AllowList', 'DefaultNetwork'])
          .default('AllowList')
          .describe('AllowList: only what allow names. DefaultNetwork: all Services of the flat network.'),
        nodePortAccess: z
          .enum(['All', 'External'])
          .default('All')
          .describe(
            "Who reaches this network's Services by node ports. All: every client that reaches the nodes. External: not the pods of other networks.",
          ),
      })
      .default({
        allow: [
          { namespace: 'kube-system', name: 'kube-dns' },
          { namespace: 'default', name: 'kubernetes' },
        ],
        access: 'AllowList',
        nodePortAccess: 'All',
      })
      .describe('Services of other networks that are reachable from this one.'),
    sharedWith: labelSelector
      .optional()
      .describe('Namespaces whose pods may attach, beside the own one. Absent: none. An empty selector: all.'),
    apiServerAccess: z
      .enum(API_SERVER_ACCESS)
      .optional()
      .describe(
        'What the API server may reach on this network. Absent: what the BulkheadConfig says. A network narrows that, and never widens it. Registered: only ports that webhook configurations, conversions of CustomResourceDefinitions and APIServices name.',
      ),
    mtu: z
      .int()
      .min(1280)
      .max(65535)
      .optional()
      .describe('MTU of pods on this network, bytes. Default: what the underlay carries.'),
  })
  .describe('What the network should be.');

export const virtualNetworkStatus = z
  .strictObject({
    vni: z
      .int()
      .min(2)
      .max(16777215)
      .optional()
      .describe('VXLAN network identifier; the namespace of the network on each node is bh-<vni>.'),
    nodes: z
      .array(z.string())
      .optional()
      .describe('Nodes that have pods of this network.')
      .meta({ 'x-kubernetes-list-type': 'set' }),
    egressNode: z.string().optional().describe('The node that has the fixed egress addresses now.'),
    addressesUsed: z.int().optional().describe('Addresses that pods have now.'),
    addressesFree: z.int().optional().describe('Addresses left in the blocks that nodes hold for this network.'),
    conditions: z
      .array(condition)
      .optional()
      .describe('Ready, with a reason.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] }),
  })
  .describe('What the network is. Written by the controller.');

/** Spec with defaults filled in. */
export type VirtualNetworkSpec = z.output<typeof virtualNetworkSpec>;
export type VirtualNetworkStatus = z.output<typeof virtualNetworkStatus>;
