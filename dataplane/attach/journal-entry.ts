import { z } from 'zod';
import { parseIp } from '../../lib/ip/address.ts';
import { parsePrefix } from '../../lib/ip/prefix.ts';
import type { JournalEntry } from './attachment.ts';

const ip = z.string().refine((v) => parseIp(v) !== undefined);
const prefix = z.string().refine((v) => parsePrefix(v) !== undefined);
const block = { cidr: prefix, network: z.string(), given: z.literal(true).optional() };
const link = z.string().regex(/^[^/\s:]{1,15}$/);
const port = z.number().int().min(1).max(65_535);

const attachment = z.looseObject({
  id: z.string(),
  containerID: z.string(),
  ifname: link,
  netns: z.string(),
  namespace: z.string(),
  pod: z.string(),
  uid: z.string(),
  network: z.string(),
  vni: z.number().int(),
  hostIf: link,
  mac: z.string(),
  mtu: z.number().int(),
  ips: z.array(ip),
  parent: z.string().optional(),
  extra: z.looseObject({ prefixes: z.array(prefix), first: z.array(ip) }).optional(),
  table: z.number().int().optional(),
  ports: z
    .array(
      z.looseObject({
        hostPort: port,
        containerPort: port,
        protocol: z.enum(['tcp', 'udp', 'sctp']),
        hostIP: z.union([z.literal(''), ip]),
      }),
    )
    .optional(),
});

const entry = z.discriminatedUnion('op', [
  z.looseObject({ op: z.literal('block'), ...block }),
  z.looseObject({ op: z.literal('unblock'), ...block }),
  z.looseObject({ op: z.literal('take'), ip, owner: z.string(), fixed: z.boolean().optional() }),
  z.looseObject({ op: z.literal('release'), ip, at: z.number() }),
  z.looseObject({ op: z.literal('attach'), attachment }),
  z.looseObject({ op: z.literal('detach'), id: z.string() }),
]);

/** The entry in a line of the journal, or undefined when it holds none. */
export function readEntry(line: string): JournalEntry | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return entry.safeParse(value).success ? (value as JournalEntry) : undefined;
  } catch {
    return undefined;
  }
}
