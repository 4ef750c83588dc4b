import type { output } from 'zod';
import { anySelector } from '../../api/kinds/any-selector.ts';
import {
  NETWORK_POLICY_FIELDS,
  networkPolicyPeer,
  networkPolicyPort,
  policyTypes,
} from '../../api/kinds/network-policy.ts';
import { covers, formatPrefix, parsePrefix, type Prefix } from '../../lib/ip/prefix.ts';
import { ALL_PORTS, type Direction, type Peer, type Policy, type PolicyRule, type Port } from '../cluster/policy.ts';
import { policyOverBudget, selectorOverBudget, withinBudget } from './policy-budget.ts';
import { remarksOf } from './policy-remarks.ts';
import { createdOf, EVERYTHING, objectOf, Problems } from './problems.ts';
import { withoutNulls } from './without-nulls.ts';

/**
 * A NetworkPolicy as Kubernetes means it. Whatever cannot be read fails closed: a rule admits nothing, an unreadable selector
 * selects every pod of the namespace, unreadable types isolate both ways.
 */
export function parseNetworkPolicy(raw: Readonly<Record<string, unknown>>): Policy {
  const meta = objectOf(raw['metadata']);
  const spec = withoutNulls(objectOf(raw['spec']), { builtIn: true });
  const over = policyOverBudget(spec, 'NetworkPolicy');
  const problems = new Problems();
  const namespace = typeof meta['namespace'] === 'string' ? meta['namespace'] : 'default';
  problems.unknownFields(spec, NETWORK_POLICY_FIELDS, 'spec');
  const pods =
    spec['podSelector'] === undefined
      ? EVERYTHING
      : selectorOverBudget(spec['podSelector'])
        ? undefined
        : problems.read(anySelector, spec['podSelector'], 'spec.podSelector');
  const types =
    spec['policyTypes'] === undefined ? [] : problems.read(policyTypes, spec['policyTypes'], 'spec.policyTypes');
  const has = (direction: Direction): boolean => {
    if (types === undefined || pods === undefined) return true;
    if (types.length > 0) return types.includes(direction === 'ingress' ? 'Ingress' : 'Egress');
    return direction === 'ingress' || (Array.isArray(spec['egress']) && spec['egress'].length > 0);
  };
  const direction = (d: Direction): Pick<Policy, Direction> => {
    // Read in any case, for what is wrong with it; unless it is too large to be read.
    const rules = over.length > 0 ? [] : readRules(d, namespace, spec[d], problems);
    return has(d) ? { [d]: pods === undefined ? [] : rules } : {};
  };
  const policy: Policy = {
    kind: 'NetworkPolicy',
    tier: 'NetworkPolicy',
    priority: 0,
    namespace,
    name: String(meta['name'] ?? ''),
    uid: String(meta['uid'] ?? ''),
    generation: Number(meta['generation'] ?? 0),
    created: createdOf(meta),
    subject: { namespace, pods: pods ?? EVERYTHING },
    ...direction('ingress'),
    ...direction('egress'),
    problems: problems.all,
    ...(over.length > 0 ? {} : remarksOf(raw)),
  };
  return withinBudget(policy, over);
}

function readRules(direction: Direction, namespace: string, raw: unknown, problems: Problems): PolicyRule[] {
  if (raw === undefined || raw === null) return [];
  if (!Array.isArray(raw)) {
    problems.add(`spec.${direction}`, 'must be a list');
    return [];
  }
  return raw.flatMap((item, i) => readRule(direction, namespace, item, i, problems));
}

function readRule(direction: Direction, namespace: string, raw: unknown, i: number, problems: Problems): PolicyRule[] {
  const path = `spec.${direction}[${i}]`;
  const rule = objectOf(raw);
  const side = direction === 'ingress' ? 'from' : 'to';
  const odd = problems.unknownFields(rule, [side, 'ports'], path);
  const peers = problems.readList(networkPolicyPeer, rule[side], `${path}.${side}`);
  const ports = problems.readList(networkPolicyPort, rule['ports'], `${path}.ports`);
  // A list whose entries could not all be read is not an empty one, which would mean everything.
  if (odd || (!peers.ok && peers.items.length === 0) || (!ports.ok && ports.items.length === 0)) return [];
  const read = peers.items.flatMap((p, at) => readPeer(namespace, p, `${path}.${side}[${at}]`, problems));
  if (peers.items.length > 0 && read.length === 0) return [];
  return [
    {
      name: `${direction}[${i}]`,
      action: 'Accept',
      peers: peers.items.length === 0 ? 'any' : read,
      ports: ports.items.length === 0 ? 'any' : ports.items.map(readPort),
    },
  ];
}

function readPeer(namespace: string, peer: output<typeof networkPolicyPeer>, path: string, problems: Problems): Peer[] {
  const { ipBlock, podSelector, namespaceSelector } = peer;
  if (!ipBlock) {
    const pods = podSelector ?? EVERYTHING;
    return [
      namespaceSelector ? { kind: 'pods', namespaces: namespaceSelector, pods } : { kind: 'pods', namespace, pods },
    ];
  }
  const cidr = prefixAt(ipBlock.cidr, `${path}.ipBlock.cidr`, problems);
  const except = (ipBlock.except ?? []).map((text, i) => {
    const at = `${path}.ipBlock.except[${i}]`;
    const prefix = prefixAt(text, at, problems);
    if (!prefix || !cidr || (covers(cidr, prefix) && prefix.length > cidr.length)) return prefix;
    problems.add(at, `must lie inside ${ipBlock.cidr}`);
    return undefined;
  });
  // What it should leave out is not known: it admits nothing.
  if (!cidr || except.includes(undefined)) return [];
  const cut = except.flatMap((p) => (p ? formatPrefix(p) : []));
  return [{ kind: 'networks', cidrs: [formatPrefix(cidr)], except: cut }];
}

/** Host bits are allowed, and mean nothing, as in Kubernetes. */
function prefixAt(text: string, path: string, problems: Problems): Prefix | undefined {
  const prefix = parsePrefix(text, { loose: true });
  if (!prefix) problems.add(path, `is not a prefix: "${text}"`);
  return prefix;
}

function readPort({ protocol, port, endPort }: output<typeof networkPolicyPort>): Port {
  if (port === undefined) return { kind: 'range', protocol, ...ALL_PORTS };
  if (typeof port === 'string') return { kind: 'named', name: port, protocol };
  return { kind: 'range', protocol, first: port, last: endPort ?? port };
}
