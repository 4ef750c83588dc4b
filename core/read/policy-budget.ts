import { overBudget } from '../../api/budgets.ts';
import { portElements } from '../cluster/ports.ts';
import type { Peer, Policy, PolicyRule } from '../cluster/policy.ts';
import { objectOf } from './problems.ts';

type Raw = Readonly<Record<string, unknown>>;

/** Why a policy is not read at all: counted on the raw object, which may have a megabyte, before any of it is understood. */
export function policyOverBudget(spec: Raw, kind: Policy['kind']): string[] {
  const counted = { rules: 0, peers: 0, prefixes: 0, ports: 0, terms: 0 };
  countSelectors(spec['podSelector'], counted);
  countSelectors(spec['subject'], counted);
  for (const rules of [spec['ingress'], spec['egress']]) {
    counted.rules += lengthOf(rules);
    for (const rule of listOf(rules)) {
      const { from, to, ports, protocols } = objectOf(rule);
      counted.ports += lengthOf(ports) + lengthOf(protocols);
      for (const peers of [from, to]) {
        counted.peers += lengthOf(peers);
        for (const peer of listOf(peers)) countPeer(objectOf(peer), counted);
      }
    }
  }
  return [
    overBudget('policyRules', counted.rules, 'rules'),
    // The specification of ClusterNetworkPolicy has limits of its own, and only administrators write one.
    kind === 'NetworkPolicy' ? overBudget('policyPeers', counted.peers, 'peers') : undefined,
    overBudget('policyPrefixes', counted.prefixes, 'prefixes'),
    overBudget('policyPorts', counted.ports, 'ports'),
    overBudget('policySelectorTerms', counted.terms, 'keys and values in selectors'),
  ].flatMap((over) => (over === undefined ? [] : `spec ${over}`));
}

/** Whether a selector alone is too large to be read. */
export function selectorOverBudget(raw: unknown): boolean {
  const counted = { prefixes: 0, terms: 0 };
  countSelectors(raw, counted);
  return overBudget('policySelectorTerms', counted.terms, '') !== undefined;
}

type Counted = { prefixes: number; terms: number };

function countPeer(peer: Raw, counted: Counted): void {
  const { ipBlock, networks, podSelector, namespaceSelector, namespaces, pods, nodes } = peer;
  counted.prefixes += lengthOf(networks) + (ipBlock === undefined ? 0 : 1 + lengthOf(objectOf(ipBlock)['except']));
  for (const selector of [podSelector, namespaceSelector, namespaces, pods, nodes]) countSelectors(selector, counted);
}

/** Of a selector, or of an object that has selectors as its fields. */
function countSelectors(raw: unknown, counted: Counted): void {
  const selector = objectOf(raw);
  counted.terms += Object.keys(objectOf(selector['matchLabels'])).length;
  for (const expression of listOf(selector['matchExpressions']))
    counted.terms += 1 + lengthOf(objectOf(expression)['values']);
  for (const inner of ['podSelector', 'namespaceSelector', 'namespaces', 'pods'])
    if (selector[inner] !== undefined) countSelectors(selector[inner], counted);
}

const listOf = (raw: unknown): readonly unknown[] => (Array.isArray(raw) ? raw : []);
const lengthOf = (raw: unknown): number => listOf(raw).length;

/** The policy itself; or closed, when `over` says why it was not read, or when what it makes of itself is too much. */
export function withinBudget(policy: Policy, over: readonly string[]): Policy {
  const problems = over.length > 0 ? over : tooLarge(policy);
  return problems.length > 0 ? closePolicy(policy, problems) : policy;
}

function tooLarge(policy: Policy): string[] {
  const weight = weightOf(policy);
  return [
    overBudget('policyRanges', weight.ranges, 'prefixes once what they leave out is cut from them'),
    overBudget('policyCells', cellsOf(weight), 'elements of kernel maps (rules with peers, and their ports)'),
  ].flatMap((over) => (over === undefined ? [] : `spec ${over}`));
}

/** What policies make of themselves, as numbers that add up. */
export type Weight = {
  readonly ingress: SideWeight;
  readonly egress: SideWeight;
  /** Prefixes once what they leave out is cut from them. */
  readonly ranges: number;
  readonly rules: number;
};

/** `classes`: rules that name peers; `ports`: of those; `anyPorts`: of rules for all peers. */
type SideWeight = { readonly classes: number; readonly ports: number; readonly anyPorts: number };

const NO_SIDE: SideWeight = { classes: 0, ports: 0, anyPorts: 0 };
export const NO_WEIGHT: Weight = { ingress: NO_SIDE, egress: NO_SIDE, ranges: 0, rules: 0 };

/** Policies never change: each is weighed once. */
export function weightOf(policy: Policy): Weight {
  const known = weights.get(policy);
  if (known) return known;
  const side = (rules: readonly PolicyRule[] = []): SideWeight => {
    let [classes, ports, anyPorts] = [0, 0, 0];
    for (const rule of rules) {
      if (rule.peers === 'any') anyPorts += portsOf(rule);
      else {
        classes++;
        ports += portsOf(rule);
      }
    }
    return { classes, ports, anyPorts };
  };
  const { ingress, egress } = policy;
  const rules = [...(ingress ?? []), ...(egress ?? [])];
  const weight = { ingress: side(ingress), egress: side(egress), ranges: rangesOf(rules), rules: rules.length };
  weights.set(policy, weight);
  return weight;
}

const weights = new WeakMap<Policy, Weight>();

export const addWeights = (a: Weight, b: Weight): Weight => ({
  ingress: addSides(a.ingress, b.ingress),
  egress: addSides(a.egress, b.egress),
  ranges: a.ranges + b.ranges,
  rules: a.rules + b.rules,
});

const addSides = (a: SideWeight, b: SideWeight): SideWeight => ({
  classes: a.classes + b.classes,
  ports: a.ports + b.ports,
  anyPorts: a.anyPorts + b.anyPorts,
});

/**
 * Elements of kernel maps for policies that select one pod, as long as the peers of their rules do not overlap: each rule has one class
 * of addresses, and each class has the ports of its own rule and of those for all peers. The agent counts what it really makes, and
 * has the last word.
 */
export function cellsOf({ ingress, egress, ranges, rules }: Weight): number {
  const side = ({ classes, ports, anyPorts }: SideWeight): number => classes + 1 + ports + anyPorts * (classes + 1);
  return side(ingress) + side(egress) + Math.ceil((ranges * rules) / RULES_PER_CELL);
}

/** A prefix is kept with the rules that mean it: so many of those weigh as much as one element. */
const RULES_PER_CELL = 64;

/** A range of more than a few ports has two ends, and between two ranges there may be a few ports that are written one by one. */
const portsOf = ({ ports }: PolicyRule): number =>
  ports === 'any'
    ? 0
    : ports.reduce(
        (n, p) =>
          n + (p.kind === 'named' ? 1 : portElements([p]) === 1 && p.first !== p.last ? RANGE : portElements([p])),
        0,
      );
const RANGE = 9;

/** Prefixes that remain when exceptions are cut out, from above: a hole leaves one prefix for each bit that it is longer. */
function rangesOf(rules: readonly PolicyRule[]): number {
  let count = 0;
  for (const { peers } of rules)
    if (peers !== 'any') for (const peer of peers) count += peer.kind === 'networks' ? rangesOfPeer(peer) : 0;
  return count;
}

function rangesOfPeer({ cidrs, except }: Peer & { kind: 'networks' }): number {
  const lengthOfPrefix = (text: string): number => Number(text.slice(text.lastIndexOf('/') + 1));
  const shortest = Math.min(...cidrs.slice(0, 1).map(lengthOfPrefix), 128);
  return cidrs.length + except.reduce((n, text) => n + Math.max(0, lengthOfPrefix(text) - shortest), 0);
}

/** The same policy with nothing in it but its subject: what it would admit is denied, what it would deny is denied. */
export const closePolicy = (policy: Policy, problems: readonly string[]): Policy => ({
  ...policy,
  ...(policy.ingress ? { ingress: closedRules(policy, policy.ingress) } : {}),
  ...(policy.egress ? { egress: closedRules(policy, policy.egress) } : {}),
  problems: [...policy.problems, ...problems],
  overBudget: true,
});

/** As for rules that cannot be read: Accept matches nothing, Deny and Pass deny everything. */
const closedRules = ({ kind }: Policy, rules: readonly PolicyRule[]): PolicyRule[] =>
  kind === 'NetworkPolicy' || rules.every((r) => r.action === 'Accept')
    ? []
    : [{ name: 'over budget', action: 'Deny', peers: 'any', ports: 'any' }];
