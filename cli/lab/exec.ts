import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { keyOf } from '../../core/cluster/state.ts';
import { viewOf } from '../../core/view/view.ts';
import { inside } from '../../lab/world/namespaces.ts';
import { DNS_IP, families, type LabSpec, nodeNames } from '../../lab/world/plan.ts';
import { labTarget } from '../target/lab-target.ts';
import { loadState } from '../cluster/state.ts';
import { podNamed } from '../cluster/names.ts';
import { labSpec } from '../../lab/world/lab.ts';
import { UsageError } from '../terminal/output.ts';
import { podNamespaces } from '../target/lab-pods.ts';

/**
 * Runs any program of this machine in a pod's network, with the cluster's DNS, or on a node ("node/n1"): in its network, with its /run.
 * Gives the program's exit code.
 */
export async function execInPod(name: string, podText: string, command: readonly string[]): Promise<number> {
  const lab = labSpec(name);
  const [, node] = /^node\/(.+)$/.exec(podText) ?? [];
  if (node !== undefined) return await onNode(lab, node, command);
  await using target = labTarget(name);
  const pod = podNamed(viewOf(await loadState(target)), podText);
  const netns = podNamespaces(name).get(pod.uid);
  if (netns === undefined || !existsSync(netns))
    throw new UsageError(`pod ${keyOf(pod)} has no network yet; kubectl describe pod tells why`);
  const servers = families(lab.family).map((f) => `nameserver ${DNS_IP[f]}`);
  const resolv = [
    ...servers,
    `search ${pod.namespace}.svc.cluster.local svc.cluster.local cluster.local`,
    'options ndots:5',
    '',
  ].join('\n');
  // In a mount namespace of its own, so that the machine's resolv.conf stays what it is.
  const script =
    'f=$(mktemp) && printf %s "$BULKHEAD_RESOLV" > "$f" && mount --bind "$f" /etc/resolv.conf && rm -f "$f"; unset BULKHEAD_RESOLV; exec "$@"';
  const child = spawn('unshare', ['--mount', 'nsenter', `--net=${netns}`, '--', 'sh', '-c', script, 'sh', ...command], {
    stdio: 'inherit',
    env: { ...process.env, BULKHEAD_RESOLV: resolv },
  });
  return await codeOf(child);
}

async function onNode(lab: LabSpec, node: string, command: readonly string[]): Promise<number> {
  const names = nodeNames(lab.nodes);
  if (!names.includes(node)) throw new UsageError(`lab ${lab.name} has no node ${node}: ${names.join(', ')}`);
  const [program, ...args] = inside(lab.name, { node }, command);
  return await codeOf(spawn(program, args, { stdio: 'inherit' }));
}

async function codeOf(child: ChildProcess): Promise<number> {
  return await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
  });
}
