import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { KubeClient } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';

type Manifest = Record<string, unknown>;

/** A manifest cannot be read or applied. `problems` has one line for each object that is at fault. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
  readonly code = 'Invalid';
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/** Every object in a file, or in the YAML and JSON files of a folder. Throws {@link ManifestError} with all that is wrong. */
export function readManifests(path: string): Manifest[] {
  let files: string[];
  try {
    files = statSync(path).isDirectory()
      ? readdirSync(path, { recursive: true, encoding: 'utf8' })
          .filter((f) => /\.(ya?ml|json)$/.test(f))
          .sort()
          .map((f) => join(path, f))
      : [path];
  } catch {
    throw new ManifestError([`${path}: no such file or folder`]);
  }
  const problems: string[] = [];
  const objects: Manifest[] = [];
  for (const file of files) {
    for (const document of parseAllDocuments(readFileSync(file, 'utf8'))) {
      if (document.errors.length > 0) {
        problems.push(...document.errors.map((e) => `${file}: ${e.message.split('\n')[0]}`));
        continue;
      }
      let value: unknown;
      try {
        value = document.toJS();
      } catch (error) {
        problems.push(`${file}: ${(error as Error).message}`); // aliases that multiply each other
        continue;
      }
      if (value === null) continue;
      const { items, problem } = itemsOf(value);
      objects.push(...items);
      if (problem !== undefined) problems.push(`${file}: ${problem}`);
    }
  }
  if (problems.length > 0) throw new ManifestError(problems);
  return objects;
}

/**
 * The objects of a document: itself, or what a List holds, at any depth. The items of a list of one kind ("PodList") may leave out
 * their kind, as the API server's own answers do.
 */
export function itemsOf(document: unknown): { readonly items: Manifest[]; readonly problem?: string } {
  const items: Manifest[] = [];
  const waiting: unknown[] = [document];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (!isManifest(next) || typeof next['kind'] !== 'string' || typeof next['apiVersion'] !== 'string')
      return { items, problem: 'an object without apiVersion and kind' };
    const { kind, apiVersion, items: held } = next as { kind: string; apiVersion: string; items?: unknown };
    if (kind !== 'List' && !(kind.endsWith('List') && Array.isArray(held))) {
      items.push(next);
      continue;
    }
    if (held !== undefined && held !== null && !Array.isArray(held))
      return { items, problem: `items of a ${kind} must be a list of objects` };
    const own = kind === 'List' ? {} : { apiVersion, kind: kind.slice(0, -'List'.length) };
    const inside = (Array.isArray(held) ? (held as unknown[]) : []).map((item) =>
      isManifest(item) ? { ...own, ...item } : null,
    );
    waiting.push(...inside.reverse());
  }
  return { items };
}

/** Applies objects: namespaces and definitions first. Goes on behind a failed one; throws {@link ManifestError} with all failures. */
export async function applyManifests(
  client: KubeClient,
  objects: readonly Manifest[],
  onWarning: (text: string) => void = () => undefined,
): Promise<string[]> {
  const problems: string[] = [];
  const done: string[] = [];
  for (const object of [...objects].sort((a, b) => rank(a) - rank(b))) {
    try {
      const path = await pathFor(client, object);
      await client.json('PATCH', path, {
        body: object,
        contentType: 'application/apply-patch+yaml',
        query: { fieldManager: 'bulkhead-lab', force: true },
        onWarning: (text) => onWarning(`${nameOf(object)}: ${text}`),
      });
      done.push(nameOf(object));
    } catch (error) {
      problems.push(`${nameOf(object)}: ${(error as Error).message.replace(/^PATCH \S+ /, '')}`);
    }
  }
  if (problems.length > 0) throw new ManifestError(problems);
  return done;
}

/** Deletes objects, last first. What is not there is no error. */
export async function deleteManifests(client: KubeClient, objects: readonly Manifest[]): Promise<string[]> {
  const done: string[] = [];
  for (const object of [...objects].sort((a, b) => rank(b) - rank(a))) {
    try {
      await client.json('DELETE', await pathFor(client, object));
      done.push(nameOf(object));
    } catch (error) {
      if (!isKube(error, 'NotFound')) throw error;
    }
  }
  return done;
}

async function pathFor(client: KubeClient, object: Manifest): Promise<string> {
  const apiVersion = String(object['apiVersion']);
  const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const list = await client
    .json<{ resources: { name: string; kind: string; namespaced: boolean }[] } & { metadata: never }>('GET', base)
    .catch((error: unknown) => {
      if (isKube(error, 'NotFound')) throw new ManifestError([`apiVersion ${apiVersion} is not served here`]);
      throw error;
    });
  const resource = list.resources.find((r) => r.kind === object['kind'] && !r.name.includes('/'));
  if (!resource) throw new ManifestError([`kind ${String(object['kind'])} of ${apiVersion} is not served here`]);
  const { name, namespace = 'default' } = (object['metadata'] ?? {}) as { name?: string; namespace?: string };
  if (name === undefined) throw new ManifestError(['metadata.name is missing']);
  return `${base}${resource.namespaced ? `/namespaces/${namespace}` : ''}/${resource.name}/${name}`;
}

const isManifest = (v: unknown): v is Manifest => typeof v === 'object' && v !== null && !Array.isArray(v);
const rank = (o: Manifest): number =>
  o['kind'] === 'Namespace' ? 0 : o['kind'] === 'CustomResourceDefinition' ? 1 : o['kind'] === 'VirtualNetwork' ? 2 : 3;
function nameOf(o: Manifest): string {
  const { name = '?', namespace } = (o['metadata'] ?? {}) as { name?: string; namespace?: string };
  return `${String(o['kind']).toLowerCase()}/${namespace === undefined ? '' : `${namespace}/`}${name}`;
}
