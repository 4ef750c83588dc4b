import { arr, isObject, type Json, obj, str, strs } from '../model/path.ts';
import { CelError, compile, type Expression } from './expression.ts';
import { Optional } from '@marcbachmann/cel-js';
import { celValue, sameValue, withEscapedNames } from './values.ts';

/** What is wrong with an object, and where. */
export type Problem = { readonly field: string; readonly message: string };

type Rule = {
  readonly expression: Expression;
  readonly message: string;
  readonly messageExpression: Expression | undefined;
  readonly fieldPath: string;
  /** Speaks of the value before: then there must have been one. */
  readonly usesOld: boolean;
  readonly optionalOld: boolean;
};

/** The rules of a schema, as a tree of those places alone that have some, or have some below. */
export type Rules = {
  readonly own: readonly Rule[];
  readonly properties: ReadonlyMap<string, Rules>;
  readonly names: readonly string[];
  readonly items: Rules | undefined;
  readonly values: Rules | undefined;
  /** Keys by which the items of a list are the same as before. */
  readonly keys: readonly string[];
};

/** Reads `x-kubernetes-validations` of a structural schema. Problems have paths from `path` on. */
export function readRules(
  schema: Json,
  path: string,
): { readonly rules: Rules | undefined; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  return { rules: readNode(schema, path, problems), problems };
}

/** Checks a value, and all in it. `before` is what was there; what is unchanged is left alone, as an API server does. */
export function checkRules(rules: Rules | undefined, value: unknown, before: unknown, path = ''): Problem[] {
  if (!rules || value === undefined || value === null) return [];
  const unchanged = before !== undefined && sameValue(value, before);
  const problems = rules.own.flatMap((rule) => checkRule(rule, rules, value, before, unchanged, path));
  if (Array.isArray(value)) {
    const items = value as unknown[];
    for (const [i, item] of items.entries())
      problems.push(...checkRules(rules.items, item, sameItem(rules, item, before), `${path}[${i}]`));
  } else if (isObject(value)) {
    for (const [key, child] of Object.entries(value)) {
      const rulesOf = rules.properties.get(key) ?? rules.values;
      const old = isObject(before) ? before[key] : undefined;
      problems.push(...checkRules(rulesOf, child, old, path === '' ? key : `${path}.${key}`));
    }
  }
  return problems;
}

function checkRule(
  rule: Rule,
  rules: Rules,
  value: unknown,
  before: unknown,
  unchanged: boolean,
  path: string,
): Problem[] {
  if (rule.usesOld ? before === undefined && !rule.optionalOld : unchanged) return [];
  const variables = { self: seen(value, rules), ...(rule.usesOld ? { oldSelf: oldOf(rule, rules, before) } : {}) };
  const field = `${path}${rule.fieldPath}` || '<root>';
  try {
    if (rule.expression.evaluate(variables) === true) return [];
    return [{ field, message: messageOf(rule, variables) }];
  } catch (error) {
    if (!(error instanceof CelError)) throw error;
    return [{ field, message: error.message }];
  }
}

function oldOf(rule: Rule, rules: Rules, before: unknown): unknown {
  if (!rule.optionalOld) return seen(before, rules);
  return before === undefined ? Optional.none() : Optional.of(seen(before, rules));
}

function messageOf(rule: Rule, variables: Readonly<Record<string, unknown>>): string {
  try {
    const text = rule.messageExpression?.evaluate(variables);
    if (typeof text === 'string' && text.trim() !== '') return text;
  } catch (error) {
    if (!(error instanceof CelError)) throw error; // the fixed message says enough
  }
  return rule.message;
}

function seen(value: unknown, rules: Rules): unknown {
  const shown = celValue(value);
  if (isObject(shown)) withEscapedNames(shown, rules.names);
  return shown;
}

function sameItem(rules: Rules, item: unknown, before: unknown): unknown {
  if (rules.keys.length === 0 || !Array.isArray(before) || !isObject(item)) return undefined;
  return (before as unknown[]).find((b) => isObject(b) && rules.keys.every((k) => b[k] === item[k]));
}

function readNode(schema: Json, path: string, problems: Problem[]): Rules | undefined {
  const own = arr(schema['x-kubernetes-validations']).flatMap((raw, i) => {
    const found = readRule(raw, `${path}.x-kubernetes-validations[${i}]`, problems);
    return found ? [found] : [];
  });
  const properties = new Map<string, Rules>();
  for (const [name, child] of Object.entries(obj(schema['properties']))) {
    const rules = readNode(obj(child), `${path}.properties[${name}]`, problems);
    if (rules) properties.set(name, rules);
  }
  const items = isObject(schema['items']) ? readNode(schema['items'], `${path}.items`, problems) : undefined;
  const additional = schema['additionalProperties'];
  const values = isObject(additional) ? readNode(additional, `${path}.additionalProperties`, problems) : undefined;
  if (own.length === 0 && properties.size === 0 && !items && !values) return undefined;
  return {
    own,
    properties,
    names: Object.keys(obj(schema['properties'])),
    items,
    values,
    keys: schema['x-kubernetes-list-type'] === 'map' ? strs(schema['x-kubernetes-list-map-keys']) : [],
  };
}

function readRule(raw: Json, path: string, problems: Problem[]): Rule | undefined {
  const usesOld = /\boldSelf\b/.test(str(raw['rule']));
  const variables = usesOld ? ['self', 'oldSelf'] : ['self'];
  try {
    const messageExpression =
      raw['messageExpression'] === undefined
        ? undefined
        : compile(raw['messageExpression'], ['self', 'oldSelf'], 'string');
    return {
      expression: compile(raw['rule'], variables, 'bool'),
      message: str(raw['message']) || `failed rule: ${str(raw['rule'])}`,
      messageExpression,
      fieldPath: str(raw['fieldPath']),
      usesOld,
      optionalOld: raw['optionalOldSelf'] === true,
    };
  } catch (error) {
    if (!(error instanceof CelError)) throw error;
    problems.push({ field: path, message: error.message });
    return undefined;
  }
}
