import { Ajv, type ValidateFunction } from 'ajv';
import ajvFormats from 'ajv-formats';
import { checkRules, type Problem, readRules, type Rules } from '../cel/rules.ts';
import { sameValue } from '../cel/values.ts';
import { invalid } from '../model/error.ts';
import { crdColumn } from './columns.ts';
import { arr, at, type Json, obj, str, strs } from '../model/path.ts';
import type { ResourceType } from './resources.ts';

/**
 * Custom resources: a CustomResourceDefinition becomes a served resource. Objects are checked against its structural
 * schema and its rules, and get its defaults.
 */
export function typesOf(crd: Json): ResourceType[] {
  const names = obj(at(crd, 'spec', 'names'));
  return arr(at(crd, 'spec', 'versions'))
    .filter((v) => v['served'] === true)
    .map((v) => ({
      group: str(at(crd, 'spec', 'group')),
      version: str(v['name']),
      kind: str(names['kind']),
      plural: str(names['plural']),
      singular: str(names['singular']),
      shortNames: strs(names['shortNames']),
      categories: strs(names['categories']),
      namespaced: at(crd, 'spec', 'scope') === 'Namespaced',
      status: at(v, 'subresources', 'status') !== undefined,
      columns: arr(v['additionalPrinterColumns']).map(crdColumn),
      schema: obj(at(v, 'schema', 'openAPIV3Schema')),
      ...rulesOf(v),
    }));
}

/** What is wrong with a definition: rules that cannot be compiled. */
export function checkDefinition(crd: Json): readonly Problem[] {
  return arr(at(crd, 'spec', 'versions')).flatMap(
    (v, i) => readRules(obj(at(v, 'schema', 'openAPIV3Schema')), `spec.versions[${i}].schema.openAPIV3Schema`).problems,
  );
}

function rulesOf(version: Json): { readonly rules?: Rules } {
  const { rules } = readRules(obj(at(version, 'schema', 'openAPIV3Schema')), '');
  return rules ? { rules } : {};
}

/**
 * Checks an object of a custom resource and fills in defaults. Unknown fields are refused, with their path. What was wrong before
 * and is unchanged is left alone, so that a stricter definition does not keep its users from editing the rest.
 */
export function checkCustom(type: ResourceType, object: Json, before: Json | undefined): Json {
  if (!type.schema) return object;
  let validate = validators.get(type.schema);
  if (!validate) {
    validate = ajv.compile(closed(withoutMeta(type.schema as Json)));
    validators.set(type.schema, validate);
  }
  const { metadata, apiVersion, kind, ...rest } = structuredClone(object) as Record<string, unknown>;
  if (!validate(rest)) {
    const problems = (validate.errors ?? [])
      .filter((e) => !isUnchanged(e.instancePath, rest, before))
      .map((e) => {
        const field = e.instancePath
          .slice(1)
          .replaceAll(/\/(\d+)/g, '[$1]')
          .replaceAll('/', '.');
        const extra =
          e.keyword === 'additionalProperties'
            ? `unknown field "${String((e.params as { additionalProperty?: string }).additionalProperty)}"`
            : undefined;
        const allowed =
          e.keyword === 'enum'
            ? `must be one of ${((e.params as { allowedValues?: unknown[] }).allowedValues ?? []).map((v) => JSON.stringify(v)).join(', ')}`
            : undefined;
        return { field: field === '' ? 'spec' : field, message: extra ?? allowed ?? e.message ?? 'is invalid' };
      });
    if (problems.length > 0) throw invalid(`${type.kind}.${type.group}`, str(at(object, 'metadata', 'name')), problems);
  }
  checkCustomRules(type, { ...rest, apiVersion, kind, metadata }, before);
  return { apiVersion, kind, metadata, ...rest };
}

function checkCustomRules(type: ResourceType, object: Json, before: Json | undefined): void {
  if (!type.rules) return;
  const problems = checkRules(type.rules, rootOf(object), before && rootOf(before));
  if (problems.length > 0) throw invalid(`${type.kind}.${type.group}`, str(at(object, 'metadata', 'name')), problems);
}

/** Of the metadata, rules see the name alone. */
function rootOf(object: Json): Json {
  const { name, generateName } = obj(object['metadata']);
  return { ...object, metadata: { name, ...(generateName === undefined ? {} : { generateName }) } };
}

/** Whether the value at a JSON pointer, or one that holds it, is what it was. */
function isUnchanged(pointer: string, object: unknown, before: unknown): boolean {
  let [now, then] = [object, before];
  for (const step of pointer.split('/').slice(1)) {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof now !== 'object' || now === null || typeof then !== 'object' || then === null) return false;
    now = (now as Record<string, unknown>)[key];
    then = (then as Record<string, unknown>)[key];
    if (now !== undefined && sameValue(now, then)) return true;
  }
  return false;
}

const ajv = new Ajv({ allErrors: true, useDefaults: true, strict: false });
ajvFormats.default(ajv);
const validators = new Map<object, ValidateFunction>();

function withoutMeta(schema: Json): Json {
  const { apiVersion: _a, kind: _k, metadata: _m, ...properties } = obj(schema['properties']);
  return { ...schema, properties };
}

/** The same schema, with objects that have named properties closed to others: as strict field validation does. */
function closed(schema: Json): Json {
  const properties = obj(schema['properties']);
  const result: Record<string, unknown> = { ...schema };
  if (Object.keys(properties).length > 0) {
    result['properties'] = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, closed(obj(v))]));
    result['additionalProperties'] = false;
  }
  if (schema['items'] !== undefined) result['items'] = closed(obj(schema['items']));
  return result;
}
