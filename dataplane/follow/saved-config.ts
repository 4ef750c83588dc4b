import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { emptyNodeConfig, ITEM_KINDS, type NodeConfig } from '../../api/nodeconfig.ts';
import { isNeeded, itemProblem } from './items.ts';

/** Characters that are written at once. */
const PORTION = 1 << 16;

/**
 * Keeps the last good config on disk: a node enforces it before it has reached any controller. It may be large, so others have their turn
 * between its parts; what is written is the config of the moment of the call.
 */
export async function saveConfig(
  path: string,
  config: NodeConfig,
  breath: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const kinds = ITEM_KINDS.map((kind) => [kind, [...config[kind]]] as const);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const file = openSync(`${path}.next`, 'w', 0o600);
  try {
    let text = '{';
    for (const [i, [kind, entries]] of kinds.entries()) {
      text += `${i === 0 ? '' : ','}${JSON.stringify(kind)}:[`;
      for (const [j, entry] of entries.entries()) {
        text += `${j === 0 ? '' : ','}${JSON.stringify(entry)}`;
        if (text.length < PORTION) continue;
        writeFileSync(file, text);
        text = '';
        await breath();
      }
      text += ']';
    }
    writeFileSync(file, `${text}}`);
  } finally {
    closeSync(file);
  }
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
