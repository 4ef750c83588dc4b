import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { emptyNodeConfig, ITEM_KINDS, type NodeConfig } from '../../api/nodeconfig.ts';

/** Keeps the last good config on disk: a node enforces it before it has reached any controller. */
export function saveConfig(path: string, config: NodeConfig): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const text = JSON.stringify(Object.fromEntries(ITEM_KINDS.map((kind) => [kind, [...config[kind]]])));
  writeFileSync(`${path}.next`, text, { mode: 0o600 });
  renameSync(`${path}.next`, path);
}

/** What was saved, or an empty config when there is none that can be read. */
export function loadConfig(path: string): ReturnType<typeof emptyNodeConfig> {
  const config = emptyNodeConfig();
  let saved: Record<string, unknown>;
  try {
    saved = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  } catch {
    return config; // none, or torn: the controller tells everything anew
  }
  for (const kind of ITEM_KINDS) {
    const entries = saved[kind];
    if (entries === undefined) continue; // an older version did not know this kind
    if (!Array.isArray(entries)) return emptyNodeConfig();
    for (const [key, value] of entries as [string, never][]) (config[kind] as Map<string, unknown>).set(key, value);
  }
  return config;
}
