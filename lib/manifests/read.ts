import { readFileSync, statSync, readdirSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { DepthError, isDeepValue, MOST_DEPTH } from '../text/json.ts';
import { decodeText } from './decode.ts';
import { ManifestError } from './error.ts';
import { isManifest, type Manifest, itemsOf, pathOf } from './items.ts';
import { buildKustomization } from './kustomization.ts';
import { lineInText } from './lines.ts';
import { parseManifestText } from './parse.ts';
import { type Source, sourcesOf } from './sources.ts';

/** An object, and where it stands. */
export type Located = {
  readonly object: Manifest;
  /** "file:line" */
  readonly at: string;
  readonly file: string;
  /** The line of a part of it, of the object itself for an empty path or one that leads nowhere. */
  readonly lineOf: (path: readonly (string | number)[]) => number;
};

/** What files, folders, kustomizations and standard input hold. */
export type ManifestFiles = {
  readonly objects: readonly Located[];
  /** Files in folders, or parts of them, that are no manifests: each "file" or "file:line". */
  readonly skipped: readonly string[];
  /** What may not be meant as it is written, each with its place. */
  readonly warnings: readonly string[];
};

/** A file beyond this is refused: the whole of it has to be in memory, many times over. */
const MOST_BYTES = 128 * 1024 * 1024;

/**
 * Reads as `kubectl -f` and `kubectl -k` do. A path is a file, a folder, or "-" for standard input. A folder with a kustomization is
 * built. In a folder, what has neither apiVersion nor kind is skipped,
 * and so is what has one of them and neither metadata nor spec. Throws {@link ManifestError} with all that is wrong.
 */
export async function gatherManifests(
  paths: readonly string[],
  {
    kustomize = [],
    stdin = () => buffer(process.stdin),
  }: {
    readonly kustomize?: readonly string[];
    readonly stdin?: () => Promise<Uint8Array>;
  } = {},
): Promise<ManifestFiles> {
  const gathered = new Gathered();
  const known = new Set<string>();
  const sources = new Map<string, Source>();
  for (const path of paths) {
    if (path === '-') {
      if (!known.has(path)) gathered.read('standard input', await stdin(), true);
      known.add(path);
      continue;
    }
    // A file that is named twice is still one file.
    for (const source of gathered.attempt(() => sourcesOf(path)) ?? []) sources.set(realPath(source.path), source);
  }
  for (const path of kustomize) sources.set(realPath(path), { kind: 'kustomization', path });
  for (const source of sources.values()) {
    if (source.kind === 'file') gathered.readFile(source.path, source.named);
    else await gathered.build(source.path);
  }
  return gathered.all();
}

/** Every object in a file, or in the YAML and JSON files of a folder. Throws {@link ManifestError} with all that is wrong. */
export function readManifests(path: string): Manifest[] {
  const gathered = new Gathered();
  const files = gathered.attempt(() => {
    try {
      if (!statSync(path).isDirectory()) return [path];
    } catch (error) {
      throw new ManifestError([`${path}: no such file or folder`], { cause: error });
    }
    const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((f) => /\.(ya?ml|json)$/.test(f));
    return names.sort().map((f) => join(path, f));
  });
  for (const file of files ?? []) gathered.readFile(file, true);
  return gathered.all().objects.map(({ object }) => object);
}

/** Objects as they are found, and everything that is wrong, until the end. */
class Gathered {
  readonly #objects: Located[] = [];
  readonly #skipped: string[] = [];
  readonly #warnings: string[] = [];
  readonly #problems: string[] = [];

  all(): ManifestFiles {
    if (this.#problems.length > 0) throw new ManifestError(this.#problems);
    return { objects: this.#objects, skipped: this.#skipped, warnings: this.#warnings };
  }

  attempt<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      this.#problems.push(...error.problems);
      return undefined;
    }
  }

  async build(folder: string): Promise<void> {
    try {
      this.read(`${folder} (kustomize)`, Buffer.from(await buildKustomization(folder)), true);
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      this.#problems.push(...error.problems);
    }
  }

  readFile(file: string, named: boolean): void {
    this.attempt(() => this.read(file, bytesOf(file), named));
  }

  /** @param named the user means this file: what is no manifest is a mistake */
  read(file: string, bytes: Uint8Array, named: boolean): void {
    let text: string;
    try {
      text = decodeText(bytes);
    } catch {
      this.#problems.push(`${file}: is neither UTF-8 nor UTF-16`);
      return;
    }
    // Without the fields of an object it does not matter whether the rest can be read.
    if (!named && !mayBeObject(text)) {
      if (/^(?!---|\.\.\.|[ \t]*#)[ \t]*\S/m.test(text)) this.#skipped.push(file);
      return;
    }
    const { documents, problems, warnings } = parseManifestText(text);
    this.#problems.push(...problems.map((p) => `${file}:${p}${templateHint(file)}`));
    this.#warnings.push(...warnings.map((w) => `${file}:${w}`));
    for (const [place, { value, lineOf }] of documents.entries()) {
      if (value === null || value === undefined) continue;
      if (isDeepValue(value)) {
        this.#problems.push(`${file}:${lineOf([])}: ${new DepthError(MOST_DEPTH).message}`);
        continue;
      }
      if (!named && isNoManifest(value)) {
        this.#skipped.push(`${file}:${lineOf([])}`);
        continue;
      }
      const { items, problem } = itemsOf(value);
      for (const item of items) {
        const path = pathOf(item);
        const line = lineOf(path);
        const own = (inside: readonly (string | number)[]): number =>
          inside.length === 0 ? line : (lineInText(text, place, [...path, ...inside]) ?? line);
        this.#objects.push({ object: item.object, at: `${file}:${line}`, file, lineOf: own });
      }
      if (problem !== undefined) this.#problems.push(`${file}:${lineOf([])}: ${problem}${kustomizationHint(value)}`);
    }
  }
}

function bytesOf(file: string): Uint8Array {
  try {
    if (statSync(file).size > MOST_BYTES)
      throw new ManifestError([`${file}: is larger than ${MOST_BYTES / 1024 / 1024} MiB; split it`]);
    return readFileSync(file);
  } catch (error) {
    if (error instanceof ManifestError) throw error;
    throw new ManifestError([`${file}: cannot be read: ${(error as Error).message}`], { cause: error });
  }
}

/** Whether a text may be an object, or one whose apiVersion was forgotten: `kind` and its `metadata` or `spec` at the top. */
const mayBeObject = (text: string): boolean =>
  /apiVersion/.test(text) ||
  (/^kind[ \t]*:/m.test(text) && /^(metadata|spec)[ \t]*:/m.test(text)) ||
  (/"kind"\s*:/.test(text) && /"(metadata|spec)"\s*:/.test(text));

/** Other YAML of a folder. An object with one of the two fields is rather a manifest with a mistake. */
function isNoManifest(value: unknown): boolean {
  if (!isManifest(value)) return true;
  const has = ['apiVersion', 'kind'].filter((field) => value[field] !== undefined && value[field] !== null);
  return has.length === 0 || (has.length === 1 && !('metadata' in value) && !('spec' in value));
}

const kustomizationHint = (value: unknown): string =>
  isManifest(value) && Array.isArray(value['resources']) ? ' (a kustomization? give its folder with -k)' : '';

/** Templates of a chart are no YAML yet. */
function templateHint(file: string): string {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    if (!/(^|\/)templates$/.test(folder)) continue;
    if (isFile(join(dirname(folder), 'Chart.yaml')))
      return ' (a template of a Helm chart: render it with helm template, and give the result)';
  }
  return '';
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
