import { type Dirent, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ManifestError } from './error.ts';
import { type Kustomization, kustomizationIn } from './kustomization.ts';

/** Where objects come from: a file, or a folder that kustomize builds. */
export type Source =
  | {
      readonly kind: 'file';
      readonly path: string /** Named itself, not found in a folder. */;
      readonly named: boolean;
    }
  | { readonly kind: 'kustomization'; readonly path: string };

/** Folders that hold what others wrote, never manifests of one's own. */
const PASSED_OVER = new Set(['.git', 'node_modules']);

/**
 * The sources of a path. A folder with a kustomization is built as it says. In any other folder: its YAML and JSON files at any
 * depth, and what the kustomizations in it build, without those that others of them take in.
 */
export function sourcesOf(path: string): Source[] {
  let folder: boolean;
  try {
    folder = statSync(path).isDirectory();
  } catch (error) {
    throw new ManifestError([`${path}: no such file or folder`], { cause: error });
  }
  if (!folder) return [{ kind: 'file', path, named: true }];
  if (kustomizationIn(path)) return [{ kind: 'kustomization', path }];
  const built = new Map<string, Kustomization>();
  const files = filesIn(path, built);
  const used = new Set([...built.values()].flatMap((k) => k.uses));
  const alone = [...built].filter(([at, k]) => !k.component && !used.has(resolve(at)));
  return [
    ...files.map((file): Source => ({ kind: 'file', path: file, named: false })),
    ...alone.map(([at]): Source => ({ kind: 'kustomization', path: at })),
  ];
}

/** Files in a folder, in order. Those of a kustomization are not among them: it says itself which of them count. */
function filesIn(folder: string, built: Map<string, Kustomization>, inside = false): string[] {
  const files: string[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort(byName)) {
    const path = join(folder, entry.name);
    if (!isFolder(entry, path)) {
      if (!inside && /\.(ya?ml|json)$/.test(entry.name)) files.push(path);
      continue;
    }
    if (PASSED_OVER.has(entry.name) || entry.isSymbolicLink()) continue;
    const own = kustomizationIn(path);
    if (own) built.set(path, own);
    files.push(...filesIn(path, built, inside || own !== undefined));
  }
  return files;
}

const byName = (a: Dirent, b: Dirent): number => (a.name < b.name ? -1 : 1);

function isFolder(entry: Dirent, path: string): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  try {
    return statSync(path).isDirectory();
  } catch {
    return false; // it leads nowhere: reading it says so
  }
}
