import { z } from 'zod';

/** Why a node is not as it should be; a reason of its condition BulkheadReady. */
export const NODE_PROBLEMS = [
  'KernelFeatureMissing',
  'OtherNetworkConfigured',
  'StateNotWritable',
  'UnderlayAddressMissing',
  'PodsOutsidePodCIDR',
] as const;

/** Addresses and routes in one report: more are left out by the agent, and refused by the controller. */
export const MOST_ADDRESSES = 256;
export const MOST_ROUTES = 1024;

/** The rest of a report has bounds, too: a node has a few hundred pods. */
export const MOST_ENDPOINTS = 2048;
export const MOST_BLOCKS = 2048;
export const MOST_FAULTS = 512;
export const LONGEST_MESSAGE = 512;

const count = z.number().nonnegative();
const cidr = z.string().max(64);
const ip = z.string().max(64);
/** "namespace/name" */
const network = z.string().max(320);
const message = z.string().max(LONGEST_MESSAGE);

/** What an agent tells the controller about its node: the whole of it, each time. */
export const nodeReport = z.object({
  node: z.string().max(253),
  /** Last `sync` that is realised in the kernel. */
  revision: count,
  /** Blocks that this node gives addresses from. */
  blocks: z
    .array(z.object({ cidr, network, used: count, free: count, given: z.boolean().default(false) }))
    .max(MOST_BLOCKS),
  /** Assigned blocks that it has done with: it does not use them again. */
  returned: z.array(cidr).max(MOST_BLOCKS).default([]),
  /** Pods that are attached, as soon as ADD has chosen the address. */
  endpoints: z
    .array(
      z.object({
        namespace: z.string().max(253),
        pod: z.string().max(253),
        uid: z.string().max(128),
        network,
        ips: z.array(ip).max(16),
        ifname: z
          .string()
          .regex(/^[^/\s:]{1,15}$/)
          .default('eth0'),
        mac: z
          .string()
          .regex(/^([0-9a-f]{2}(:[0-9a-f]{2}){5})?$/i)
          .default(''),
        /** An interface beside the first. */
        extra: z.boolean().default(false),
      }),
    )
    .max(MOST_ENDPOINTS),
  /** Networks whose instance could not be realised: each with the reason. */
  faults: z.array(z.object({ network, message })).max(MOST_FAULTS),
  /** What is wrong with the node itself. `blocking`: pods cannot be attached. */
  problems: z
    .array(z.object({ reason: z.enum(NODE_PROBLEMS), message, blocking: z.boolean() }))
    .max(16)
    .default([]),
  /** Whether the runtime's calls are served. */
  serving: z.boolean().default(true),
  /** Multus makes further interfaces on this node. */
  multus: z.boolean().default(false),
  version: z.string().max(64).default(''),
  /** Addresses of the node that Bulkhead did not give it: of every device but Bulkhead's own; no loopback, no link-local ones. */
  addresses: z.array(z.string().max(64)).max(MOST_ADDRESSES).default([]),
  /** Destinations of the node's connected and static routes, but Bulkhead's own and the default route. */
  routes: z.array(z.string().max(64)).max(MOST_ROUTES).default([]),
});
export type NodeReport = z.output<typeof nodeReport>;
export type NodeProblem = NodeReport['problems'][number];
