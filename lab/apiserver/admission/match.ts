import { arr, at, type Json, obj, str, strs } from '../model/path.ts';
import { matchesSelector } from '../objects/select.ts';
import type { Attributes } from './attributes.ts';

/** Labels of a namespace that is there; undefined when it is not. */
export type NamespaceLabels = (name: string) => Readonly<Record<string, string>> | undefined;

/** Whether rules, namespaceSelector and objectSelector of a webhook select a write. `rules` is what its configuration calls them. */
export function selects(rules: unknown, selectors: Json, a: Attributes, namespaceLabels: NamespaceLabels): boolean {
  return (
    arr(rules).some((rule) => ruleSelects(rule, a)) &&
    namespaceSelected(selectors['namespaceSelector'], a, namespaceLabels) &&
    objectSelected(selectors['objectSelector'], a)
  );
}

/** The same for the matchConstraints of a policy and the matchResources of a binding, where no rule at all may mean every write. */
export function constrains(
  constraints: Json,
  a: Attributes,
  namespaceLabels: NamespaceLabels,
  { withoutRules }: { readonly withoutRules: boolean },
): boolean {
  const rules = constraints['resourceRules'];
  if (arr(constraints['excludeResourceRules']).some((rule) => ruleSelects(rule, a))) return false;
  if (arr(rules).length > 0) return selects(rules, constraints, a, namespaceLabels);
  return (
    withoutRules &&
    namespaceSelected(constraints['namespaceSelector'], a, namespaceLabels) &&
    objectSelected(constraints['objectSelector'], a)
  );
}

function ruleSelects(rule: Json, a: Attributes): boolean {
  const has = (field: string, value: string): boolean => {
    const values = strs(rule[field]);
    return values.includes('*') || values.includes(value);
  };
  const scope = str(rule['scope']) || '*';
  const names = strs(rule['resourceNames']);
  return (
    has('operations', a.operation) &&
    has('apiGroups', a.type.group) &&
    has('apiVersions', a.type.version) &&
    strs(rule['resources']).some((pattern) => resourceSelected(pattern, a)) &&
    (scope === '*' || (scope === 'Namespaced') === (a.namespace !== undefined && a.type.namespaced)) &&
    (names.length === 0 || names.includes(a.name))
  );
}

// "pods", "pods/status", "pods/*", "*": without a slash, never a subresource.
function resourceSelected(pattern: string, { type, subresource }: Attributes): boolean {
  const [resource = '', sub = ''] = pattern.split('/');
  return (resource === '*' || resource === type.plural) && (pattern === '*/*' || sub === '*' || sub === subresource);
}

/** A cluster-scoped object is selected whatever its selector says; a Namespace by its own labels. */
function namespaceSelected(selector: unknown, a: Attributes, namespaceLabels: NamespaceLabels): boolean {
  if (isEmpty(selector)) return true;
  const isNamespace = a.type.kind === 'Namespace' && a.type.group === '';
  if (isNamespace) return matchesSelector(selector, labelsOf(a.object ?? a.oldObject));
  if (!a.type.namespaced || a.namespace === undefined) return true;
  const labels = namespaceLabels(a.namespace);
  return labels !== undefined && matchesSelector(selector, labels);
}

function objectSelected(selector: unknown, a: Attributes): boolean {
  return (
    isEmpty(selector) || [a.object, a.oldObject].some((o) => o !== undefined && matchesSelector(selector, labelsOf(o)))
  );
}

const labelsOf = (o: Json | undefined): Record<string, string> =>
  obj(at(o, 'metadata', 'labels')) as Record<string, string>;
const isEmpty = (selector: unknown): boolean => Object.keys(obj(selector)).length === 0;
