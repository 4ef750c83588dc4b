import { existsSync, readdirSync } from 'node:fs';
import { listProcesses, isAlive } from '../../lab/world/processes.ts';
import { labClient, labSpec } from '../../lab/world/lab.ts';
import { LABS_DIR } from '../../lab/world/plan.ts';
import { core, type KubeObject } from '../../lib/kube/client.ts';

export type LabStatus = {
  readonly name: string;
  readonly family: string;
  readonly kubeconfig: string;
  readonly processes: readonly { readonly role: string; readonly pid: number; readonly alive: boolean }[];
  readonly nodes: readonly { readonly name: string; readonly ready: boolean }[];
  readonly pods: { readonly total: number; readonly ready: number };
  readonly healthy: boolean;
};

/** Names of the labs on this machine. */
export const labNames = (): string[] => (existsSync(LABS_DIR) ? readdirSync(LABS_DIR).sort() : []);

/** What runs of a lab and what does not. */
export async function labStatus(name: string): Promise<LabStatus> {
  const lab = labSpec(name);
  const processes = listProcesses(name).map((p) => ({ role: p.role, pid: p.pid, alive: isAlive(p) }));
  let nodes: LabStatus['nodes'] = [];
  let pods = { total: 0, ready: 0 };
  try {
    await using client = labClient(name);
    nodes = (await client.list(core('nodes'))).items.map((n) => ({ name: n.metadata.name, ready: isReady(n) }));
    const all = (await client.list(core('pods'))).items;
    pods = { total: all.length, ready: all.filter(isReady).length };
  } catch {
    // the API server is away: processes say so
  }
  const healthy =
    processes.length > 0 &&
    processes.every((p) => p.alive) &&
    nodes.length === lab.nodes &&
    nodes.every((n) => n.ready);
  return { name, family: lab.family, kubeconfig: `${LABS_DIR}/${name}/kubeconfig`, processes, nodes, pods, healthy };
}

function isReady(o: KubeObject): boolean {
  const conditions = (o['status'] as { conditions?: { type: string; status: string }[] } | undefined)?.conditions ?? [];
  return conditions.some((c) => c.type === 'Ready' && c.status === 'True');
}
