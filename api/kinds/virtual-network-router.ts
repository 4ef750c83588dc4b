import { z } from 'zod';
import { condition } from './condition.ts';
import { labelSelector } from './label-selector.ts';
import { portRange } from './port-range.ts';

const objectName = z.string().min(1).max(63);

const routerImport = z
  .strictObject({
    namespace: objectName.optional().describe('Namespace of the other router. Default: the own one.'),
    name: z.string().min(1).max(63).optional().describe('Name of the other router.'),
    namespaceSelector: labelSelector.optional().describe('Routers of all namespaces with these labels.'),
    selector: labelSelector.optional().describe('Only routers with these labels. Absent: all of those namespaces.'),
  })
  .meta({
    'x-kubernetes-validations': [
      {
        rule: 'has(self.name) ? !has(self.namespaceSelector) && !has(self.selector) : (has(self.namespaceSelector) || has(self.selector)) && !(has(self.namespace) && has(self.namespaceSelector))',
        message: 'write either name (and namespace), or selectors',
      },
    ],
  });

export const virtualNetworkRouterSpec = z
  .strictObject({
    type: z
      .enum(['Mesh', 'Hub', 'Spoke'])
      .default('Mesh')
      .describe(
        'Mesh: its networks reach each other, and those of mesh routers on both sides of an import. Hub and Spoke: the networks of a hub reach those of its spokes; hubs do not reach hubs, nor spokes spokes.',
      ),
    virtualNetworks: z
      .array(objectName)
      .max(64)
      .optional()
      .describe('VirtualNetworks of this namespace, by name.')
      .meta({ 'x-kubernetes-list-type': 'set' }),
    virtualNetworkSelector: labelSelector
      .optional()
      .describe('VirtualNetworks of this namespace, by label. An empty selector: all. Absent: none.'),
    defaultNetwork: z
      .strictObject({
        namespaceSelector: labelSelector
          .optional()
          .describe(
            'Pods of which namespaces on the flat network. Absent: those of this namespace. Others must name this router in their annotation bulkhead.dev/routers.',
          ),
      })
      .optional()
      .describe('Makes pods of the flat network a member. Absent: they are none.'),
    import: z
      .array(routerImport)
      .max(64)
      .optional()
      .describe('Routers whose networks are to be reached. Across namespaces both sides must name each other.')
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
    traffic: z
      .enum(['All', 'ServicesOnly'])
      .default('All')
      .describe('All: pods and Services. ServicesOnly: Services by their cluster IPs, pods not.'),
    ports: z
      .array(portRange)
      .max(64)
      .optional()
      .describe('Only these ports of pods, as they are behind Services. Absent: all, and ICMP.')
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
  })
  .describe('Which networks it connects, and to what.')
  .meta({
    'x-kubernetes-validations': [
      {
        rule: 'has(self.virtualNetworks) && self.virtualNetworks.size() > 0 || has(self.virtualNetworkSelector) || has(self.defaultNetwork)',
        message: 'name at least one member: virtualNetworks, virtualNetworkSelector or defaultNetwork',
      },
    ],
  });

export const virtualNetworkRouterStatus = z
  .strictObject({
    members: z
      .array(z.string())
      .optional()
      .describe('Networks that this router has now.')
      .meta({ 'x-kubernetes-list-type': 'set' }),
    open: z.int().optional().describe('Pairs of networks that are connected.'),
    waiting: z.int().optional().describe('Pairs that wait for something.'),
    pairs: z
      .array(
        z.strictObject({
          networks: z.array(z.string()).describe('The two networks.').meta({ 'x-kubernetes-list-type': 'atomic' }),
          router: z.string().optional().describe('The router on the other side, if it is another.'),
          state: z.enum(['Open', 'Waiting', 'Refused']).describe('Refused: the types of the routers do not connect.'),
          message: z.string().describe('What is open, or what is missing.'),
        }),
      )
      .optional()
      .describe('The first 128 pairs, one by one.')
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
    conditions: z
      .array(condition)
      .optional()
      .describe('Ready, with a reason.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] }),
  })
  .describe('What the router does. Written by the controller.');

/** Spec with defaults filled in. */
export type VirtualNetworkRouterSpec = z.output<typeof virtualNetworkRouterSpec>;
export type VirtualNetworkRouterStatus = z.output<typeof virtualNetworkRouterStatus>;
