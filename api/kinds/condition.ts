import { z } from 'zod';

/** A condition as Kubernetes has it (meta/v1 Condition). */
export const condition = z.strictObject({
  type: z.string().max(316),
  status: z.enum(['True', 'False', 'Unknown']),
  observedGeneration: z.int().optional(),
  lastTransitionTime: z.string().meta({ format: 'date-time' }),
  reason: z.string().max(1024),
  message: z.string().max(32768),
});

export type Condition = z.output<typeof condition>;
