import { z } from 'zod';
import { API_SERVER_ACCESS } from '../nodeconfig.ts';
import { labelSelector } from './label-selector.ts';

const namespaceName = z.string().min(1).max(63);

/** A CIDR prefix of an administrator's pool. */
const prefix = z
  .string()
  .max(43)
  .meta({
    'x-kubernetes-validations': [
      {
        rule: 'isCIDR(self) && cidr(self) == cidr(self).masked()',
        message: 'must be a CIDR prefix with zero host bits, such as 10.0.0.0/8',
      },
    ],
  });
const prefixes = (what: string) => z.array(prefix).max(64).describe(what).meta({ 'x-kubernetes-list-type': 'atomic' });

const namespaceSelector = labelSelector
  .default({})
  .describe('Namespaces for which this holds, by the namespace of the VirtualNetwork. Absent or empty: all.');

/** Ranges of addresses that pods may have unless the administrator says otherwise: RFC 1918, RFC 6598, RFC 4193. */
export const PRIVATE_RANGES = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'];

const subnetPool = z.strictObject({
  prefixes: prefixes('A subnet must lie in one of these.').min(1),
  largest: z
    .strictObject({
      ipv4: z.int().min(1).max(32).default(16).describe('Shortest prefix length of an IPv4 subnet.'),
      ipv6: z.int().min(1).max(128).default(48).describe('Shortest prefix length of an IPv6 subnet.'),
    })
    .default({ ipv4: 16, ipv6: 48 })
    .describe('How large one subnet may be.'),
  namespaceSelector,
});

const subnets = z
  .strictObject({
    pools: z
      .array(subnetPool)
      .max(64)
      .default([{ prefixes: PRIVATE_RANGES, largest: { ipv4: 16, ipv6: 48 }, namespaceSelector: {} }])
      .describe(
        'Where spec.subnets of VirtualNetworks may come from. A subnet needs one pool that selects its namespace. Absent: private ranges (RFC 1918, RFC 6598, RFC 4193) for all. An empty list: no network has subnets of its own.',
      )
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
  })
  .prefault({})
  .describe("Networks' own subnets. What a node has an address in or a route to is refused in any case.");

const mode = z.enum(['None', 'NAT', 'Routed']);

const egress = z
  .strictObject({
    defaultMode: mode.default('None').describe('egress.mode of networks that isolated namespaces get from now on.'),
    limits: z
      .array(
        z.strictObject({
          modes: z
            .array(mode)
            .min(1)
            .max(3)
            .describe(
              'Modes that networks may have. Another one is refused, and counts as None where it is stored already.',
            )
            .meta({ 'x-kubernetes-list-type': 'set' }),
          namespaceSelector,
        }),
      )
      .max(64)
      .default([])
      .describe('What egress.mode may be. All limits that select a namespace hold. Absent: every mode.')
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
    addressPools: z
      .array(
        z.strictObject({
          prefixes: prefixes('An egress address must lie in one of these.').min(1),
          namespaceSelector,
        }),
      )
      .max(64)
      .default([])
      .describe(
        'Where spec.egress.addresses of VirtualNetworks may come from. An address needs one pool that selects its namespace. Absent: no network has fixed egress addresses.',
      )
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
  })
  .prefault({})
  .describe('The way out of the cluster.');

const services = z
  .strictObject({
    limits: z
      .array(
        z.strictObject({
          allow: z
            .array(
              z.strictObject({
                namespace: namespaceName.describe('Namespace of the Service.'),
                name: z
                  .string()
                  .min(1)
                  .max(63)
                  .optional()
                  .describe('Name of the Service. Absent: all of the namespace.'),
              }),
            )
            .max(256)
            .describe(
              'Services of the flat network that networks may reach by services.allow or services.access. The cluster DNS and the Kubernetes API are named here too when networks are to reach them.',
            )
            .meta({ 'x-kubernetes-list-type': 'atomic' }),
          namespaceSelector,
        }),
      )
      .max(64)
      .default([])
      .describe(
        'Which Services of the flat network networks may open to themselves. All limits that select a namespace hold. Absent: all.',
      )
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
    externalIPs: prefixes(
      'Addresses that Services may name in spec.externalIPs. Others are refused, and not served in networks.',
    ).default([]),
    podlessEndpoints: prefixes(
      'Addresses that may stand in EndpointSlices without being those of a pod, behind Services that networks reach by services.allow. The Kubernetes API needs no entry.',
    ).default([]),
  })
  .prefault({})
  .describe('Services: what networks may reach of others, and which addresses Services may have.');

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
    subnets,
    egress,
    services,
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
