import { z } from 'zod';
import type { CniRequest } from './cni.ts';

const name = z.string().max(253);

/** A line that the agent reads on its socket: a {@link CniRequest}, from any sender. */
export const cniRequest: z.ZodType<CniRequest> = z.object({
  verb: z.enum(['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'PODS']),
  containerID: name,
  netns: z.string().max(4096),
  ifname: z.string().max(15),
  args: z.record(z.string(), z.string().max(4096)),
  config: z.record(z.string(), z.unknown()),
});

/** What the runtime passes to GC: the attachments that it still knows. */
export const validAttachments = z.array(z.object({ containerID: name, ifname: name }));
