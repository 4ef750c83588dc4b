import { z } from 'zod';

/** A label selector of a Kubernetes kind: as `labelSelector`, without the limits that our own kinds set. */
export const anySelector = z.strictObject({
  matchLabels: z.record(z.string(), z.string()).optional(),
  matchExpressions: z
    .array(
      z
        .strictObject({
          key: z.string().min(1),
          operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
          values: z.array(z.string()).optional(),
        })
        .refine(
          ({ operator, values = [] }) => (operator === 'In' || operator === 'NotIn') === values.length > 0,
          'In and NotIn need values; Exists and DoesNotExist take none',
        ),
    )
    .optional(),
});
