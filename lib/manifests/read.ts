import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

/** An object as a manifest has it. */
export type Manifest = Record<string, unknown>;

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

const isManifest = (v: unknown): v is Manifest => typeof v === 'object' && v !== null && !Array.isArray(v);
