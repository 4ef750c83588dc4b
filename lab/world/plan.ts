import { canonicalIp } from '../../lib/ip/address.ts';

/** Addresses and files of a lab. All labs have the same addresses: each has a fabric of its own. */

export type LabFamily = 'ipv4' | 'ipv6' | 'dual';

/** What `lab up` was asked for; kept in lab.json. */
export type LabSpec = {
  readonly name: string;
  readonly nodes: number;
  readonly family: LabFamily;
  readonly port: number;
  readonly tokens: Readonly<Record<string, string>>;
  readonly checkout: string;
  readonly agentArgs?: readonly string[];
  /** Prefix length of a node's IPv4 pod CIDR, as kube-controller-manager's --node-cidr-mask-size; 24 when not given. */
  readonly nodeCidrLength?: number;
  /** Whether the policies and the webhook of manifests/admission are installed; yes when not given. */
  readonly admission?: boolean;
};

export const families = (f: LabFamily): readonly (4 | 6)[] => (f === 'ipv4' ? [4] : f === 'ipv6' ? [6] : [4, 6]);

const FABRIC = { 4: '192.0.2.', 6: '2001:db8:2::' } as const;
export const FABRIC_LENGTH = { 4: 24, 6: 64 } as const;
/** An address on the fabric: .1 is the router, .2 the API server, .3 the controller, nodes from .11. */
export const fabricAddress = (family: 4 | 6, host: number): string => canonicalIp(`${FABRIC[family]}${host}`) ?? '';
export const ROUTER = 1;
export const API = 2;
export const CONTROLLER = 3;
export const nodeHost = (index: number): number => 11 + index;

/** "The internet": a host of the lab's own. */
export const OUTSIDE = {
  4: { host: '203.0.113.10', router: '203.0.113.1', length: 24 },
  6: { host: '2001:db8::10', router: '2001:db8::1', length: 64 },
} as const;
export const OUTSIDE_PORT = 80;
export const OUTSIDE_UDP_PORT = 7;

export const API_PORT = 6443;
export const CONTROLLER_PORT = 9443;
export const POD_CIDR = { 4: '10.244.0.0/16', 6: 'fd00:10:244::/48' } as const;
export const NODE_CIDR_LENGTH = { 4: 24, 6: 64 } as const;
export const SERVICE_CIDR = { 4: '10.96.0.0/16', 6: 'fd00:10:96::/112' } as const;
export const KUBERNETES_IP = { 4: '10.96.0.1', 6: 'fd00:10:96::1' } as const;
export const DNS_IP = { 4: '10.96.0.10', 6: 'fd00:10:96::a' } as const;

export const nodeNames = (count: number): string[] => Array.from({ length: count }, (_, i) => `n${i + 1}`);

/** Where everything of a lab is; removed as a whole by `lab down`. */
export const LABS_DIR = '/run/bulkhead-lab';
export const labDir = (name: string): string => `${LABS_DIR}/${name}`;
export const netPath = (name: string, what: string): string => `${labDir(name)}/ns/${what}.net`;
export const mountPath = (name: string, node: string): string => `${labDir(name)}/ns/${node}.mnt`;

/** Names that can be folders. */
export const isLabName = (name: string): boolean => /^[a-z0-9][a-z0-9-]{0,30}$/.test(name);
