import { covers, parsePrefix } from '../../../lib/ip/prefix.ts';
import type { Problem } from '../cel/rules.ts';
import { arr, isObject, type Json, num, obj, str, strs } from '../model/path.ts';
import { checkProtocol, portProblem, unsupported } from './port.ts';
import { selectorProblems } from './selector.ts';

/** The directions that a NetworkPolicy is for when it does not say. */
export function networkPolicyDefaults(spec: Json): Json {
  const policyTypes = spec['policyTypes'] ?? (arr(spec['egress']).length > 0 ? ['Ingress', 'Egress'] : ['Ingress']);
  return { ...spec, ...withProtocols(spec, 'ingress'), ...withProtocols(spec, 'egress'), policyTypes };
}

/** What is wrong with a NetworkPolicy. */
export function checkNetworkPolicy(spec: Json): Problem[] {
  return [
    ...selectorProblems(spec['podSelector'], 'spec.podSelector'),
    ...strs(spec['policyTypes']).flatMap((t, i) => unsupported(`spec.policyTypes[${i}]`, t, ['Ingress', 'Egress'])),
    ...arr(spec['ingress']).flatMap((r, i) => checkRule(r, `spec.ingress[${i}]`, 'from')),
    ...arr(spec['egress']).flatMap((r, i) => checkRule(r, `spec.egress[${i}]`, 'to')),
  ];
}

function checkRule(rule: Json, field: string, peers: 'from' | 'to'): Problem[] {
  return [
    ...arr(rule['ports']).flatMap((p, i) => checkPort(p, `${field}.ports[${i}]`)),
    ...arr(rule[peers]).flatMap((p, i) => checkPeer(p, `${field}.${peers}[${i}]`)),
  ];
}

function checkPort(p: Json, field: string): Problem[] {
  const problems = checkProtocol(p, `${field}.protocol`);
  const message = p['port'] === undefined ? undefined : portProblem(p['port']);
  if (message !== undefined) problems.push({ field: `${field}.port`, message });
  const end = p['endPort'];
  if (end === undefined) return problems;
  if (typeof p['port'] !== 'number')
    problems.push({
      field: `${field}.endPort`,
      message: `may not be specified when \`port\` is ${p['port'] === undefined ? 'not specified' : 'non-numeric'}`,
    });
  else if (num(end) < num(p['port']))
    problems.push({
      field: `${field}.endPort`,
      message: `${num(p['port'])} must be greater than or equal to \`port\``,
    });
  else if (num(end) > 65_535)
    problems.push({ field: `${field}.endPort`, message: 'must be between 1 and 65535, inclusive' });
  return problems;
}

function checkPeer(peer: Json, field: string): Problem[] {
  const { ipBlock } = peer;
  const problems = ['podSelector', 'namespaceSelector'].flatMap((s) => selectorProblems(peer[s], `${field}.${s}`));
  const selectors = peer['podSelector'] !== undefined || peer['namespaceSelector'] !== undefined;
  if (ipBlock === undefined) return selectors ? problems : [...problems, { field, message: 'must specify a peer' }];
  if (selectors) problems.push({ field, message: 'may not specify both ipBlock and another peer' });
  const block = obj(ipBlock);
  const cidr = parsePrefix(str(block['cidr']), { loose: true });
  if (!cidr)
    problems.push({
      field: `${field}.ipBlock.cidr`,
      message: `"${str(block['cidr'])}" must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
    });
  for (const [i, text] of strs(block['except']).entries()) {
    const except = parsePrefix(text, { loose: true });
    const at = `${field}.ipBlock.except[${i}]`;
    if (!except)
      problems.push({
        field: at,
        message: `"${text}" must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
      });
    else if (cidr && !(covers(cidr, except) && except.length > cidr.length))
      problems.push({ field: at, message: `"${text}" must be a strict subset of \`cidr\`` });
  }
  return problems;
}

function withProtocols(spec: Json, direction: 'ingress' | 'egress'): Json {
  const rules = spec[direction];
  if (!Array.isArray(rules)) return {};
  const withProtocol = (rule: unknown): unknown =>
    isObject(rule) && Array.isArray(rule['ports'])
      ? { ...rule, ports: (rule['ports'] as unknown[]).map((p) => (isObject(p) ? { protocol: 'TCP', ...p } : p)) }
      : rule;
  return { [direction]: (rules as unknown[]).map(withProtocol) };
}
