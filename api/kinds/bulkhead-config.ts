import { z } from 'zod';
import { API_SERVER_ACCESS } from '../nodeconfig.ts';

const namespaceName = z.string().min(1).max(63);

export const bulkheadConfigSpec = z
  .strictObject({
    isolation: z
      .strictObject({
        newNamespaces: z
          .enum(['Flat', 'Isolated'])
          .default('Flat')
          .describe(
            'What a namespace is that is made from now on and says nothing itself. Namespaces that are there already never change.',
          ),
        except: z
          .strictObject({
            names: z
              .array(namespaceName)
              .max(256)
              .default(['kube-system', 'kube-public', 'kube-node-lease', 'default'])
              .describe('Namespaces that stay on the flat network.')
              .meta({ 'x-kubernetes-list-type': 'set' }),
            matchLabels: z
              .record(z.string().max(317), z.string().max(63))
              .optional()
              .describe('Namespaces with all of these labels stay on the flat network. Absent: none.'),
          })
          .default({ names: ['kube-system', 'kube-public', 'kube-node-lease', 'default'] })
          .describe('Namespaces that are not isolated by themselves.'),
      })
      .default({
        newNamespaces: 'Flat',
        except: { names: ['kube-system', 'kube-public', 'kube-node-lease', 'default'] },
      })
      .describe('Whether namespaces are isolated without a label of their own.'),
    egress: z
      .strictObject({
        defaultMode: z
          .enum(['None', 'NAT', 'Routed'])
          .default('None')
          .describe('egress.mode of networks that isolated namespaces get from now on.'),
      })
      .default({ defaultMode: 'None' })
      .describe('The way out of the cluster.'),
    apiServerAccess: z
      .enum(API_SERVER_ACCESS)
      .default('All')
      .describe(
        'What the API server may reach on isolated networks, for kubectl proxies, webhooks and aggregated APIs. A network may narrow it. Registered: only ports that webhook configurations, conversions of CustomResourceDefinitions and APIServices name.',
      ),
  })
  .describe('Switches of the whole cluster. There is one object, named default.');

export const bulkheadConfigStatus = z
  .strictObject({
    isolatingSince: z
      .string()
      .optional()
      .describe('Namespaces made after this moment are isolated unless they say otherwise.')
      .meta({ format: 'date-time' }),
  })
  .describe('Written by the controller.');

export type BulkheadConfigSpec = z.output<typeof bulkheadConfigSpec>;
