import type { Cell, Outcome } from '../../core/policy/cell.ts';
import type { Direction } from '../../core/cluster/policy.ts';
import { isFew } from '../../core/cluster/ports.ts';
import type { NftObject } from '../../lib/nft/program.ts';
import { REVOKED_SETS } from './denied-flows.ts';
import { element } from './fragment.ts';
import { addrType, FAMILIES, hex, ipWord } from './names.ts';

/**
 * Policies in nft. The address at the other end has a class: a number for the set of groups that it is in. Class and profile make
 * one number, and that with protocol and port is looked up in maps that all profiles share. In the chain `forward`:
 *
 *   iifname vmap @ep_from    eg_N: class of the receiver, profile N into the upper bits
 *   iifname @pol_from        ask_eg: port, range, protocol, rest  →  the chain of a rule, which drops or comes back
 *   oifname vmap @ep_to      in_N: class of the sender, …
 *   oifname @pol_to          ask_in  →  the chain of a rule, which drops or accepts
 *
 * A new pod is one element of a map of classes, whatever the number of policies that speak of it; a connection costs the same few
 * lookups with ten peers or a hundred thousand. Chains come back instead of going on, and the two sides have maps of their own: the
 * kernel follows every element of a verdict map when it looks for loops, so profiles and rules must add up, not multiply.
 *
 * The number is in a mark: in an instance that of the packet, which no other program sees there; in the root that of the connection,
 * since kube-proxy keeps a bit of its own in that of the packet.
 */

/** Where the number is while it is asked about. */
export type Register = 'meta mark' | 'ct mark';

/** Bits of the class; the profile is above them. */
const CLASS_BITS = 20;
export const MOST_CLASSES = 2 ** CLASS_BITS;
export const MOST_PROFILES = 2 ** (32 - CLASS_BITS);
const PROFILE_MASK = hex(-MOST_CLASSES >>> 0);

/** Class of every address that is in no group. */
export const NO_CLASS = 0;

/** Everything that policies need in a table and that does not depend on them. */
export function policyObjects(register: Register): NftObject[] {
  const address = (field: 'saddr' | 'daddr'): string[] => [
    `${register} set 0`,
    ...FAMILIES.flatMap((f) => [
      `${register} set ${ipWord(f)} ${field} map @cls_range${f}`,
      `${register} set ${ipWord(f)} ${field} map @cls${f}`,
    ]),
  ];
  const set = (name: string, type: string, rest: Partial<NftObject & { kind: 'set' }> = {}): NftObject => ({
    kind: 'set',
    name,
    type,
    ...rest,
  });
  const cells = (side: CellSide): NftObject[] => [
    set(`${side}_port`, 'mark . inet_proto . inet_service', { to: 'verdict' }),
    set(`${side}_range`, 'mark . inet_proto . inet_service', { to: 'verdict', flags: ['interval'] }),
    set(`${side}_proto`, 'mark . inet_proto', { to: 'verdict' }),
    set(`${side}_rest`, 'mark', { to: 'verdict' }),
  ];
  const ask = (side: CellSide): NftObject => {
    const lookups = [
      `${register} . meta l4proto . th dport vmap @${side}_port`,
      `${register} . meta l4proto . th dport vmap @${side}_range`,
      `${register} . meta l4proto vmap @${side}_proto`,
      `${register} vmap @${side}_rest`,
    ];
    // An address whose groups mean nothing to this profile is to it as one that is in none.
    const again = [`${register} set ${register} and ${PROFILE_MASK}`, ...lookups];
    return {
      kind: 'chain',
      name: `ask_${side}`,
      rules: [STARTED, ...lookups, ...again, 'counter name policy_unknown drop'],
    };
  };
  return [
    ...FAMILIES.flatMap((f): NftObject[] => [
      set(`cls${f}`, addrType(f), { to: 'mark' }),
      set(`cls_range${f}`, addrType(f), { to: 'mark', flags: ['interval'] }),
    ]),
    ...REVOKED_SETS,
    set('ep_from', 'ifname', { to: 'verdict' }),
    set('ep_to', 'ifname', { to: 'verdict' }),
    set('pol_from', 'ifname'),
    set('pol_to', 'ifname'),
    ...cells('eg'),
    ...cells('in'),
    // No class and no profile: nothing is to be asked.
    element('eg_rest', hex(0), 'return'),
    ...LOG_SHARE,
    { kind: 'counter', name: 'revoked' },
    { kind: 'counter', name: 'policy_unknown' },
    { kind: 'counter', name: 'no_endpoint' },
    { kind: 'chain', name: 'cls_dst', rules: address('daddr') },
    { kind: 'chain', name: 'cls_src', rules: address('saddr') },
    // What comes next, here or behind the tunnel, must not take the number for a mark of its own.
    { kind: 'chain', name: 'ok_eg', rules: [`${register} set 0`] },
    { kind: 'chain', name: 'ok_in', rules: [`${register} set 0`, 'accept'] },
    { kind: 'chain', name: 'eg_started', rules: [STARTED] },
    { kind: 'chain', name: 'in_started', rules: [STARTED, 'accept'] },
    ask('eg'),
    ask('in'),
    // Of pods whose policies are not made yet.
    { kind: 'chain', name: 'unplanned', rules: ['counter name policy_unknown drop'] },
  ];
}

/** Maps of verdicts are kept apart by side. */
type CellSide = 'eg' | 'in';

/** Rules for packets of pods that begin a connection, in the chain `forward`, up to the end of the sender's side. */
export const fromRules: readonly string[] = ['iifname vmap @ep_from', 'iifname @pol_from jump ask_eg'];

/** The receiver's side. What reaches the end of these rules has an unknown interface. */
export const toRules: readonly string[] = ['oifname vmap @ep_to', 'oifname @pol_to jump ask_in'];

/**
 * A connection that conntrack has forgotten must not come back in the middle, maybe the other way round: the root's conntrack is
 * loose about that (kube-network-policies#246, #253).
 */
const STARTED = 'meta l4proto tcp tcp flags & (fin | syn | rst | ack) != syn counter name policy_unknown drop';

/** Behind "established": packets of connections that a policy has cut, and that a later one would take for new. */
export const revokedRules = (): string[] =>
  FAMILIES.map(
    (f) =>
      `meta l4proto . ${ipWord(f)} saddr . th sport . ${ipWord(f)} daddr . th dport @revoked${f} counter name revoked drop`,
  );

/** Which way a chain of a profile looks. `node`: from a pod to its own node, where NetworkPolicies do not count. */
export type Way = 'egress' | 'ingress' | 'node';

export const profileChain = (way: Way, profile: number): string =>
  `${way === 'ingress' ? 'in' : way === 'egress' ? 'eg' : 'en'}_${profile}`;

/** The chain of one side of a profile. `toNode`: number of the profile for the pod's own node; "silent" when nothing is asked there. */
export function planProfileChain(
  register: Register,
  way: Way,
  profile: number,
  toNode?: number | 'silent',
): NftObject[] {
  const node = toNode === 'silent' ? [`${register} set 0 return`] : [`goto ${profileChain('node', toNode ?? 0)}`];
  return [
    {
      kind: 'chain',
      name: profileChain(way, profile),
      rules: [
        ...(toNode === undefined ? [] : FAMILIES.flatMap((f) => node.map((n) => `${ipWord(f)} daddr @self${f} ${n}`))),
        `jump ${way === 'ingress' ? 'cls_src' : 'cls_dst'}`,
        `${register} set ${register} or ${hex(profile * MOST_CLASSES)}`,
      ],
    },
  ];
}

/** Numbers of rules, and whether what they deny is logged. */
export type Rules = { readonly of: (outcome: Outcome) => number; readonly log: boolean };

/** What one side of a profile says of addresses of one class. */
export function planCell(way: Way, profile: number, cls: number, cell: Cell, rules: Rules): NftObject[] {
  const key = hex(profile * MOST_CLASSES + cls);
  const made = new Map<Outcome, ReturnType<typeof planRule>>();
  const to = (outcome: Outcome): string => {
    const known = made.get(outcome) ?? planRule(way, outcome, rules.of(outcome), rules.log);
    made.set(outcome, known);
    return known.name;
  };
  const side: CellSide = way === 'ingress' ? 'in' : 'eg';
  const elements = [
    element(`${side}_rest`, key, to(cell.other)),
    ...[...cell.protocols].map(([protocol, outcome]) =>
      element(`${side}_proto`, `${key} . ${protocol.toLowerCase()}`, to(outcome)),
    ),
    ...cell.ports.flatMap(({ protocol, first, last, outcome }) => {
      const value = to(outcome);
      const at = `${key} . ${protocol.toLowerCase()}`;
      // A hash finds single ports in half the time, and takes new elements without being copied.
      if (!isFew({ first, last })) return [element(`${side}_range`, `${at} . ${first}-${last}`, value)];
      return Array.from({ length: last - first + 1 }, (_, i) => element(`${side}_port`, `${at} . ${first + i}`, value));
    }),
  ];
  return [...[...made.values()].flatMap((m) => m.objects), ...elements];
}

/** Where connections end up that a rule has decided on, counted under the rule's number. The sender's side only comes back. */
function planRule(
  way: Way,
  { verdict, tier }: Outcome,
  rule: number,
  log: boolean,
): { readonly name: string; readonly objects: NftObject[] } {
  const accept = way === 'ingress' ? 'goto ok_in' : 'goto ok_eg';
  if (tier === 'Default') return { name: accept, objects: [] };
  const counter = { kind: 'counter', name: ruleCounter(rule) } as const;
  const side: CellSide = way === 'ingress' ? 'in' : 'eg';
  const name = `${verdict === 'Deny' ? 'no' : 'ok'}_${side}_${rule}`;
  const rules =
    verdict === 'Deny'
      ? log
        ? [`counter name ${counter.name} jump log_share`, logRule(side, rule)]
        : [`counter name ${counter.name} drop`]
      : [`counter name ${counter.name} ${accept}`];
  return { name: `goto ${name}`, objects: [counter, { kind: 'chain', name, rules }] };
}

/** A few of each rule: enough to see who is kept out, and no more however many come. */
const logRule = (side: CellSide, rule: number): string =>
  `log prefix "${LOG_PREFIX}${side} ${rule}" group ${LOG_GROUP} snaplen 96 drop`;

/**
 * In front of the log: so much of one sender, and of all in this network together. The rest is dropped here, and counted: one that
 * is loud does not hide what others are refused.
 */
const LOG_SHARE: readonly NftObject[] = [
  { kind: 'counter', name: 'log_share' },
  ...FAMILIES.map(
    (f): NftObject => ({
      kind: 'set',
      name: `logged${f}`,
      type: addrType(f),
      flags: ['dynamic', 'timeout'],
      timeout: 60,
      size: 65_535,
    }),
  ),
  { kind: 'set', name: 'logged', type: 'nf_proto', flags: ['dynamic', 'timeout'], timeout: 60, size: 16 },
  {
    kind: 'chain',
    name: 'log_share',
    rules: [
      ...FAMILIES.map(
        (f) =>
          `update @logged${f} { ${ipWord(f)} saddr limit rate over 5/second burst 20 packets } counter name log_share drop`,
      ),
      'update @logged { meta nfproto limit rate over 100/second burst 400 packets } counter name log_share drop',
    ],
  },
];

export const LOG_GROUP = 5;
const LOG_PREFIX = 'bulkhead ';

/** What the prefix of a logged packet says: which side of which rule. */
export function readLogPrefix(prefix: string): { readonly direction: Direction; readonly rule: number } | undefined {
  const found = /^bulkhead (eg|in) (\d+)$/.exec(prefix);
  return found ? { direction: found[1] === 'in' ? 'ingress' : 'egress', rule: Number(found[2]) } : undefined;
}

export const ruleCounter = (rule: number): string => `rule_${rule}`;

/** The number of the rule that a counter belongs to; undefined for other counters. */
export function ruleOfCounter(name: string): number | undefined {
  const found = /^rule_(\d+)$/.exec(name);
  return found ? Number(found[1]) : undefined;
}

/** The class of one address, as set, key and value; without a class: that it has none. */
export const classElement = (ip: string, cls?: number): [set: string, key: string, value: string | undefined] => [
  ip.includes(':') ? 'cls6' : 'cls4',
  ip,
  cls === undefined ? undefined : hex(cls),
];

/** The class of a prefix, for addresses that have none of their own. */
export const planClassRange = (prefix: string, cls: number): NftObject & { readonly kind: 'element' } =>
  element(`cls_range${prefix.includes(':') ? 6 : 4}`, prefix, hex(cls));
