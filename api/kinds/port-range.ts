import { z } from 'zod';

const port = z.int().min(1).max(65535);

/** Ports of one protocol, as NetworkPolicy writes them. */
export const portRange = z
  .strictObject({
    protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP').describe('The protocol.'),
    port: port.describe('The port, or the first of a range.'),
    endPort: port.optional().describe('The last port of the range. Absent: only port.'),
  })
  .meta({
    'x-kubernetes-validations': [
      { rule: '!has(self.endPort) || self.endPort >= self.port', message: 'endPort must not be less than port' },
    ],
  });

export type PortRange = z.output<typeof portRange>;
