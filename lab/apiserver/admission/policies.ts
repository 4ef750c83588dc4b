import { CelError, type Expression } from '../cel/expression.ts';
import type { Problem } from '../cel/rules.ts';
import { celValue } from '../cel/values.ts';
import { ApiError } from '../model/error.ts';
import { arr, at, type Json, obj, str, strs } from '../model/path.ts';
import type { Resources } from '../objects/resources.ts';
import { matchesSelector } from '../objects/select.ts';
import type { Store, StoredObject } from '../objects/store.ts';
import { type Attributes, requestOf } from './attributes.ts';
import { allHold, type Named, readConditions, tryCompile } from './conditions.ts';
import { constrains, type NamespaceLabels } from './match.ts';

const GROUP = 'admissionregistration.k8s.io';

type Validation = {
  readonly expression: Expression;
  readonly message: string;
  readonly messageExpression: Expression | undefined;
  readonly reason: string;
};

type Policy = {
  readonly name: string;
  readonly ignoresFailure: boolean;
  readonly constraints: Json;
  readonly paramKind: Json | undefined;
  readonly conditions: readonly Named[];
  readonly variables: readonly Named[];
  readonly validations: readonly Validation[];
};

/** What the policies say of a write: a refusal, and warnings. */
export type Verdict = { readonly refusal: ApiError | undefined; readonly warnings: readonly string[] };

const NOTHING: Verdict = { refusal: undefined, warnings: [] };
const STATUS_OF_REASON: Readonly<Record<string, number>> = {
  Unauthorized: 401,
  Forbidden: 403,
  RequestEntityTooLarge: 413,
  Invalid: 422,
};

/** The ValidatingAdmissionPolicies of a store. */
export class Policies {
  readonly #store: Store;
  readonly #resources: Resources;
  readonly #namespaceLabels: NamespaceLabels;
  readonly #read = new WeakMap<StoredObject, Policy>();
  readonly #audit: (message: string) => void;

  constructor(store: Store, resources: Resources, namespaceLabels: NamespaceLabels, audit: (message: string) => void) {
    this.#store = store;
    this.#resources = resources;
    this.#namespaceLabels = namespaceLabels;
    this.#audit = audit;
  }

  judge(a: Attributes): Verdict {
    const bindings = [...this.#store.all(this.#resources.kind('ValidatingAdmissionPolicyBinding', GROUP))];
    if (bindings.length === 0) return NOTHING;
    const found: Finding[] = [];
    for (const object of this.#store.all(this.#resources.kind('ValidatingAdmissionPolicy', GROUP))) {
      const mine = bindings.filter((b) => at(b, 'spec', 'policyName') === object.metadata.name);
      if (mine.length === 0) continue;
      const policy = this.#policy(object);
      if (!constrains(policy.constraints, a, this.#namespaceLabels, { withoutRules: false })) continue;
      for (const binding of mine) found.push(...this.#judgeBinding(policy, binding, a));
    }
    return verdictOf(found, a, this.#audit);
  }

  #judgeBinding(policy: Policy, binding: StoredObject, a: Attributes): Finding[] {
    const resources = obj(at(binding, 'spec', 'matchResources'));
    if (!constrains(resources, a, this.#namespaceLabels, { withoutRules: true })) return [];
    const finding = (problem: Omit<Finding, 'policy' | 'binding' | 'actions'>): Finding => ({
      policy: policy.name,
      binding: binding.metadata.name,
      actions: strs(at(binding, 'spec', 'validationActions')),
      ...problem,
    });
    /** failurePolicy decides about what cannot be judged; with Fail it is a refusal, whatever the binding's actions are. */
    const failed = (error: unknown): Finding[] => {
      if (!(error instanceof CelError)) throw error;
      return policy.ignoresFailure ? [] : [finding({ message: error.message, reason: 'Invalid', failure: true })];
    };
    try {
      return this.#paramsOf(policy, binding, a).flatMap((params) => {
        const variables = this.#variablesOf(policy, a, params);
        try {
          if (!allHold(policy.conditions, variables)) return [];
        } catch (error) {
          return failed(error);
        }
        return policy.validations.flatMap((validation) => {
          try {
            if (validation.expression.evaluate(variables) === true) return [];
            return [finding({ message: messageOf(validation, variables), reason: validation.reason, failure: false })];
          } catch (error) {
            return failed(error);
          }
        });
      });
    } catch (error) {
      return failed(error);
    }
  }

  /** Each object that a binding names as parameters; one undefined for a policy without. */
  #paramsOf(policy: Policy, binding: StoredObject, a: Attributes): (StoredObject | undefined)[] {
    const ref = at(binding, 'spec', 'paramRef');
    if (!policy.paramKind || ref === undefined) return [undefined];
    const [group = '', version = ''] = splitVersion(str(policy.paramKind['apiVersion']));
    const type = [...this.#resources].find(
      (t) => t.group === group && t.version === version && t.kind === policy.paramKind?.['kind'],
    );
    if (!type)
      throw new CelError(
        'Evaluation',
        `failed to find resource referenced by paramKind: ${str(policy.paramKind['kind'])}`,
      );
    const namespace = type.namespaced ? str(obj(ref)['namespace']) || a.namespace : undefined;
    const name = str(obj(ref)['name']);
    const items =
      name === ''
        ? this.#store
            .list(type, namespace)
            .filter((o) => matchesSelector(obj(ref)['selector'] ?? {}, o.metadata.labels ?? {}))
        : [this.#store.get(type, namespace, name)].filter((o) => o !== undefined);
    if (items.length === 0 && obj(ref)['parameterNotFoundAction'] !== 'Allow')
      throw new CelError(
        'Evaluation',
        `failed to configure binding: no params found for policy binding with 'Deny' parameterNotFoundAction`,
      );
    return items;
  }

  #variablesOf(policy: Policy, a: Attributes, params: StoredObject | undefined): Record<string, unknown> {
    const namespace =
      a.namespace === undefined || !a.type.namespaced
        ? undefined
        : this.#store.get(this.#resources.kind('Namespace', ''), undefined, a.namespace);
    const { object: _o, oldObject: _p, ...request } = requestOf(a, '');
    const values: Record<string, unknown> = {
      object: celValue(a.object ?? null),
      oldObject: celValue(a.oldObject ?? null),
      request: celValue(request),
      params: celValue(params ?? null),
      namespaceObject: celValue(namespace ?? null),
    };
    return Object.assign(values, { variables: lazily(policy.variables, values) });
  }

  #policy(object: StoredObject): Policy {
    let policy = this.#read.get(object);
    if (!policy) {
      ({ policy } = readPolicy(object));
      this.#read.set(object, policy);
    }
    return policy;
  }
}

/** What is wrong with a policy. An API server refuses one whose expressions cannot be compiled. */
export function checkPolicy(object: Json): readonly Problem[] {
  const { problems, policy } = readPolicy(object);
  if (
    policy.validations.length === 0 &&
    arr(at(object, 'spec', 'auditAnnotations')).length === 0 &&
    problems.length === 0
  )
    return [{ field: 'spec.validations', message: 'validations or auditAnnotations must be non-empty' }];
  return problems;
}

type Finding = {
  readonly policy: string;
  readonly binding: string;
  readonly actions: readonly string[];
  readonly message: string;
  readonly reason: string;
  readonly failure: boolean;
};

function verdictOf(found: readonly Finding[], a: Attributes, audit: (message: string) => void): Verdict {
  const warnings: string[] = [];
  const denied: Finding[] = [];
  for (const f of found) {
    if (f.failure || f.actions.includes('Deny')) denied.push(f);
    if (f.failure) continue;
    const text = `Validation failed for ValidatingAdmissionPolicy '${f.policy}' with binding '${f.binding}': ${f.message}`;
    if (f.actions.includes('Warn')) warnings.push(text);
    if (f.actions.includes('Audit')) audit(text);
  }
  const [first] = denied;
  if (!first) return { refusal: undefined, warnings };
  const message = `ValidatingAdmissionPolicy '${first.policy}' with binding '${first.binding}' denied request: ${first.message}`;
  const status = STATUS_OF_REASON[first.reason] ?? 422;
  const what = a.type.group === '' ? a.type.plural : `${a.type.plural}.${a.type.group}`;
  return {
    refusal: new ApiError(
      status,
      status === 422 ? 'Invalid' : first.reason,
      `${what} "${a.name}" is ${status === 422 ? 'invalid' : 'forbidden'}: ${message}`,
      [{ field: '', message }],
      { name: a.name, kind: a.type.plural, group: a.type.group },
    ),
    warnings,
  };
}

const POLICY_VARIABLES = ['object', 'oldObject', 'request', 'params', 'namespaceObject', 'variables'] as const;

function readPolicy(object: Json): { readonly policy: Policy; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const spec = obj(object['spec']);
  const variables = arr(spec['variables']).flatMap((v, i): Named[] => {
    const expression = tryCompile(
      v['expression'],
      POLICY_VARIABLES,
      'any',
      `spec.variables[${i}].expression`,
      problems,
    );
    return expression ? [{ name: str(v['name']), expression }] : [];
  });
  const declared = new Set(variables.map((v) => v.name));
  const validations = arr(spec['validations']).flatMap((v, i): Validation[] => {
    const field = `spec.validations[${i}]`;
    const expression = tryCompile(v['expression'], POLICY_VARIABLES, 'bool', `${field}.expression`, problems);
    for (const [, name = ''] of str(v['expression']).matchAll(/\bvariables\.\??(\w+)/g))
      if (!declared.has(name))
        problems.push({ field: `${field}.expression`, message: `undefined field '${name}' of variables` });
    const messageExpression =
      v['messageExpression'] === undefined
        ? undefined
        : tryCompile(v['messageExpression'], POLICY_VARIABLES, 'string', `${field}.messageExpression`, problems);
    if (!expression) return [];
    const message = str(v['message']).trim() || `failed expression: ${expression.text.trim()}`;
    return [{ expression, message, messageExpression, reason: str(v['reason']) || 'Invalid' }];
  });
  return {
    problems,
    policy: {
      name: str(at(object, 'metadata', 'name')),
      ignoresFailure: spec['failurePolicy'] === 'Ignore',
      constraints: obj(spec['matchConstraints']),
      paramKind: spec['paramKind'] === undefined ? undefined : obj(spec['paramKind']),
      conditions: readConditions(spec, 'spec.', POLICY_VARIABLES, problems),
      variables,
      validations,
    },
  };
}

function messageOf(validation: Validation, variables: Readonly<Record<string, unknown>>): string {
  try {
    const text = validation.messageExpression?.evaluate(variables);
    if (typeof text === 'string' && text.trim() !== '' && !text.includes('\n')) return text;
  } catch (error) {
    if (!(error instanceof CelError)) throw error; // the fixed message says enough
  }
  return validation.message;
}

/** Variables of a policy: evaluated when they are used, once. One that cannot be evaluated is an error where it is used. */
function lazily(variables: readonly Named[], values: Readonly<Record<string, unknown>>): object {
  const made = {};
  for (const { name, expression } of variables) {
    let known: { readonly value: unknown } | undefined;
    Object.defineProperty(made, name, {
      enumerable: true,
      get: () => (known ??= { value: expression.evaluate({ ...values, variables: made }) }).value,
    });
  }
  return made;
}

const splitVersion = (apiVersion: string): string[] =>
  apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
