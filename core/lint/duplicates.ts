import { type Direction, type Policy, policyKey, type PolicyRule } from '../cluster/policy.ts';
import { groupKey } from '../policy/groups.ts';

/** By policyKey, an earlier policy (by name) that says exactly the same of the same pods. */
export function equalPolicies(policies: readonly Policy[]): ReadonlyMap<string, string> {
  const first = new Map<string, string>();
  const found = new Map<string, string>();
  const keyed = policies.map((policy) => ({ key: policyKey(policy), policy }));
  for (const { key, policy } of keyed.sort((a, b) => (a.key < b.key ? -1 : 1))) {
    // What is unreadable is not known to be equal.
    if (policy.problems.length > 0 || !policy.subject) continue;
    const text = textOf(policy);
    const before = first.get(text);
    if (before === undefined) first.set(text, key);
    else found.set(key, before);
  }
  return found;
}

function textOf(policy: Policy): string {
  const side = (direction: Direction): unknown => {
    const rules = policy[direction]?.map(ruleText);
    // The order of rules counts where they may deny.
    return policy.kind === 'NetworkPolicy' ? rules && [...new Set(rules)].sort() : rules;
  };
  const { kind, tier, priority, subject } = policy;
  const pods = subject && groupKey([{ kind: 'pods', ...subject }]);
  return JSON.stringify([kind, tier, priority, pods, side('ingress'), side('egress')]);
}

/** What a rule does, in text: equal texts do the same. */
export function ruleText({ action, peers, ports }: PolicyRule): string {
  const listed =
    ports === 'any' ? ports : [...new Set(ports.map((p) => JSON.stringify(Object.entries(p).sort())))].sort();
  return JSON.stringify([action, peers === 'any' ? 'any' : groupKey(peers), listed]);
}

/** By place, the place of an earlier rule of the same list that does the same. */
export function equalRules(rules: readonly PolicyRule[]): ReadonlyMap<number, number> {
  const first = new Map<string, number>();
  const found = new Map<number, number>();
  for (const [at, rule] of rules.entries()) {
    const text = ruleText(rule);
    const before = first.get(text);
    if (before === undefined) first.set(text, at);
    else found.set(at, before);
  }
  return found;
}
