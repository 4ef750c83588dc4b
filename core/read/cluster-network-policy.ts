import type { output } from 'zod';
import {
  CLUSTER_POLICY_LIMIT,
  clusterPolicyAction,
  clusterPolicyEgressPeer,
  clusterPolicyIngressPeer,
  clusterPolicyPriority,
  clusterPolicyProtocol,
  clusterPolicyRuleName,
  clusterPolicySubject,
  clusterPolicyTier,
} from '../../api/kinds/cluster-network-policy.ts';
import { formatPrefix, parsePrefix } from '../../lib/ip/prefix.ts';
import {
  ALL_PORTS,
  type Direction,
  type Peer,
  type PodsSelector,
  type Policy,
  type PolicyRule,
  type Port,
} from '../cluster/policy.ts';
import { policyOverBudget, selectorOverBudget, withinBudget } from './policy-budget.ts';
import { remarksOf } from './policy-remarks.ts';
import { createdOf, EVERYTHING, objectOf, Problems } from './problems.ts';
import { withoutNulls } from './without-nulls.ts';

const FIELDS = ['tier', 'priority', 'subject', 'ingress', 'egress'];

/**
 * A ClusterNetworkPolicy. As its specification says of rules that cannot be read: one that accepts matches nothing, one that
 * denies or passes denies everything. A policy whose subject cannot be read selects nothing: the whole cluster would be the
 * only other choice.
 */
export function parseClusterNetworkPolicy(raw: Readonly<Record<string, unknown>>): Policy {
  const meta = objectOf(raw['metadata']);
  const spec = withoutNulls(objectOf(raw['spec']));
  const over = policyOverBudget(spec, 'ClusterNetworkPolicy');
  const problems = new Problems();
  problems.unknownFields(spec, FIELDS, 'spec');
  const tier = problems.read(clusterPolicyTier, spec['tier'], 'spec.tier');
  const priority = problems.read(clusterPolicyPriority, spec['priority'], 'spec.priority');
  // Without its subject it selects nothing: there is no part of the cluster that it was meant for.
  const subject = selectorOverBudget(spec['subject'])
    ? undefined
    : problems.read(clusterPolicySubject, spec['subject'], 'spec.subject');
  const readable = tier !== undefined && priority !== undefined;
  const rules = (d: Direction): Pick<Policy, Direction> =>
    over.length > 0 ? closedRules(d, spec[d]) : readRules(d, spec[d], problems);
  const policy: Policy = {
    kind: 'ClusterNetworkPolicy',
    tier: tier ?? 'Admin',
    priority: priority ?? 0,
    namespace: '',
    name: String(meta['name'] ?? ''),
    uid: String(meta['uid'] ?? ''),
    generation: Number(meta['generation'] ?? 0),
    created: createdOf(meta),
    subject: subject && readable ? selectorOf(subject) : undefined,
    ...rules('ingress'),
    ...rules('egress'),
    problems: problems.all,
    ...(over.length > 0 ? {} : remarksOf(raw)),
  };
  return withinBudget(policy, over);
}

/** Of rules that are too many to be read: nothing, when all of them accept; else everything is denied. */
function closedRules(direction: Direction, raw: unknown): Pick<Policy, Direction> {
  if (raw === undefined || raw === null) return {};
  const accepting = Array.isArray(raw) && raw.every((rule) => objectOf(rule)['action'] === 'Accept');
  return { [direction]: accepting ? [] : [denyAll(direction)] };
}

function selectorOf({ namespaces, pods }: output<typeof clusterPolicySubject>): PodsSelector {
  return { namespaces: namespaces ?? pods?.namespaceSelector ?? EVERYTHING, pods: pods?.podSelector ?? EVERYTHING };
}

function readRules(direction: Direction, raw: unknown, problems: Problems): Pick<Policy, Direction> {
  const path = `spec.${direction}`;
  if (raw === undefined || raw === null) return {};
  if (!Array.isArray(raw)) {
    problems.add(path, 'must be a list');
    return { [direction]: [denyAll(direction)] };
  }
  if (raw.length > CLUSTER_POLICY_LIMIT)
    problems.add(path, `has ${raw.length} rules, and at most ${CLUSTER_POLICY_LIMIT} are allowed`);
  const rules = raw.slice(0, CLUSTER_POLICY_LIMIT).flatMap((item, i) => readRule(direction, item, i, problems));
  // What the rules beyond the budget would have said is not known.
  return { [direction]: raw.length > CLUSTER_POLICY_LIMIT ? [...rules, denyAll(path)] : rules };
}

function readRule(direction: Direction, raw: unknown, i: number, problems: Problems): PolicyRule[] {
  const path = `spec.${direction}[${i}]`;
  const rule = objectOf(raw);
  const side = direction === 'ingress' ? 'from' : 'to';
  const before = problems.all.length;
  problems.unknownFields(rule, ['name', 'action', side, 'protocols'], path);
  const action = problems.read(clusterPolicyAction, rule['action'], `${path}.action`);
  const own = problems.read(clusterPolicyRuleName, rule['name'], `${path}.name`);
  const peers: Peer[] =
    direction === 'ingress'
      ? problems
          .readList(clusterPolicyIngressPeer, rule[side], `${path}.${side}`, CLUSTER_POLICY_LIMIT)
          .items.map((p) => ({ kind: 'pods', ...selectorOf(p) }))
      : problems
          .readList(clusterPolicyEgressPeer, rule[side], `${path}.${side}`, CLUSTER_POLICY_LIMIT)
          .items.flatMap((p, at) => readEgressPeer(p, `${path}.${side}[${at}]`, problems));
  if (!Array.isArray(rule[side]) || rule[side].length === 0)
    problems.add(`${path}.${side}`, 'must name at least one peer');
  const protocols = problems.readList(
    clusterPolicyProtocol,
    rule['protocols'],
    `${path}.protocols`,
    CLUSTER_POLICY_LIMIT,
  );
  if (Array.isArray(rule['protocols']) && rule['protocols'].length === 0)
    problems.add(`${path}.protocols`, 'must not be empty; leave it out for all protocols');
  const name = own ? own : `${direction}[${i}]`;
  if (problems.all.length > before) return action === 'Accept' ? [] : [denyAll(name)];
  return [
    {
      name,
      action: action ?? 'Deny',
      peers,
      ports: rule['protocols'] === undefined ? 'any' : protocols.items.map(readPort),
    },
  ];
}

const denyAll = (name: string): PolicyRule => ({
  name: `${name} (cannot be read)`,
  action: 'Deny',
  peers: 'any',
  ports: 'any',
});

function readEgressPeer(peer: output<typeof clusterPolicyEgressPeer>, path: string, problems: Problems): Peer[] {
  if (peer.domainNames) {
    problems.add(`${path}.domainNames`, 'is not supported: a rule with it accepts nothing');
    return [];
  }
  if (peer.nodes) return [{ kind: 'nodes', nodes: peer.nodes }];
  if (!peer.networks) return [{ kind: 'pods', ...selectorOf(peer) }];
  const cidrs = peer.networks.flatMap((text, i) => {
    const prefix = parsePrefix(text, { loose: true });
    if (!prefix) problems.add(`${path}.networks[${i}]`, `is not a prefix: "${text}"`);
    return prefix ? [formatPrefix(prefix)] : [];
  });
  return [{ kind: 'networks', cidrs, except: [] }];
}

function readPort(protocol: output<typeof clusterPolicyProtocol>): Port {
  if (protocol.destinationNamedPort !== undefined) return { kind: 'named', name: protocol.destinationNamedPort };
  const name = protocol.tcp ? 'TCP' : protocol.udp ? 'UDP' : 'SCTP';
  const { number, range } = (protocol.tcp ?? protocol.udp ?? protocol.sctp)?.destinationPort ?? {};
  if (number !== undefined) return { kind: 'range', protocol: name, first: number, last: number };
  return { kind: 'range', protocol: name, first: range?.start ?? ALL_PORTS.first, last: range?.end ?? ALL_PORTS.last };
}
