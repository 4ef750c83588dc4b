import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { emptyNodeConfig, ITEM_KINDS, type NodeConfig } from '../../api/nodeconfig.ts';
import { isNeeded, itemProblem } from './items.ts';

/** Keeps the last good config on disk: a node enforces it before it has reached any controller. */
export function saveConfig(path: string, config: NodeConfig): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const text = JSON.stringify(Object.fromEntries(ITEM_KINDS.map((kind) => [kind, [...config[kind]]])));
  writeFileSync(`${path}.next`, text, { mode: 0o600 });
  renameSync(`${path}.next`, path);
}

/**
 * What was saved, or an empty config when there is none that can be read: the controller tells everything anew. A single item that
 * cannot be read is left out, where that closes something; where it would open something, all of it is.
 */
export function loadConfig(path: string): ReturnType<typeof emptyNodeConfig> {
  const config = emptyNodeConfig();
  let saved: unknown;
  try {
    saved = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return config; // none, or torn
  }
  if (typeof saved !== 'object' || saved === null) return config;
  for (const kind of ITEM_KINDS) {
    const entries: unknown = (saved as Readonly<Record<string, unknown>>)[kind];
    if (entries === undefined) continue; // an older version did not know this kind
    if (!Array.isArray(entries)) return emptyNodeConfig();
    for (const entry of entries as unknown[]) {
      const [key, value] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (itemProblem(kind, key, value) === undefined) (config[kind] as Map<unknown, unknown>).set(key, value);
      else if (isNeeded(kind)) return emptyNodeConfig();
    }
  }
  return config;
}
