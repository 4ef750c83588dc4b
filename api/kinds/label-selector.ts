import { z } from 'zod';

const requirement = z
  .strictObject({
    key: z.string().min(1).max(317).describe('The label.'),
    operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']).describe('How its value is compared.'),
    values: z
      .array(z.string().max(63))
      .max(64)
      .optional()
      .describe('For In and NotIn; absent for the others.')
      .meta({ 'x-kubernetes-list-type': 'atomic' }),
  })
  .meta({
    'x-kubernetes-validations': [
      {
        rule: "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0",
        message: 'In and NotIn need values; Exists and DoesNotExist take none',
      },
    ],
  });

/** A label selector as Kubernetes has it (meta/v1 LabelSelector). An empty one selects everything. */
export const labelSelector = z.strictObject({
  matchLabels: z
    .record(z.string().max(317), z.string().max(63))
    .optional()
    .describe('Labels that must be there, all of them.'),
  matchExpressions: z
    .array(requirement)
    .max(16)
    .optional()
    .describe('Conditions on labels, all of which must hold.')
    .meta({ 'x-kubernetes-list-type': 'atomic' }),
});

export type LabelSelector = z.output<typeof labelSelector>;
