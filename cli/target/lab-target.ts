import { kubeconfigPath, labClient, labSpec } from '../../lab/world/lab.ts';
import {
  families,
  netPath,
  nodeNames,
  OUTSIDE,
  OUTSIDE_PORT,
  OUTSIDE_UDP_PORT,
  POD_CIDR,
  SERVICE_CIDR,
} from '../../lab/world/plan.ts';
import type { LinkAddress } from '../../core/nodes/links.ts';
import { exec } from '../../lib/exec/exec.ts';
import { logPath } from '../../lab/world/processes.ts';
import { connectFromPods } from './from-pods.ts';
import { kubectlRunner } from './kubectl-target.ts';
import { podNamespaces } from './lab-pods.ts';
import { linesOf } from './lines.ts';
import type { ClusterTarget } from './target.ts';

/** A lab of this machine: its API, and its pods' namespaces as files. */
export function labTarget(name: string): ClusterTarget {
  const lab = labSpec(name);
  const client = labClient(name);
  const fs = families(lab.family);
  return {
    name: `lab ${name}`,
    list: (resource) => client.list(resource),
    kubectl: kubectlRunner({ kubeconfig: kubeconfigPath(name) }),
    agentLogs: ({ follow }) =>
      linesOf([
        'tail',
        '-q',
        '-n',
        '+1',
        ...(follow ? ['-F'] : []),
        ...nodeNames(lab.nodes).map((n) => logPath(name, `agent-${n}`)),
      ]),
    connect: (attempts, onProgress) => connectFromPods(attempts, podNamespaces(name), onProgress),
    nodeAddresses: async (nodes) =>
      new Map(await Promise.all(nodes.map(async (n) => [n, await linksOf(netPath(name, n))] as const))),
    outside: fs.flatMap((f) => [
      { name: 'internet', address: OUTSIDE[f].host, port: OUTSIDE_PORT, protocol: 'TCP' as const },
      { name: 'internet', address: OUTSIDE[f].host, port: OUTSIDE_UDP_PORT, protocol: 'UDP' as const },
    ]),
    identify: true,
    podCIDRs: fs.map((f) => POD_CIDR[f]),
    serviceCIDRs: fs.map((f) => SERVICE_CIDR[f]),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

/** The addresses of a network namespace. */
async function linksOf(netns: string): Promise<LinkAddress[]> {
  const { stdout } = await exec(['nsenter', `--net=${netns}`, 'ip', '-j', 'addr']);
  const links = JSON.parse(stdout) as { ifname: string; addr_info: { local: string }[] }[];
  return links.flatMap(({ ifname, addr_info }) => addr_info.map(({ local }) => ({ dev: ifname, ip: local })));
}
