import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';

/** install.yaml: what manifests/kustomization.yaml names, one after the other, comments kept. */
export function installYaml(kustomization: string): string {
  const dir = dirname(kustomization);
  const { resources } = parse(readFileSync(kustomization, 'utf8')) as { resources: string[] };
  const parts = resources.map((file) => readFileSync(join(dir, file), 'utf8').trimEnd());
  return `# Generated from manifests/kustomization.yaml by hack/generate.ts. Do not edit.\n${parts.join('\n---\n')}\n`;
}
