import { groupOf } from '../read/kinds.ts';
import type { Raw } from '../read/objects.ts';
import { objectOf } from '../read/problems.ts';

/**
 * Pods that manifests describe: those that are there themselves, and one like those of each workload, which is any object with a
 * pod template. It has the workload's name, and the kind behind it where another object of the namespace has that name. A workload
 * whose pods, or whose owner with a template, are there too adds none.
 *
 * @param objects with namespace and name
 */
export function podsOfManifests(objects: readonly Raw[]): Raw[] {
  const owners = ownersOf(objects);
  const bare = objects.filter(isPod);
  const made = objects.flatMap((raw) => (owners.isStoodFor(raw) ? [] : podsOfWorkload(raw)));
  return [...bare, ...withNames(made, new Set(bare.map((p) => keyOf(p))))];
}

const isPod = (raw: Raw): boolean => raw['kind'] === 'Pod' && (raw['apiVersion'] ?? 'v1') === 'v1';

type Made = { readonly pod: Raw; readonly workload: Raw; readonly names: readonly string[] };

/** Built-in workloads that run for long. */
const RUNNING = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'ReplicationController'];

/** Where the built-in kinds have their template, even one without containers. */
const TEMPLATES = new Map<string, readonly string[]>([
  ...[...RUNNING, 'Job'].map((kind) => [kind, ['spec', 'template']] as const),
  ['CronJob', ['spec', 'jobTemplate', 'spec', 'template']],
]);
const BUILT_IN_GROUPS = ['', 'apps', 'batch'];

type Template = { readonly path: readonly string[]; readonly template: Raw };

function podsOfWorkload(raw: Raw): Made[] {
  const templates = templatesOf(raw);
  return templates.map(({ path, template }) => {
    const { name, namespace } = objectOf(raw['metadata']);
    const role = templates.length === 1 ? [] : [roleOf(path)];
    const owner = { apiVersion: raw['apiVersion'], kind: raw['kind'], name, controller: true };
    const { generateName: _, ...metadata } = objectOf(template['metadata']);
    const kind = String(raw['kind']).toLowerCase();
    return {
      workload: raw,
      names: [
        [name, ...role],
        [name, kind, ...role],
        [name, kind, groupOf(raw).replaceAll('.', '-'), ...role],
      ].map((p) => p.join('-')),
      pod: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { ...metadata, name, namespace, ownerReferences: [owner] }, // named below
        spec: template['spec'],
      },
    };
  });
}

/** A template of a kind that is not built in is looked for at most so deep, in at most so many values. */
const DEEPEST = 12;
const MOST_VALUES = 20_000;

/** The pod templates of an object: where its kind has one, or anything that is called a template and has containers. */
function templatesOf(raw: Raw): Template[] {
  const path = BUILT_IN_GROUPS.includes(groupOf(raw)) ? TEMPLATES.get(String(raw['kind'])) : undefined;
  if (path) {
    const template = path.reduce((o, field) => objectOf(o[field]), raw);
    return [{ path, template }];
  }
  if (isPod(raw) || raw['kind'] === 'CustomResourceDefinition') return [];
  const found: Template[] = [];
  let left = MOST_VALUES;
  const look = (value: unknown, at: readonly string[]): void => {
    if (typeof value !== 'object' || value === null || at.length > DEEPEST || left-- <= 0) return;
    if (/template$/i.test(at.at(-1) ?? '') && hasContainers(value as Raw)) {
      found.push({ path: at, template: value as Raw });
      return;
    }
    for (const [key, inner] of Object.entries(value)) look(inner, [...at, placeName(key, inner, Array.isArray(value))]);
  };
  look(raw['spec'], ['spec']);
  return found;
}

/** The pod templates of an object. */
export const templatesIn = (raw: Raw): Raw[] => templatesOf(raw).map(({ template }) => template);

/** Whether an object makes pods. */
export const hasTemplate = (raw: Raw): boolean => templatesOf(raw).length > 0;

function hasContainers(template: Raw): boolean {
  const { containers } = objectOf(template['spec']);
  return Array.isArray(containers) && containers.length > 0;
}

/** Entries of lists go by the name that they have. */
function placeName(key: string, value: unknown, inList: boolean): string {
  if (!inList) return key;
  const { name, groupName } = objectOf(value);
  const own = name ?? groupName;
  return typeof own === 'string' && own !== '' ? own : key;
}

/** Of several templates of an object which one: "workers-small" of spec.workers[name=small].template */
function roleOf(path: readonly string[]): string {
  const telling = path.filter((p) => !['spec', 'template'].includes(p)).map((p) => p.replace(/(Spec|Template)$/, ''));
  return (telling.at(-1) || path.join('-')).toLowerCase();
}

const LAST = ['Job', 'CronJob'];

/** Which of several workloads of one name keeps it: those that run for long come first. */
function rankOf({ workload }: Made): number {
  const kind = String(workload['kind']);
  if (!BUILT_IN_GROUPS.includes(groupOf(workload))) return RUNNING.length;
  return RUNNING.includes(kind) ? RUNNING.indexOf(kind) : RUNNING.length + 1 + LAST.indexOf(kind);
}

/** Gives each pod the first of its names that is free, after every workload that can has kept its own. */
function withNames(made: readonly Made[], taken: Set<string>): Raw[] {
  const names = new Map<Made, string>();
  const claim = (m: Made, wanted: Iterable<string>): void => {
    const namespace = String(objectOf(m.workload['metadata'])['namespace']);
    for (const name of wanted) {
      if (taken.has(`${namespace}/${name}`)) continue;
      names.set(m, name);
      taken.add(`${namespace}/${name}`);
      return;
    }
  };
  const ranked = made.toSorted((a, b) => rankOf(a) - rankOf(b) || compare(a.names.join(' '), b.names.join(' ')));
  for (const m of ranked) claim(m, m.names.slice(0, 1));
  for (const m of ranked) if (!names.has(m)) claim(m, withNumbers(m.names));
  return made.map((m) => {
    const metadata = objectOf(m.pod['metadata']);
    const name = names.get(m);
    return { ...m.pod, metadata: { ...metadata, name, uid: `Pod ${String(metadata['namespace'])}/${name}` } };
  });
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function* withNumbers(names: readonly string[]): Generator<string> {
  yield* names;
  for (let i = 2; ; i++) yield `${names.at(-1)}-${i}`;
}

const keyOf = (raw: Raw): string => {
  const { namespace, name } = objectOf(raw['metadata']);
  return `${String(namespace)}/${String(name)}`;
};

/** Which workloads have others in their place: their own pods, or the owner that would make them. */
function ownersOf(objects: readonly Raw[]): { readonly isStoodFor: (raw: Raw) => boolean } {
  const known = new Map(objects.map((raw) => [idOf(raw, objectOf(raw['metadata'])), raw]));
  const ownerOf = (raw: Raw): Raw | undefined => {
    const { ownerReferences, namespace } = objectOf(raw['metadata']);
    const all = Array.isArray(ownerReferences) ? ownerReferences.map(objectOf) : [];
    const owner = all.find((o) => o['controller'] === true) ?? all[0];
    return owner && known.get(idOf(owner, { name: owner['name'], namespace }));
  };
  const withPods = new Set<Raw>();
  for (const pod of objects.filter(isPod))
    for (let owner = ownerOf(pod); owner && !withPods.has(owner); owner = ownerOf(owner)) withPods.add(owner);
  return {
    isStoodFor(raw) {
      if (withPods.has(raw)) return true;
      const owner = ownerOf(raw);
      if (owner) return hasTemplate(owner);
      // An earlier revision that its owner keeps.
      const owned = Array.isArray(objectOf(raw['metadata'])['ownerReferences']);
      return owned && raw['kind'] === 'ReplicaSet' && objectOf(raw['spec'])['replicas'] === 0;
    },
  };
}

const idOf = (raw: Raw, { name, namespace }: Raw): string =>
  `${groupOf(raw)} ${String(raw['kind'])} ${String(namespace)}/${String(name)}`;
