import { mustPrefix } from '../../lib/ip/prefix.ts';
import { bitsOf, formatIp } from '../../lib/ip/address.ts';
import type { View } from '../view/view.ts';
import { clashes } from './clashes.ts';
import { compileCell, type Cell, type Outcome } from '../policy/cell.ts';
import { addressesOf } from '../policy/groups.ts';
import { selects } from '../policy/index.ts';
import { type Direction, type Peer, type Policy, policyKey, type PolicyRule } from '../cluster/policy.ts';
import { policiesOf } from '../view/policies.ts';
import { groupsOf } from '../policy/profile.ts';

export const LINT_CODES = [
  'Unreadable',
  'SelectsNothing',
  'MatchesNothing',
  'NeverDecides',
  'OpenToTheWorld',
  'NoDNS',
  'EqualPriority',
  'PodByAddress',
] as const;

/** Something about a policy that its author hardly meant. */
export type Finding = {
  /** "NetworkPolicy ns/name" */
  readonly policy: string;
  readonly code: (typeof LINT_CODES)[number];
  /** Of the field: "spec.ingress[0].from[1]". */
  readonly path: string;
  readonly message: string;
};

/** All findings, by policy. Pods are those of the view: what selects pods that come later may be told of without reason. */
export function lint(view: View): Finding[] {
  const policies = [...(view.state.policies?.values() ?? [])];
  const overlapping = clashes(policies);
  const decided = decidingRules(view);
  return policies.flatMap((policy) => {
    const name = policyKey(policy);
    const say = (code: Finding['code'], path: string, message: string): Finding => ({
      policy: name,
      code,
      path,
      message,
    });
    const others = overlapping.get(name);
    const unused = lintSubject(view, policy, say);
    // Of a policy for nobody it is enough to know that.
    const rules =
      unused.length > 0
        ? []
        : (['ingress', 'egress'] as const).flatMap((d) => lintRules(view, policy, d, decided, say));
    return [
      ...policy.problems.map((p) => say('Unreadable', p.slice(0, p.indexOf(':')), p.slice(p.indexOf(':') + 2))),
      ...(others
        ? [
            say(
              'EqualPriority',
              'spec.priority',
              `has the priority of ${others.join(', ')}: the first by name comes first`,
            ),
          ]
        : []),
      ...unused,
      ...rules,
      ...lintDns(view, policy, say),
    ];
  });
}

type Say = (code: Finding['code'], path: string, message: string) => Finding;

function lintSubject({ state }: View, { subject, kind }: Policy, say: Say): Finding[] {
  if (!subject || [...state.pods.values()].some((p) => selects(state, subject, p))) return [];
  return [say('SelectsNothing', kind === 'NetworkPolicy' ? 'spec.podSelector' : 'spec.subject', 'selects no pod')];
}

function lintRules(
  view: View,
  policy: Policy,
  direction: Direction,
  decided: ReadonlySet<string>,
  say: Say,
): Finding[] {
  const side = direction === 'ingress' ? 'from' : 'to';
  return (policy[direction] ?? []).flatMap((rule, i) => {
    const path = `spec.${direction}[${i}]`;
    const peers = rule.peers === 'any' ? [] : rule.peers;
    const dead = peers.flatMap((peer, at) => lintPeer(view, peer, `${path}.${side}[${at}]`, rule, say));
    const matching = peers.length === 0 || dead.filter((f) => f.code === 'MatchesNothing').length < peers.length;
    return [
      ...dead,
      ...(policy.kind === 'NetworkPolicy' && direction === 'ingress' && rule.peers === 'any'
        ? [
            say(
              'OpenToTheWorld',
              path,
              `has no peers: it accepts from everywhere${rule.ports === 'any' ? ', on every port' : ''}`,
            ),
          ]
        : []),
      ...(matching && !decided.has(`${policyKey(policy)} ${direction} ${rule.name}`) && policy.problems.length === 0
        ? [say('NeverDecides', path, 'decides nothing: wherever it matches, another rule does so before it')]
        : []),
    ];
  });
}

function lintPeer({ state, podByIp }: View, peer: Peer, path: string, rule: PolicyRule, say: Say): Finding[] {
  switch (peer.kind) {
    case 'pods':
      return [...state.pods.values()].some((p) => selects(state, peer, p))
        ? []
        : [say('MatchesNothing', path, 'matches no pod')];
    case 'nodes':
      return [];
    case 'networks':
      return peer.cidrs.flatMap((cidr) => {
        const prefix = mustPrefix(cidr);
        const pod =
          prefix.length === bitsOf(prefix.family)
            ? podByIp.get(formatIp({ family: prefix.family, value: prefix.first }))
            : undefined;
        if (!pod || rule.action !== 'Accept') return [];
        return [
          say(
            'PodByAddress',
            path,
            `${cidr} is pod ${pod.namespace}/${pod.name} now, and another one when it starts anew: select it by labels`,
          ),
        ];
      });
  }
}

/** Every name begins with a question to the cluster's DNS. */
function lintDns({ state }: View, policy: Policy, say: Say): Finding[] {
  if (policy.kind !== 'NetworkPolicy' || !policy.egress || policy.egress.length === 0) return [];
  const pods = [...state.pods.values()].filter((p) => selects(state, policy.subject, p));
  const others = [...(state.policies?.values() ?? [])].filter(
    (o) => o.egress && (pods.length === 0 ? o === policy : pods.some((p) => selects(state, o.subject, p))),
  );
  const asks = (rule: PolicyRule): boolean =>
    rule.action === 'Accept' &&
    (rule.ports === 'any' ||
      rule.ports.some((p) =>
        p.kind === 'named' ? p.name.startsWith('dns') : p.protocol === 'UDP' && p.first <= 53 && p.last >= 53,
      ));
  if (others.some((o) => (o.egress ?? []).some(asks))) return [];
  return [say('NoDNS', 'spec.egress', 'lets no question to DNS out (UDP 53): names cannot be resolved')];
}

/** Rules that settle anything, for any pod and any address of these manifests: "policy direction rule". */
function decidingRules(view: View): Set<string> {
  const { profiles } = policiesOf(view);
  const found = new Set<string>();
  const seen = new Set<string>();
  const addresses = [...view.state.pods.values()].flatMap((p) => addressesOf(view.state, p));
  const note = (direction: Direction, { policy, rule }: Outcome): unknown =>
    found.add(`${policy} ${direction} ${rule}`);
  for (const pod of view.state.pods.values()) {
    const profile = profiles.of(pod);
    if (!profile || seen.has(profile.key)) continue;
    seen.add(profile.key);
    const edges = [...profile.groups.values()].flatMap((g) => [
      ...g.addresses,
      ...g.prefixes.map((p) => p.slice(0, p.indexOf('/'))),
    ]);
    const classes = new Map(
      [...new Set([...addresses, ...edges])].map((ip) => {
        const groups = groupsOf(profile.groups, ip);
        return [[...groups].sort().join('\n'), groups] as const;
      }),
    );
    for (const groups of [new Set<string>(), ...classes.values()])
      for (const direction of ['ingress', 'egress'] as const)
        for (const outcome of outcomesOf(compileCell(profile.item[direction], groups))) note(direction, outcome);
  }
  return found;
}

const outcomesOf = (cell: Cell): Outcome[] => [
  cell.other,
  ...cell.protocols.values(),
  ...cell.ports.map((p) => p.outcome),
];
