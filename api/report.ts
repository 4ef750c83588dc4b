import { z } from 'zod';

/** Why a node is not as it should be; a reason of its condition BulkheadReady. */
export const NODE_PROBLEMS = ['KernelFeatureMissing', 'OtherNetworkConfigured', 'StateNotWritable'] as const;

/** Addresses and routes in one report: more are left out by the agent, and refused by the controller. */
export const MOST_ADDRESSES = 256;
export const MOST_ROUTES = 1024;

/** What an agent tells the controller about its node: the whole of it, each time. */
export const nodeReport = z.object({
  node: z.string(),
  /** Last `sync` that is realised in the kernel. */
  revision: z.number(),
  /** Blocks that this node gives addresses from. */
  blocks: z.array(
    z.object({
      cidr: z.string(),
      network: z.string(),
      used: z.number(),
      free: z.number(),
      given: z.boolean().default(false),
    }),
  ),
  /** Given blocks that it has done with: it does not use them again. */
  returned: z.array(z.string()).default([]),
  /** Pods that are attached, as soon as ADD has chosen the address. */
  endpoints: z.array(
    z.object({
      namespace: z.string(),
      pod: z.string(),
      uid: z.string(),
      network: z.string(),
      ips: z.array(z.string()),
      ifname: z.string().default('eth0'),
      mac: z.string().default(''),
      /** An interface beside the first. */
      extra: z.boolean().default(false),
    }),
  ),
  /** Networks whose instance could not be realised: each with the reason. */
  faults: z.array(z.object({ network: z.string(), message: z.string() })),
  /** What is wrong with the node itself. `blocking`: pods cannot be attached. */
  problems: z
    .array(z.object({ reason: z.enum(NODE_PROBLEMS), message: z.string(), blocking: z.boolean() }))
    .default([]),
  /** Whether the runtime's calls are served. */
  serving: z.boolean().default(true),
  /** Multus makes further interfaces on this node. */
  multus: z.boolean().default(false),
  version: z.string().default(''),
  /** Addresses of the node that Bulkhead did not give it: of every device but Bulkhead's own; no loopback, no link-local ones. */
  addresses: z.array(z.string().max(64)).max(MOST_ADDRESSES).default([]),
  /** Destinations of the node's connected and static routes, but Bulkhead's own and the default route. */
  routes: z.array(z.string().max(64)).max(MOST_ROUTES).default([]),
});
export type NodeReport = z.output<typeof nodeReport>;
export type NodeProblem = NodeReport['problems'][number];
