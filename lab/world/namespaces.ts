import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import { createNetns } from '../../lib/netns/netns.ts';
import { libc, MNT_DETACH } from '../../lib/netns/libc.ts';
import { writeSysctls } from '../../lib/netns/sysctl.ts';
import {
  API,
  CONTROLLER,
  FABRIC_LENGTH,
  fabricAddress,
  families,
  labDir,
  type LabSpec,
  mountPath,
  netPath,
  nodeHost,
  nodeNames,
  OUTSIDE,
  ROUTER,
} from './plan.ts';

/** Makes the namespaces of a lab and joins them. */
export async function buildWorld(lab: LabSpec): Promise<void> {
  const dir = `${labDir(lab.name)}/ns`;
  mkdirSync(dir, { recursive: true });
  // A namespace is kept as a mount, and a mount namespace only on a mount that does not propagate.
  await exec(['mount', '--bind', dir, dir]);
  await exec(['mount', '--make-private', dir]);
  createNetns(netPath(lab.name, 'fabric'));
  createNetns(netPath(lab.name, 'outside'));
  const fs = families(lab.family);
  await buildFabric(lab, fs);
  await Promise.all(nodeNames(lab.nodes).map((node, i) => buildNode(lab, fs, node, i)));
}

/** Lets go of all namespaces of a lab; their devices go with them. Nothing must run in them any more. */
export function removeWorld(name: string): void {
  const dir = `${labDir(name)}/ns`;
  if (existsSync(dir)) for (const file of readdirSync(dir)) libc.umount2(`${dir}/${file}`, MNT_DETACH);
  // The folder was mounted on itself, and once more when an earlier `up` was cut off.
  while (isMounted(dir) && libc.umount2(dir, MNT_DETACH) === 0);
  rmSync(labDir(name), { recursive: true, force: true });
}

/** Runs a program with a namespace's network; with `node`, in the node's file system too. */
export const inside = (
  lab: string,
  where: { readonly net: string } | { readonly node: string },
  argv: readonly string[],
): [string, ...string[]] =>
  'net' in where
    ? ['nsenter', `--net=${netPath(lab, where.net)}`, '--', ...argv]
    : ['nsenter', `--net=${netPath(lab, where.node)}`, `--mount=${mountPath(lab, where.node)}`, '--', ...argv];

/** Puts a file into a node's /run. */
export async function writeInNode(lab: string, node: string, path: string, content: string): Promise<void> {
  await exec(inside(lab, { node }, ['sh', '-c', `umask 077; mkdir -p "$(dirname "$0")"; cat > "$0"`, path]), {
    input: content,
  });
}

async function buildFabric(lab: LabSpec, fs: readonly (4 | 6)[]): Promise<void> {
  writeSysctls(ROUTER_SYSCTLS, netPath(lab.name, 'fabric'));
  writeSysctls(HOST_SYSCTLS, netPath(lab.name, 'outside'));
  const lines = [
    'link set lo up',
    'link add br0 type bridge',
    'link set br0 up',
    `link add out0 type veth peer name eth0 netns ${netPath(lab.name, 'outside')}`,
    'link set out0 up',
  ];
  for (const f of fs) {
    for (const host of [ROUTER, API, CONTROLLER])
      lines.push(`addr add ${fabricAddress(f, host)}/${FABRIC_LENGTH[f]} dev br0${nodad(f)}`);
    lines.push(`addr add ${OUTSIDE[f].router}/${OUTSIDE[f].length} dev out0${nodad(f)}`);
  }
  await ip(lab.name, 'fabric', lines);
  const outside = ['link set lo up', 'link set eth0 up'];
  for (const f of fs)
    outside.push(
      `addr add ${OUTSIDE[f].host}/${OUTSIDE[f].length} dev eth0${nodad(f)}`,
      `route add default via ${OUTSIDE[f].router}`,
    );
  await ip(lab.name, 'outside', outside);
}

async function buildNode(lab: LabSpec, fs: readonly (4 | 6)[], node: string, index: number): Promise<void> {
  const net = netPath(lab.name, node);
  const mnt = mountPath(lab.name, node);
  writeFileSync(net, '');
  writeFileSync(mnt, '');
  await exec([
    'unshare',
    `--net=${net}`,
    `--mount=${mnt}`,
    '--propagation',
    'private',
    'sh',
    '-c',
    'mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/netns /run/bulkhead /run/bulkhead-lab',
  ]);
  writeSysctls(HOST_SYSCTLS, net);
  await ip(lab.name, 'fabric', [
    `link add ${node} type veth peer name eth0 netns ${net}`,
    `link set ${node} master br0 up`,
  ]);
  const lines = ['link set lo up', 'link set eth0 up'];
  for (const f of fs)
    lines.push(
      `addr add ${fabricAddress(f, nodeHost(index))}/${FABRIC_LENGTH[f]} dev eth0${nodad(f)}`,
      `route add default via ${fabricAddress(f, ROUTER)}`,
    );
  await ip(lab.name, node, lines);
}

async function ip(lab: string, where: string, lines: readonly string[]): Promise<void> {
  try {
    await exec(['nsenter', `--net=${netPath(lab, where)}`, 'ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  } catch (error) {
    if (error instanceof ExecError)
      throw new Error(`lab ${lab}: network of ${where}: ${error.message}`, { cause: error });
    throw error;
  }
}

/** Strict reverse path checks, as distributions set them: what works here works there. */
const HOST_SYSCTLS = {
  'net/ipv4/conf/all/rp_filter': '1',
  'net/ipv4/conf/default/rp_filter': '1',
  'net/ipv6/conf/default/accept_dad': '0',
  'net/ipv6/conf/all/accept_dad': '0',
  'net/ipv4/ping_group_range': '0 2147483647',
} as const;
const ROUTER_SYSCTLS = {
  ...HOST_SYSCTLS,
  'net/ipv4/ip_forward': '1',
  'net/ipv6/conf/all/forwarding': '1',
  'net/ipv4/icmp_ratemask': '0',
} as const;
const nodad = (f: 4 | 6): string => (f === 6 ? ' nodad' : '');

function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[4] === path);
}
