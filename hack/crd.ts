import { stringify } from 'yaml';
import { z } from 'zod';
import { GROUP, VERSION } from '../api/names.ts';
import { type KindDefinition, KINDS } from '../api/kinds/crds.ts';

type Schema = { [key: string]: unknown };

/** The CRD of a kind, as YAML text with a note that it is generated. */
export function crdYaml(kind: KindDefinition): string {
  const crd = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${kind.plural}.${groupOf(kind)}`,
      ...(kind.foreign ? { annotations: kind.foreign.annotations } : {}),
    },
    spec: {
      group: groupOf(kind),
      scope: kind.scope,
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        singular: kind.singular,
        shortNames: kind.shortNames,
        ...(kind.foreign ? {} : { categories: ['bulkhead'] }),
      },
      versions: [
        {
          name: kind.foreign?.version ?? VERSION,
          served: true,
          storage: true,
          ...(kind.status ? { subresources: { status: {} } } : {}),
          additionalPrinterColumns: kind.columns,
          schema: { openAPIV3Schema: rootSchema(kind) },
        },
      ],
    },
  };
  return `# Generated from api/kinds by hack/generate.ts. Do not edit.\n${stringify(crd, { lineWidth: 0 })}`;
}

/** File name and text of each CRD. */
export const crdFiles = (): { readonly file: string; readonly text: string }[] =>
  KINDS.map((k) => ({ file: `${k.plural}.${groupOf(k)}.yaml`, text: crdYaml(k) }));

const groupOf = (kind: KindDefinition): string => kind.foreign?.group ?? GROUP;

function rootSchema(kind: KindDefinition): Schema {
  return {
    type: 'object',
    description: kind.description,
    required: ['spec'],
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      spec: structural(z.toJSONSchema(kind.spec, { target: 'openapi-3.0', io: 'input' }) as Schema),
      ...(kind.status
        ? { status: structural(z.toJSONSchema(kind.status, { target: 'openapi-3.0', io: 'input' }) as Schema) }
        : {}),
    },
    ...(kind.rules ? { 'x-kubernetes-validations': kind.rules } : {}),
  };
}

/**
 * A structural schema (apiextensions v1): no additionalProperties beside properties, no $schema, integers with their
 * bounds as the API server takes them. Unions do not occur: kinds are modelled without.
 */
export function structural(schema: Schema): Schema {
  const { $schema: _s, additionalProperties, propertyNames: _p, exclusiveMinimum: _e, ...rest } = schema;
  const result: Schema = { ...rest };
  if ('oneOf' in schema || 'anyOf' in schema || 'allOf' in schema)
    throw new TypeError('unions are not structural: model them as optional sibling objects');
  const properties = schema['properties'] as Record<string, Schema> | undefined;
  if (properties)
    result['properties'] = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, structural(v)]));
  else if (typeof additionalProperties === 'object' && additionalProperties !== null)
    result['additionalProperties'] = structural(additionalProperties as Schema);
  if (schema['items']) result['items'] = structural(schema['items'] as Schema);
  if (schema['type'] === 'integer' && Number(schema['maximum']) <= 0x7fffffff) result['format'] = 'int32';
  if (schema['type'] === 'integer' && Number(schema['maximum']) > 0x7fffffff) {
    delete result['maximum'];
    delete result['minimum'];
    result['format'] = 'int64';
  }
  return result;
}
