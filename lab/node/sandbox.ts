import { randomBytes, randomUUID } from 'node:crypto';
import { writeSysctls } from '../../lib/netns/sysctl.ts';
import { createNetns, deleteNetns } from '../../lib/netns/netns.ts';
import type { KubeObject } from '../../lib/kube/client.ts';
import type { Cni, CniAddResult, Sandbox } from './cni.ts';

/** A pod's network: its namespace, and what the plugin gave. */
export type PodSandbox = { readonly sandbox: Sandbox; readonly ips: readonly string[] };

/** Makes a namespace and has it attached, as a container runtime does for RunPodSandbox. Leaves nothing when it fails. */
export async function createSandbox(cni: Cni, pod: KubeObject): Promise<PodSandbox> {
  const sandbox: Sandbox = {
    containerID: randomBytes(32).toString('hex'),
    netns: `/run/netns/cni-${randomUUID()}`,
    ifname: 'eth0',
    args: {
      IgnoreUnknown: '1',
      K8S_POD_NAMESPACE: pod.metadata.namespace ?? '',
      K8S_POD_NAME: pod.metadata.name,
      K8S_POD_INFRA_CONTAINER_ID: '',
      K8S_POD_UID: pod.metadata.uid ?? '',
    },
    portMappings: hostPortsOf(pod),
  };
  createNetns(sandbox.netns);
  writeSysctls(POD_SYSCTLS, sandbox.netns);
  let result: CniAddResult;
  try {
    result = await cni.add(sandbox);
  } catch (error) {
    await cni.delete(sandbox).catch(() => undefined); // whatever was begun
    deleteNetns(sandbox.netns);
    throw error;
  }
  return { sandbox, ips: result.ips.map((ip) => ip.address.replace(/\/.*$/, '')) };
}

/** Container ports with a hostPort. */
function hostPortsOf(pod: KubeObject): NonNullable<Sandbox['portMappings']> {
  type Port = { containerPort: number; hostPort?: number; protocol?: string; hostIP?: string };
  const { containers = [] } = pod['spec'] as { containers?: { ports?: Port[] }[] };
  return containers.flatMap((c) =>
    (c.ports ?? []).flatMap(({ hostPort, containerPort, protocol = 'TCP', hostIP = '' }) =>
      hostPort === undefined ? [] : [{ hostPort, containerPort, protocol: protocol.toLowerCase(), hostIP }],
    ),
  );
}

/** As container runtimes set them: ping and low ports without privileges. */
const POD_SYSCTLS = {
  'net/ipv4/ping_group_range': '0 2147483647',
  'net/ipv4/ip_unprivileged_port_start': '0',
} as const;

/** Detaches and removes. Throws when the plugin does, and is then called again: the namespace stays until DEL is done. */
export async function removeSandbox(cni: Cni, { sandbox }: PodSandbox): Promise<void> {
  await cni.delete(sandbox);
  deleteNetns(sandbox.netns);
}
