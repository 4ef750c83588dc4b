import { listProcesses } from '../../lab/world/processes.ts';
import { readSandboxes } from '../../lab/node/sandbox-list.ts';
import { labSpec } from '../../lab/world/lab.ts';
import { nodeNames } from '../../lab/world/plan.ts';
import { existsSync } from 'node:fs';

/** Paths of pods' network namespaces, as this process can open them: uid → path through the node's own file system. */
export function podNamespaces(labName: string): Map<string, string> {
  const lab = labSpec(labName);
  const paths = new Map<string, string>();
  for (const node of nodeNames(lab.nodes)) {
    const root = nodeRoot(labName, node);
    if (root === undefined) continue;
    for (const [uid, { netns }] of Object.entries(readSandboxes(root))) paths.set(uid, `${root}${netns}`);
  }
  return paths;
}

/** A node's file system, seen through a process that runs in it; undefined when none does. */
export function nodeRoot(lab: string, node: string): string | undefined {
  const inNode = listProcesses(lab).filter((p) => p.role === `node-${node}` || p.role === `agent-${node}`);
  return inNode.map((p) => `/proc/${p.pid}/root`).find((root) => existsSync(`${root}/run/bulkhead-lab`));
}
