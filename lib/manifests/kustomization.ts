import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { exec, ExecError } from '../exec/exec.ts';
import { decodeText } from './decode.ts';
import { ManifestError } from './error.ts';
import { isManifest } from './items.ts';
import { parseManifestText } from './parse.ts';

/** What a folder's kustomization says, as far as it matters which folders are built. */
export type Kustomization = {
  /** A part for others, never built alone. */
  readonly component: boolean;
  /** The folders that it takes in. */
  readonly uses: readonly string[];
};

/** kubectl, which builds kustomizations, cannot be run. */
export class KubectlMissingError extends Error {
  override readonly name = 'KubectlMissingError';
  readonly code = 'KubectlMissing';
}

const NAMES = ['kustomization.yaml', 'kustomization.yml', 'Kustomization'];

/** The kustomization of a folder, or undefined: also for a file of that name that is another kind's (Flux has such). */
export function kustomizationIn(folder: string): Kustomization | undefined {
  for (const name of NAMES) {
    const path = join(folder, name);
    if (!existsSync(path)) continue;
    const read = readQuietly(path);
    const value = read ?? {};
    const { apiVersion, kind } = value;
    if (typeof apiVersion === 'string' && !apiVersion.startsWith('kustomize.config.k8s.io/')) continue;
    const uses = ['resources', 'bases', 'components'].flatMap((field) =>
      (Array.isArray(value[field]) ? (value[field] as unknown[]) : [])
        .filter((entry) => typeof entry === 'string')
        .map((entry) => resolve(folder, entry)),
    );
    return { component: kind === 'Component', uses };
  }
  return undefined;
}

/** A file that cannot be read is still a kustomization: building it says what is wrong. */
function readQuietly(path: string): Record<string, unknown> | undefined {
  try {
    const value = parseManifestText(decodeText(readFileSync(path))).documents[0]?.value;
    return isManifest(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The YAML that a folder's kustomization builds, by the kustomize that kubectl brings. Throws {@link ManifestError} with
 * kustomize's own words, {@link KubectlMissingError} without kubectl.
 */
export async function buildKustomization(folder: string): Promise<string> {
  try {
    return (await exec(['kubectl', 'kustomize', '--', folder], { timeoutMs: 120_000 })).stdout;
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    if (error.code === 'NotFound')
      throw new KubectlMissingError(
        `${folder} has a kustomization, which kubectl builds, and there is no kubectl here: install it, or build the folder elsewhere and give the result with -f`,
        { cause: error },
      );
    const said = error.result.stderr.trim().replace(/^error: /, '') || error.message;
    throw new ManifestError([`${folder}: kubectl kustomize: ${said}`]);
  }
}
