import { parse } from 'yaml';
import { cell } from './table.ts';

type Schema = {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly pattern?: string;
  readonly 'x-kubernetes-validations'?: readonly { readonly message?: string }[];
  readonly [bound: string]: unknown;
};
type Crd = {
  readonly spec: {
    readonly group: string;
    readonly scope: string;
    readonly names: { readonly kind: string; readonly shortNames: readonly string[] };
    readonly versions: readonly [{ readonly name: string; readonly schema: { readonly openAPIV3Schema: Schema } }];
  };
};

/** docs/reference/crds.md: every field of every kind, from the CRDs that clusters get, as YAML. */
export function crdReference(texts: readonly string[]): string {
  const crds = texts.map((text) => parse(text) as Crd);
  return [
    '# Fields of the kinds',
    '<!-- Generated from api/kinds by hack/generate.ts. Do not edit. -->',
    'What `kubectl explain` says of a field, for all of them. A field with a default need not be written; those that are\n**required** must.',
    ...crds.map(section),
  ].join('\n\n');
}

function section({ spec }: Crd): string {
  const [
    {
      name: version,
      schema: { openAPIV3Schema: schema },
    },
  ] = spec.versions;
  const { kind, shortNames } = spec.names;
  const rules = (schema['x-kubernetes-validations'] ?? []).map((r) => `- ${r.message ?? ''}`);
  return [
    `## ${kind}`,
    `\`${spec.group}/${version}\`, ${spec.scope.toLowerCase()}; short names: ${shortNames.join(', ')}.`,
    ...(schema.description === undefined ? [] : [schema.description]),
    ...(rules.length > 0 ? [`Beyond the fields:\n\n${rules.join('\n')}`] : []),
    ['| field | type | description |', '|---|---|---|', ...rows('spec', schema), ...rows('status', schema)].join('\n'),
  ].join('\n\n');
}

const rows = (top: 'spec' | 'status', schema: Schema): string[] => {
  const part = schema.properties?.[top];
  return part === undefined ? [] : fieldRows(top, part);
};

/** One row a field, parents before children: `spec.egress.allow[].cidr`. */
function fieldRows(path: string, { properties = {}, required = [] }: Schema): string[] {
  return Object.entries(properties).flatMap(([name, field]) => {
    const here = `${path}.${name}`;
    const inside = field.items ?? field.additionalProperties;
    const below =
      inside === undefined ? fieldRows(here, field) : fieldRows(`${here}${field.items ? '[]' : '{}'}`, inside);
    return [`| \`${here}\` | ${cell(typeOf(field))} | ${cell(about(field, required.includes(name)))} |`, ...below];
  });
}

function typeOf(field: Schema): string {
  if (field.items) return `list of ${typeOf(field.items)}`;
  if (field.additionalProperties) return `map of ${typeOf(field.additionalProperties)}`;
  return field.enum ? field.enum.map((v) => `\`${String(v)}\``).join(', ') : (field.type ?? 'any');
}

const BOUNDS: Readonly<Record<string, string>> = {
  minimum: 'at least #',
  maximum: 'at most #',
  minLength: 'at least # characters',
  maxLength: 'at most # characters',
  minItems: 'at least # entries',
  maxItems: 'at most # entries',
};

function about(field: Schema, required: boolean): string {
  const bounds = Object.entries(BOUNDS).flatMap(([key, words]) =>
    typeof field[key] === 'number' && Math.abs(field[key]) < Number.MAX_SAFE_INTEGER
      ? [words.replace('#', String(field[key]))]
      : [],
  );
  const isEmpty = JSON.stringify(field.default) === '{}';
  return [
    ...(required ? ['**required**'] : []),
    field.description ?? '',
    ...(field.default === undefined || isEmpty ? [] : [`Default: \`${JSON.stringify(field.default)}\`.`]),
    ...(bounds.length === 0 ? [] : [`(${bounds.join(', ')})`]),
  ]
    .filter((t) => t !== '')
    .join(' ');
}
