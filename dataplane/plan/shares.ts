import type { NftObject } from '../../lib/nft/program.ts';
import type { NodeItem } from '../../api/nodeconfig.ts';
import { nodeAddress } from '../../core/nodes/addresses.ts';
import { familyOf } from '../../lib/ip/address.ts';
import { element, type Fragment } from './fragment.ts';
import { addrType, FAMILIES, ipWord, OVERLAY_DEV, UPLINK_DEV } from './names.ts';

/**
 * Shares of the connection tracking table. Rules bound how fast a pod's connections may come, at the same cost whatever it has already:
 * that leaves the agent time to count (kernel/connection-shares.ts) and to name the sources that have more than their share in `over4`.
 */
export type ConnectionShares = {
  /** Entries that one pod may have in one table. */
  readonly pod: number;
  /** Entries that one network may have: in its own table, and of those in the root. */
  readonly network: number;
  /** Entries that all pods together may have in the root: the rest is for the node itself. */
  readonly root: number;
};

/** At least so many entries for a pod, however small the table. */
const LEAST = 4_096;

/**
 * @param most nf_conntrack_max of the node
 * @param pod entries for one pod, when they are given; 0: no shares
 */
export function connectionShares(
  most: number,
  pod = Math.max(LEAST, Math.floor(most / 8)),
): ConnectionShares | undefined {
  return pod === 0
    ? undefined
    : { pod, network: Math.max(2 * pod, Math.floor(most / 4)), root: Math.floor(most * 0.75) };
}

/** How fast new ones may come: a quarter of the share at once, and the whole of it in 16 seconds. */
const pace = (share: number): string =>
  `limit rate over ${Math.ceil(share / 16)}/second burst ${Math.ceil(share / 4)} packets`;

/** The first packet of a connection, and no later one: without a reply, all packets of a UDP flow count as new. */
const FIRST = 'ct status and confirmed == 0';

/** Where a base chain asks whether a connection may still be made. */
export const shareRule = (match = ''): string => `${match}${FIRST} jump share`;
/** The same for what a network sends to the root. */
export const SHARE_OUT_RULE = `${FIRST} jump share_out`;

/** Counters and sets that a table has in any case. */
function shareObjects(rules: readonly string[]): NftObject[] {
  return [
    { kind: 'counter', name: 'conn_rate' },
    { kind: 'counter', name: 'conn_share' },
    ...FAMILIES.flatMap((f): NftObject[] => [
      { kind: 'set', name: `new${f}`, type: addrType(f), flags: ['dynamic', 'timeout'], timeout: 60, size: 65_535 },
      { kind: 'set', name: `over${f}`, type: addrType(f) },
    ]),
    { kind: 'chain', name: 'share', rules },
  ];
}

const both = (rule: (ip: string, family: 4 | 6) => string): string[] => FAMILIES.map((f) => rule(ipWord(f), f));

const overRules = both((ip, f) => `${ip} saddr @over${f} counter name conn_share drop`);
const paceRules = ({ pod }: ConnectionShares, match = ''): string[] =>
  both((ip, f) => `${match}update @new${f} { ${ip} saddr ${pace(pod)} } counter name conn_rate drop`);

/** In a network's instance: for its pods, here and on other nodes. */
export function planInstanceShares(shares: ConnectionShares | undefined): Fragment {
  const out = shares ? [`${pace(shares.network)} counter name conn_rate drop`] : [];
  return {
    nft: [
      ...shareObjects(shares ? [...overRules, ...paceRules(shares, `iifname != "${UPLINK_DEV}" `)] : []),
      { kind: 'chain', name: 'share_out', rules: out },
    ],
  };
}

/** On-link addresses that pods may try to reach: so many at once, and so many a second, pods and networks alike. */
const NEW_NEIGHBOURS = {
  pod: 'limit rate over 4/second burst 64 packets',
  all: 'limit rate over 32/second burst 256 packets',
};

/**
 * In the root: for pods of the flat network and what instances send, also when it comes from another node.
 *
 * @param onLink prefixes of the node's own links: an address there that does not answer is an entry of the neighbour table, of
 *   which there is one for all namespaces of a node (gc_thresh3, 1024 by default)
 */
export function planRootShares(
  shares: ConnectionShares | undefined,
  nodes: Iterable<NodeItem>,
  onLink: readonly string[],
): Fragment {
  return {
    nft: [
      ...shareObjects(
        shares
          ? [
              ...overRules,
              // The whole of what another node masquerades; that one has looked at each pod already.
              ...both((ip, f) => `iifname "${OVERLAY_DEV}" ${ip} saddr @masked${f} return`),
              ...paceRules(shares),
              ...neighbourRules,
            ]
          : [],
      ),
      { kind: 'counter', name: 'neighbour_share' },
      { kind: 'set', name: 'new_neighbours', type: 'nf_proto', flags: ['dynamic', 'timeout'], timeout: 60, size: 16 },
      ...FAMILIES.flatMap((f): NftObject[] => {
        const [addr, rest] = [addrType(f), { flags: ['dynamic', 'timeout'], timeout: 60, size: 65_535 }] as const;
        return [
          { kind: 'set', name: `masked${f}`, type: addr },
          { kind: 'set', name: `on_link${f}`, type: addr, flags: ['interval'] },
          { kind: 'set', name: `neighbours${f}`, type: `${addr} . ${addr}`, ...rest, timeout: 300 },
          { kind: 'set', name: `seeks${f}`, type: addr, ...rest },
        ];
      }),
      { kind: 'chain', name: 'seek', rules: seekRules },
      ...[...nodes].flatMap((n) => n.podCIDRs.map((c) => element(`masked${familyOf(c)}`, nodeAddress(c)))),
      ...onLink.map((prefix) => element(`on_link${familyOf(prefix)}`, prefix)),
    ],
  };
}

/** Nodes are there, and answer. */
const neighbourRules = both((ip, f) => `${ip} daddr @on_link${f} ${ip} daddr != @nodes${f} jump seek`);

const seekRules = [
  // Renewed by use, so that who has found many hosts keeps them.
  ...both(
    (ip, f) => `${ip} saddr . ${ip} daddr @neighbours${f} update @neighbours${f} { ${ip} saddr . ${ip} daddr } return`,
  ),
  ...both((ip, f) => `update @seeks${f} { ${ip} saddr ${NEW_NEIGHBOURS.pod} } counter name neighbour_share drop`),
  `update @new_neighbours { meta nfproto ${NEW_NEIGHBOURS.all} } counter name neighbour_share drop`,
  ...both((ip, f) => `update @neighbours${f} { ${ip} saddr . ${ip} daddr }`),
];

/** Sources that are over their share, in one table. */
export const planOver = (sources: Iterable<string>): NftObject[] =>
  [...sources].map((ip) => element(`over${familyOf(ip)}`, ip));
