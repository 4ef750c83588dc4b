import type { KubeClient } from '../kube/client.ts';
import { isKube } from '../kube/error.ts';
import { ManifestError } from './error.ts';
import type { Manifest } from './items.ts';

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

const rank = (o: Manifest): number =>
  o['kind'] === 'Namespace' ? 0 : o['kind'] === 'CustomResourceDefinition' ? 1 : o['kind'] === 'VirtualNetwork' ? 2 : 3;
function nameOf(o: Manifest): string {
  const { name = '?', namespace } = (o['metadata'] ?? {}) as { name?: string; namespace?: string };
  return `${String(o['kind']).toLowerCase()}/${namespace === undefined ? '' : `${namespace}/`}${name}`;
}
