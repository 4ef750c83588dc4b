import { z } from 'zod';

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
      .max(2)
      .optional()
      .describe("None, or one prefix of each family. With none, addresses come from each node's pod CIDR.")
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
        nodePortAccess: z
          .enum(['All', 'External'])
          .default('All')
          .describe(
            "Who reaches this network's Services by node ports. All: everybody who reaches the nodes. External: not the pods of other networks.",
          ),
      })
      .default({
        allow: [
          { namespace: 'kube-system', name: 'kube-dns' },
          { namespace: 'default', name: 'kubernetes' },
        ],
        nodePortAccess: 'All',
      })
      .describe('Services of other networks that are reachable from this one.'),
    sharedWith: z
      .strictObject({
        matchLabels: z
          .record(z.string().max(317), z.string().max(63))
          .optional()
          .describe('Labels that a namespace must have, all of them.'),
      })
      .optional()
      .describe('Namespaces whose pods may attach, beside the own one. Absent: none. An empty selector: all.'),
    mtu: z
      .int()
      .min(1280)
      .max(65535)
      .optional()
      .describe('MTU of pods on this network, bytes. Default: what the underlay carries.'),
  })
  .describe('What the network should be.');

const condition = z.strictObject({
  type: z.string().max(316),
  status: z.enum(['True', 'False', 'Unknown']),
  observedGeneration: z.int().optional(),
  lastTransitionTime: z.string().meta({ format: 'date-time' }),
  reason: z.string().max(1024),
  message: z.string().max(32768),
});

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
export type Condition = z.output<typeof condition>;
