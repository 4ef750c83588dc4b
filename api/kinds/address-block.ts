import { z } from 'zod';

export const addressBlockSpec = z
  .strictObject({
    cidr: z
      .string()
      .max(43)
      .describe('The addresses of this block.')
      .meta({ 'x-kubernetes-validations': [{ rule: 'isCIDR(self)', message: 'must be a CIDR prefix' }] }),
    node: z.string().min(1).max(253).describe('The node that gives these addresses to its pods.'),
    source: z
      .enum(['NodePodCIDR', 'Subnet'])
      .optional()
      .describe(
        'NodePodCIDR: cut by the node from its own range. Subnet: given by the controller from a subnet of the network.',
      ),
    network: z
      .strictObject({
        namespace: z.string().max(63).describe('Namespace of the VirtualNetwork; empty for the flat network.'),
        name: z.string().min(1).max(253).describe('Name of the VirtualNetwork, or default-network.'),
      })
      .describe('The network whose pods have these addresses.'),
  })
  .describe('Written by the controller only, from what the nodes announce.')
  .meta({
    'x-kubernetes-validations': [{ rule: 'self == oldSelf', message: 'a block never changes: it is made and deleted' }],
  });
