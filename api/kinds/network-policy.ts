import { z } from 'zod';
import { PROTOCOLS } from '../nodeconfig.ts';
import { anySelector } from './any-selector.ts';

/**
 * The parts of a NetworkPolicy (networking.k8s.io/v1), each strict: a field that this version does not know may narrow a rule, so
 * its rule must not be taken for a wider one.
 */

const port = z.int().min(1).max(65535);

export const networkPolicyPort = z
  .strictObject({
    protocol: z.enum(PROTOCOLS).default('TCP'),
    port: z
      .union([
        port,
        z
          .string()
          .max(15)
          .regex(
            /^(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/,
            'must be a number, or a name of lower case letters, digits and -',
          ),
      ])
      .optional(),
    endPort: port.optional(),
  })
  .refine(({ port: first, endPort }) => endPort === undefined || typeof first === 'number', {
    path: ['endPort'],
    message: 'needs a port that is a number',
  })
  .refine(({ port: first, endPort }) => endPort === undefined || typeof first !== 'number' || endPort >= first, {
    path: ['endPort'],
    message: 'must not be below port',
  });

export const networkPolicyPeer = z
  .strictObject({
    podSelector: anySelector.optional(),
    namespaceSelector: anySelector.optional(),
    ipBlock: z.strictObject({ cidr: z.string(), except: z.array(z.string()).optional() }).optional(),
  })
  .refine(
    ({ ipBlock, podSelector, namespaceSelector }) =>
      ipBlock ? !podSelector && !namespaceSelector : podSelector !== undefined || namespaceSelector !== undefined,
    'must be either an ipBlock, or a podSelector or namespaceSelector or both',
  );

export const policyTypes = z.array(z.enum(['Ingress', 'Egress'])).max(2);

/** Fields of the spec, of a rule of each direction. */
export const NETWORK_POLICY_FIELDS = ['podSelector', 'policyTypes', 'ingress', 'egress'] as const;
