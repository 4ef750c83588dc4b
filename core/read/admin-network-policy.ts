import type { output } from 'zod';
import {
  adminNetworkPolicySpec,
  type adminPolicyEgressPeer,
  type adminPolicyPort,
  baselineAdminNetworkPolicySpec,
} from '../../api/kinds/admin-network-policy.ts';
import { CLUSTER_POLICY_LIMIT } from '../../api/kinds/cluster-network-policy.ts';
import { objectOf, Problems } from './problems.ts';
import { withoutNulls } from './without-nulls.ts';

type Raw = Readonly<Record<string, unknown>>;

/** What an AdminNetworkPolicy is as ClusterNetworkPolicies. */
export type Translation = {
  /** One, or as many as its rules need: in this order they say what it said. Empty when there are problems. */
  readonly policies: readonly Raw[];
  /** Where the translation is not the same, and what was done. */
  readonly notes: readonly string[];
  /** Why it cannot be translated at all, with the path of each field. */
  readonly problems: readonly string[];
};

type Peer = output<typeof adminPolicyEgressPeer>;
type AdminPort = output<typeof adminPolicyPort>;
type Rule = {
  readonly name?: string | undefined;
  readonly action: 'Allow' | 'Deny' | 'Pass';
  readonly peers: readonly Peer[];
  readonly ports?: readonly AdminPort[] | undefined;
};

/** The priority of what a BaselineAdminNetworkPolicy becomes: behind all others of the tier, as it was the only one. */
const BASELINE_PRIORITY = 1000;

/**
 * Translates an AdminNetworkPolicy or a BaselineAdminNetworkPolicy (v1alpha1) to tier Admin or Baseline of ClusterNetworkPolicy
 * (v1alpha2). Rules keep their order, and so their meaning: a rule that has more peers or ports than the newer kind allows becomes
 * several with the same action, one after the other; a policy that has more rules becomes several of the same priority, whose
 * names are in their order.
 */
export function translateAdminNetworkPolicy(raw: Raw): Translation {
  const baseline = raw['kind'] === 'BaselineAdminNetworkPolicy';
  const meta = objectOf(raw['metadata']);
  const problems = new Problems();
  const schema = baseline ? baselineAdminNetworkPolicySpec : adminNetworkPolicySpec;
  const spec = problems.read(schema, withoutNulls(raw['spec'] ?? {}), 'spec');
  if (!spec) return { policies: [], notes: [], problems: problems.all };
  const notes: string[] = [];
  const ingress = (spec.ingress ?? []).map(({ from, ...rest }): Rule => ({ ...rest, peers: from }));
  const egress = (spec.egress ?? []).map(({ to, ...rest }): Rule => ({ ...rest, peers: to }));
  checkEgress(egress, problems);
  if (problems.all.length > 0) return { policies: [], notes: [], problems: problems.all };
  const into = ingress.flatMap((rule, i) => splitRule(rule, `spec.ingress[${i}]`, notes).map((r) => ruleOf(r, 'from')));
  const out = egress.flatMap((rule, i) => splitRule(rule, `spec.egress[${i}]`, notes).map((r) => ruleOf(r, 'to')));
  const name = `${baseline ? 'baseline-' : ''}${String(meta['name'])}`;
  const parts = Math.max(
    1,
    Math.ceil(into.length / CLUSTER_POLICY_LIMIT),
    Math.ceil(out.length / CLUSTER_POLICY_LIMIT),
  );
  if (parts > 1)
    notes.push(
      `spec: has more rules than the ${CLUSTER_POLICY_LIMIT} of a ClusterNetworkPolicy: ${parts} of one priority, which Bulkhead reads by name; another policy of that priority may come between them`,
    );
  const policies = Array.from({ length: parts }, (_, part) => ({
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: {
      name: parts === 1 ? name : `${name}-${String(part + 1).padStart(String(parts).length, '0')}`,
      ...kept(meta),
    },
    spec: {
      tier: baseline ? 'Baseline' : 'Admin',
      priority: 'priority' in spec ? spec.priority : BASELINE_PRIORITY,
      subject: spec.subject,
      ...partOf('ingress', into, part),
      ...partOf('egress', out, part),
    },
  }));
  return { policies, notes, problems: [] };
}

/** What people wrote on it. kubectl's own copy of the old object is of no use on the new one. */
function kept(meta: Raw): Raw {
  const { 'kubectl.kubernetes.io/last-applied-configuration': _, ...annotations } = objectOf(meta['annotations']);
  return {
    ...(Object.keys(objectOf(meta['labels'])).length > 0 ? { labels: meta['labels'] } : {}),
    ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
  };
}

/** What the specification forbids together, and a ClusterNetworkPolicy could not say. */
function checkEgress(rules: readonly Rule[], problems: Problems): void {
  for (const [i, { action, peers, ports = [] }] of rules.entries()) {
    const named = peers.findIndex((p) => p.domainNames);
    if (named !== -1 && action !== 'Allow')
      problems.add(`spec.egress[${i}].to[${named}].domainNames`, 'only a rule with the action Allow has them');
    const at = peers.findIndex((p) => p.nodes ?? p.networks ?? p.domainNames);
    if (at !== -1 && ports.some((p) => p.namedPort !== undefined))
      problems.add(`spec.egress[${i}].to[${at}]`, 'has no named ports: only pods have them');
  }
}

/** Rules of the same action that together are this one, each within the limits of a ClusterNetworkPolicy. */
function splitRule(rule: Rule, path: string, notes: string[]): Rule[] {
  const byName = rule.peers.filter((p) => p.domainNames);
  if (byName.length > 0)
    notes.push(`${path}: domainNames are not supported: this part of the rule, now a rule of its own, accepts nothing`);
  // Alone, so that the rest of the rule can be read.
  const peers = [rule.peers.filter((p) => !p.domainNames), byName].flatMap((p) => chunks(p));
  const ports = rule.ports && rule.ports.length > 0 ? chunks(rule.ports) : [undefined];
  if (peers.length * ports.length > 1 && byName.length === 0)
    notes.push(
      `${path}: is ${peers.length * ports.length} rules, as a ClusterNetworkPolicy has ${CLUSTER_POLICY_LIMIT} peers or ports in a rule`,
    );
  return peers.flatMap((some) => ports.map((p): Rule => ({ ...rule, peers: some, ports: p })));
}

function ruleOf({ name, action, peers, ports }: Rule, side: 'from' | 'to'): Raw {
  return {
    ...(name === undefined ? {} : { name }),
    action: action === 'Allow' ? 'Accept' : action,
    [side]: peers,
    ...(ports === undefined ? {} : { protocols: ports.map(protocolOf) }),
  };
}

function protocolOf({ portNumber, portRange, namedPort }: AdminPort): Raw {
  if (portNumber) return { [portNumber.protocol.toLowerCase()]: { destinationPort: { number: portNumber.port } } };
  if (!portRange) return { destinationNamedPort: namedPort };
  const { protocol, start, end } = portRange;
  const destinationPort = start === end ? { number: start } : { range: { start, end } };
  return { [protocol.toLowerCase()]: { destinationPort } };
}

function partOf(direction: 'ingress' | 'egress', rules: readonly Raw[], part: number): Raw {
  const some = rules.slice(part * CLUSTER_POLICY_LIMIT, (part + 1) * CLUSTER_POLICY_LIMIT);
  return some.length > 0 ? { [direction]: some } : {};
}

function chunks<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / CLUSTER_POLICY_LIMIT) }, (_, i) =>
    all.slice(i * CLUSTER_POLICY_LIMIT, (i + 1) * CLUSTER_POLICY_LIMIT),
  );
}
