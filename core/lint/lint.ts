import { type Direction, type Peer, type Policy, policyKey, type PolicyRule } from '../cluster/policy.ts';
import type { Pod } from '../cluster/state.ts';
import { matches } from '../cluster/selector.ts';
import { clashes } from '../decide/clashes.ts';
import type { View } from '../view/view.ts';
import { lintNetworks } from './addresses.ts';
import { LINT_CODES, type LintCode } from './codes.ts';
import { Deciders, ruleKey } from './deciders.ts';
import { equalPolicies, equalRules } from './duplicates.ts';
import { emptinessOf } from './emptiness.ts';
import type { Finding, Say } from './finding.ts';
import { lintDns, namesDns, Resolving, UDP_DNS } from './dns.ts';
import { notJudged } from './not-judged.ts';
import { hasNoPort, lintPorts } from './ports.ts';
import { type World, worldOf } from './world.ts';

export type LintOptions = {
  /** Objects of the input of kinds that a view does not hold: they tell which pods come at run time. */
  readonly others?: readonly Readonly<Record<string, unknown>>[];
  /** The view is of a cluster: what is not there does not exist. */
  readonly complete?: boolean;
};

/** All findings, by policy. They are true of the pods of the view, as `decide` judges them. */
export function lint(view: View, { others = [], complete = false }: LintOptions = {}): Finding[] {
  const world = worldOf(view, others, complete);
  const shared: Shared = {
    world,
    overlapping: clashes(world.policies),
    equal: equalPolicies(world.policies),
    deciders: new Deciders(UDP_DNS),
    resolving: new Resolving(world),
    crowded: world.index.crowdedOut().policies,
  };
  for (const pod of view.state.pods.values()) {
    const profile = world.profiles.of(pod);
    if (!profile) continue;
    const named = world.index.selecting(pod).some((p) => p.egress?.some(namesDns));
    if (shared.deciders.add(profile).dns || named) shared.resolving.addPod(pod);
  }
  // Of pods that the input does not have, a policy is asked with those that would hold for them too.
  for (const policy of world.policies) {
    if (!policy.subject || world.pods.of(policy.subject).length > 0) continue;
    const beside = world.companions.of(policy);
    const { dns } = shared.deciders.add(world.profiles.resolve(beside, imaginaryPod(policy)));
    if (dns || beside.some((p) => p.egress?.some(namesDns))) shared.resolving.addPolicy(policy);
  }
  return [...notJudged(others, { complete }), ...world.policies.flatMap((policy) => lintPolicy(shared, policy))];
}

type Shared = {
  readonly world: World;
  readonly overlapping: ReadonlyMap<string, readonly string[]>;
  readonly equal: ReadonlyMap<string, string>;
  readonly deciders: Deciders;
  readonly resolving: Resolving;
  readonly crowded: ReadonlyMap<string, string>;
};

/** A pod as a policy may mean it, of which nothing is known. */
const imaginaryPod = ({ namespace, subject }: Policy): Pod => ({
  namespace,
  name: '(any)',
  uid: '',
  node: '',
  hostNetwork: false,
  ips: [],
  labels: subject?.pods.matchLabels ?? {},
  serviceAccount: 'default',
  annotations: {},
  finished: false,
  created: 0,
  ready: false,
  ports: [],
});

function lintPolicy(shared: Shared, policy: Policy): Finding[] {
  const key = policyKey(policy);
  const say: Say = (code, path, message, severity = LINT_CODES[code].severity) => ({
    code,
    severity,
    policy: key,
    path,
    message,
  });
  const subject = lintSubject(shared.world, policy, say);
  const findings = [
    ...policy.problems.map((p) => say('Unreadable', p.slice(0, p.indexOf(':')), p.slice(p.indexOf(':') + 2))),
    ...lintWhole(shared, policy, key, say),
    ...subject,
    ...(['ingress', 'egress'] as const).flatMap((d) => lintRules(shared, policy, d, say)),
    ...lintDns(shared.resolving, policy, say),
  ];
  const silenced = new Set(policy.remarks?.silenced);
  return silenced.size === 0 ? findings : findings.filter((f) => !silenced.has(f.code));
}

/** What is said of a policy as a whole. */
function lintWhole({ overlapping, equal, crowded }: Shared, policy: Policy, key: string, say: Say): Finding[] {
  const others = overlapping.get(key);
  const same = equal.get(key);
  const over = crowded.get(key);
  return [
    ...(over === undefined ? [] : [say('OverBudget', 'spec', `admits nothing: ${over}`)]),
    ...(policy.remarks?.leftOut ?? []).map((d) => {
      const type = d === 'ingress' ? 'Ingress' : 'Egress';
      return say('UnusedDirection', `spec.${d}`, `has rules, and spec.policyTypes has no ${type}: they do nothing`);
    }),
    ...(others
      ? [
          say(
            'EqualPriority',
            'spec.priority',
            `has the priority of ${others.join(', ')}: the first by name comes first`,
          ),
        ]
      : []),
    ...(same === undefined ? [] : [say('DuplicatePolicy', 'spec', `says the same of the same pods as ${same}`)]),
  ];
}

function lintSubject(world: World, { subject, kind }: Policy, say: Say): Finding[] {
  if (!subject || world.pods.of(subject).length > 0) return [];
  const { code, message, severity } = emptinessOf(world, subject, 'selects');
  return [say(code, kind === 'NetworkPolicy' ? 'spec.podSelector' : 'spec.subject', message, severity)];
}

function lintRules(shared: Shared, policy: Policy, direction: Direction, say: Say): Finding[] {
  const rules = policy[direction] ?? [];
  const equal = equalRules(rules);
  return rules.flatMap((rule, i) => {
    const path = pathOf(policy, direction, rule, i);
    const before = equal.get(i);
    if (before !== undefined) return [say('DuplicateRule', path, `says the same as spec.${direction}[${before}]`)];
    return lintRule(shared, policy, direction, rule, path, say);
  });
}

/** The rules of a NetworkPolicy have their place as their name: those that cannot be read are not in the list. */
const pathOf = ({ kind }: Policy, direction: Direction, { name }: PolicyRule, i: number): string =>
  kind === 'NetworkPolicy' ? `spec.${name}` : `spec.${direction}[${i}]`;

function lintRule(
  shared: Shared,
  policy: Policy,
  direction: Direction,
  rule: PolicyRule,
  path: string,
  say: Say,
): Finding[] {
  const side = direction === 'ingress' ? 'from' : 'to';
  const peers = rule.peers === 'any' ? [] : rule.peers;
  const dead: Finding[] = [];
  let live = peers.length === 0;
  for (const [at, peer] of peers.entries()) {
    const found = lintPeer(shared.world, peer, `${path}.${side}[${at}]`, direction, rule, say);
    dead.push(...found);
    live ||= !found.some((f) => EMPTY.has(f.code));
  }
  return [
    ...dead,
    ...lintOpen(policy, direction, rule, path, say),
    ...lintPorts(shared.world, policy, direction, rule, path, say),
    ...(live ? lintShadow(shared, policy, direction, rule, path, say) : []),
  ];
}

/** Codes of peers that match nothing, for whatever reason. */
const EMPTY: ReadonlySet<LintCode> = new Set([
  'MatchesNothing',
  'NoSuchNamespace',
  'NoPods',
  'HostNetwork',
  'Finished',
  'MadeAtRunTime',
  'EmptyBlock',
]);

function lintPeer(world: World, peer: Peer, path: string, direction: Direction, rule: PolicyRule, say: Say): Finding[] {
  switch (peer.kind) {
    case 'pods': {
      if (world.pods.of(peer).length > 0) return [];
      const { code, message, severity } = emptinessOf(world, peer, 'matches');
      return [say(code, path, message, severity)];
    }
    case 'nodes': {
      const nodes = [...world.view.state.nodes.values()];
      return nodes.length === 0 || nodes.some((n) => matches(peer.nodes, n.labels))
        ? []
        : [say('MatchesNothing', path, 'matches no node')];
    }
    case 'networks':
      return lintNetworks(world, peer, path, direction, rule, say);
  }
}

/** Rules without peers admit every peer: meant, unless the list is there and empty. */
function lintOpen(policy: Policy, direction: Direction, rule: PolicyRule, path: string, say: Say): Finding[] {
  if (policy.kind !== 'NetworkPolicy') return [];
  const side = direction === 'ingress' ? 'from' : 'to';
  const empty = (field: string): boolean => policy.remarks?.emptyLists.includes(`${path}.${field}`) ?? false;
  const ports = empty('ports')
    ? [say('EmptyList', `${path}.ports`, 'is empty, and that means every port: leave it out, or name ports')]
    : [];
  if (rule.peers !== 'any') return ports;
  const every = rule.ports === 'any' ? ', on every port' : '';
  if (direction === 'egress')
    return empty(side)
      ? [
          ...ports,
          say('EmptyList', `${path}.${side}`, 'is empty, and that means every destination: leave it out, or name some'),
        ]
      : ports;
  return [
    ...ports,
    empty(side)
      ? say(
          'OpenToTheWorld',
          path,
          `from is empty, and that means every peer${every}: leave it out, or name some`,
          'warning',
        )
      : say('OpenToTheWorld', path, `has no peers: it accepts from everywhere${every}`),
  ];
}

/** Rules that never have a say, since others come before them wherever they match. */
function lintShadow(
  { world, deciders, equal, crowded }: Shared,
  policy: Policy,
  direction: Direction,
  rule: PolicyRule,
  path: string,
  say: Say,
): Finding[] {
  const key = policyKey(policy);
  const rules = ruleKey(key, direction, rule.name);
  if (deciders.speaking.has(rules) || policy.problems.length > 0 || !policy.subject) return [];
  if (equal.has(key) || crowded.has(key) || hasNoPort(world, policy, direction, rule)) return [];
  const before = deciders.before(rules, direction);
  // Several NetworkPolicies may say the same of a pod: each is right by itself.
  const own =
    policy.kind === 'ClusterNetworkPolicy' ||
    before.some((b) => !b.startsWith('NetworkPolicy ') || b.startsWith(`${key} `));
  const names = before.map((b) => (b.startsWith(`${key} `) ? `rule ${b.slice(key.length + 1)}` : b)).join(', ');
  const message = `decides nothing: wherever it matches, ${names === '' ? 'another rule' : names} does so before it`;
  return [say('NeverDecides', path, message, own ? undefined : 'info')];
}
