import { Document, isMap, parseAllDocuments, stringify } from 'yaml';
import { z } from 'zod';
import { KINDS } from '../../api/kinds/crds.ts';
import { LOG_LEVELS } from '../../lib/process/log.ts';
import { structural } from '../crd.ts';
import { IMAGE_PLACES, type Place, PLACES, VALUE_COMMENTS } from './chart-places.ts';

type Json = Record<string, unknown>;
type Manifest = Json & { readonly kind: string; readonly metadata: { readonly name: string } };
type Step = string | number;

const NAMESPACE = 'kube-system';
const image = '{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}';

/**
 * The files of a Helm chart that renders the objects of `manifests` (the text of install.yaml). CRDs go to crds/, which Helm installs
 * before everything else and never deletes; the rest to templates/, one file a kind.
 */
export function chartFiles(manifests: string, version: string): ReadonlyMap<string, string> {
  const objects = parseAllDocuments(manifests).flatMap((d) => (d.contents === null ? [] : [d.toJS() as Manifest]));
  const used = new Set<Place | (typeof IMAGE_PLACES)[number]>();
  const templates = new Map<string, string[]>();
  const files = new Map<string, string>();
  for (const object of objects) {
    if (object.kind === 'CustomResourceDefinition')
      files.set(`crds/${object.metadata.name}.yaml`, stringify(object, { lineWidth: 0 }));
    else {
      const file = `templates/${object.kind.toLowerCase()}.yaml`;
      templates.set(file, [...(templates.get(file) ?? []), templateOf(object, used)]);
    }
  }
  const unused = [...PLACES, ...IMAGE_PLACES].filter((p) => !used.has(p));
  if (unused.length > 0) throw new Error(`hack/release/chart-places.ts: no such object: ${unused[0]?.object}`);
  for (const [file, texts] of templates) files.set(file, texts.join('---\n'));
  files.set('templates/bulkheadconfig.yaml', CONFIG_TEMPLATE);
  files.set('templates/NOTES.txt', NOTES);
  files.set('values.yaml', valuesYaml(objects));
  files.set('values.schema.json', `${JSON.stringify(valuesSchema(), undefined, 2)}\n`);
  files.set('Chart.yaml', chartYaml(version));
  return files;
}

/** One object as a template: its YAML with places taken from values. */
function templateOf(object: Manifest, used: Set<unknown>): string {
  const blocks: string[] = [];
  const inline: string[] = [];
  const block = (text: string): string => `__BLOCK_${blocks.push(text) - 1}__`;
  const scalar = (text: string): string => `__INLINE_${inline.push(text) - 1}__`;
  const copy = inNamespace(structuredClone(object), scalar, block) as Manifest;
  const id = `${object.kind}/${object.metadata.name}`;
  for (const place of PLACES.filter((p) => p.object === id)) {
    used.add(place);
    const before = at(object, place.path);
    const value = `.Values.${place.value}`;
    const text = place.append
      ? `toYaml (concat (list ${(before as string[]).map((s) => JSON.stringify(s)).join(' ')}) ${value})`
      : `toYaml ${value}`;
    setAt(copy, place.path, typeof before === 'object' ? block(text) : scalar(value));
  }
  for (const place of IMAGE_PLACES.filter((p) => p.object === id)) {
    used.add(place);
    setAt(copy, place.path, '__IMAGE__');
  }
  return stringify(copy, { lineWidth: 0 })
    .replaceAll('{{', '{{ `{{` }}')
    .replaceAll(/^( *)((?:- )?[\w.-]+:) __BLOCK_(\d+)__$/gm, (_, indent: string, key: string, i: string) => {
      const deep = indent.length + (key.startsWith('- ') ? 4 : 2);
      return `${indent}${key} {{- ${blocks[Number(i)] ?? ''} | nindent ${deep} }}`;
    })
    .replaceAll(/__INLINE_(\d+)__/g, (_, i: string) => `{{ ${inline[Number(i)] ?? ''} }}`)
    .replaceAll('__IMAGE__', JSON.stringify(image));
}

/** The object with our namespace, wherever it stands, taken from values; lists of namespaces to leave alone get it beside. */
function inNamespace(value: unknown, scalar: (t: string) => string, block: (t: string) => string): unknown {
  if (typeof value === 'string') return value.replaceAll(NAMESPACE, () => scalar('.Values.namespace'));
  if (Array.isArray(value)) {
    if (value.includes(NAMESPACE))
      return block(`toYaml (list ${value.map((v) => JSON.stringify(v)).join(' ')} .Values.namespace | uniq)`);
    return value.map((v) => inNamespace(v, scalar, block));
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, inNamespace(v, scalar, block)]));
}

/** Containers' variables are found by name. */
function step(value: unknown, key: Step): unknown {
  if (Array.isArray(value) && typeof key === 'string') return value.find((v) => (v as { name?: string }).name === key);
  return (value as Record<Step, unknown> | undefined)?.[key];
}
function at(object: unknown, path: readonly Step[]): unknown {
  const found = path.reduce(step, object);
  if (found === undefined) throw new Error(`hack/release/chart-places.ts: the manifest has no ${path.join('.')}`);
  return found;
}
function setAt(object: unknown, path: readonly Step[], value: unknown): void {
  const parent = path.slice(0, -1).reduce(step, object) as Record<Step, unknown>;
  const last = path.at(-1);
  if (last !== undefined) parent[last] = value;
}

function valuesYaml(objects: readonly Manifest[]): string {
  const values: Json = {
    namespace: NAMESPACE,
    image: { repository: '', tag: '', pullPolicy: '' },
    bulkheadConfig: {},
    agent: {},
    controller: {},
  };
  for (const { object, path, value, append } of PLACES)
    setAt(values, value.split('.'), append ? [] : at(named(objects, object), path));
  for (const { object, path } of IMAGE_PLACES)
    setAt(values, ['image', 'repository'], String(at(named(objects, object), path)).replace(/:[^:/]*$/, ''));
  const document = new Document(values);
  const comment = (map: unknown, prefix: string): void => {
    if (!isMap(map)) return;
    for (const pair of map.items) {
      const key = pair.key as { value: string; commentBefore?: string };
      const text = VALUE_COMMENTS[prefix + key.value] ?? VALUE_COMMENTS[key.value];
      if (text !== undefined) key.commentBefore = ` ${text}`;
      comment(pair.value, `${prefix}${key.value}.`);
    }
  };
  comment(document.contents, '');
  return `# Generated from manifests/ by hack/release. With these values the chart renders install.yaml, object by object.\n${document.toString({ lineWidth: 0 })}`;
}

function named(objects: readonly Manifest[], id: string): Manifest {
  const found = objects.find((o) => `${o.kind}/${o.metadata.name}` === id);
  if (!found) throw new Error(`hack/release/chart-places.ts: the manifests have no ${id}`);
  return found;
}

/** Values that Helm refuses at once. The BulkheadConfig's spec has the form that its CRD has. */
function valuesSchema(): Json {
  const config = KINDS.find((k) => k.kind === 'BulkheadConfig');
  if (!config) throw new Error('api/kinds has no BulkheadConfig');
  const program = {
    type: 'object',
    properties: {
      logLevel: { enum: LOG_LEVELS },
      extraArgs: { type: 'array', items: { type: 'string' } },
      replicas: { type: 'integer', minimum: 1 },
      resources: { type: 'object' },
      nodeSelector: { type: 'object', additionalProperties: { type: 'string' } },
      tolerations: { type: 'array', items: { type: 'object' } },
    },
    additionalProperties: false,
  };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    type: 'object',
    properties: {
      namespace: { type: 'string', minLength: 1 },
      image: {
        type: 'object',
        properties: {
          repository: { type: 'string', minLength: 1 },
          tag: { type: 'string' },
          pullPolicy: { type: 'string' },
        },
        additionalProperties: false,
      },
      bulkheadConfig: strict(structural(z.toJSONSchema(config.spec, { target: 'openapi-3.0', io: 'input' }))),
      agent: program,
      controller: program,
      global: { type: 'object' },
    },
    additionalProperties: false,
  };
}

/** JSON Schema of a structural one: unknown fields are refused, as the API server would prune them in silence. */
function strict(schema: Json): Json {
  const properties = schema['properties'] as Record<string, Json> | undefined;
  return {
    ...Object.fromEntries(Object.entries(schema).filter(([k]) => !k.startsWith('x-kubernetes') && k !== 'format')),
    ...(properties
      ? {
          properties: Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, strict(v)])),
          additionalProperties: false,
        }
      : {}),
    ...(schema['items'] ? { items: strict(schema['items'] as Json) } : {}),
  };
}

const chartYaml = (version: string): string =>
  stringify({
    apiVersion: 'v2',
    name: 'bulkhead',
    description: 'The Kubernetes network that makes segmentation the default and keeps it livable',
    type: 'application',
    version,
    appVersion: version,
    kubeVersion: '>=1.30.0-0',
    annotations: { 'artifacthub.io/license': 'Apache-2.0' },
  });

const CONFIG_TEMPLATE = `{{- with .Values.bulkheadConfig }}
apiVersion: bulkhead.dev/v1alpha1
kind: BulkheadConfig
metadata:
  name: default
  labels:
    app.kubernetes.io/part-of: bulkhead
spec: {{- toYaml . | nindent 2 }}
{{- end }}
`;

const NOTES = `Bulkhead {{ .Chart.AppVersion }} is installed in {{ .Values.namespace }}.

  kubectl -n {{ .Values.namespace }} rollout status daemonset/bulkhead-agent
  kubectl label namespace NAME bulkhead.dev/isolated=true    # a network of its own for a namespace

Before an upgrade apply the new CRDs: Helm never changes those that are there.
`;
