import { createServer } from 'node:http';
import { core, type KubeClient, type KubeObject, timestamp } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import { EventRecorder } from '../../lib/kube/events.ts';
import { KUBELET_PORT } from '../../lib/kube/kubelet-port.ts';
import { Reflector } from '../../lib/kube/reflector.ts';
import { issueServer, makeAuthority } from '../../lib/pki/certificates.ts';
import { systemClock } from '../../lib/reconcile/clock.ts';
import { at } from '../apiserver/model/path.ts';
import { Cni } from './cni.ts';
import type { DnsData } from './dns.ts';
import { type NodeContext, PodWorker } from './pod-worker.ts';
import { writeSandboxes } from './sandbox-list.ts';

export type KubeletOptions = {
  readonly client: KubeClient;
  readonly node: string;
  readonly nodeIps: readonly string[];
  readonly cniConfDir: string;
  readonly cniBinDir: string;
  readonly dns: DnsData;
  readonly log: (message: string, fields?: object) => void;
};

/** Annotation of a pod that this kubelet leaves alone: the tests and benchmarks that made it attach it. */
export const UNMANAGED = 'lab.bulkhead.dev/unmanaged';

/** Runs the pods of one node until the signal fires. */
export async function runKubelet(o: KubeletOptions, signal: AbortSignal): Promise<void> {
  const { client, node, log } = o;
  const cni = new Cni(o.cniConfDir, o.cniBinDir);
  const authority = await makeAuthority('bulkhead-lab-pods');
  const told = new Set<string>();
  const sandboxes = new Map<
    string,
    { readonly containerID: string; readonly ifname: string; readonly netns: string }
  >();
  const context: NodeContext = {
    node,
    nodeIps: o.nodeIps,
    client,
    cni,
    events: new EventRecorder(client, 'kubelet'),
    dns: o.dns,
    tls: await issueServer(authority, 'bulkhead-lab-pod', ['localhost']),
    once: (key, tell) => {
      if (!told.has(key)) tell();
      told.add(key);
    },
    onSandbox: (uid, s) => {
      if (s) sandboxes.set(uid, s.sandbox);
      else sandboxes.delete(uid);
      writeSandboxes(sandboxes);
    },
  };
  createServer((_request, response) => response.end('ok\n')).listen(KUBELET_PORT, '::');
  await register(client, node, o.nodeIps);
  void keepReady(o, cni, signal);

  const workers = new Map<string, PodWorker>();
  const see = (pod: KubeObject): void => {
    if (pod.metadata.annotations?.[UNMANAGED] === 'true') return;
    const uid = pod.metadata.uid ?? '';
    const worker = workers.get(uid);
    if (pod.metadata.deletionTimestamp !== undefined) {
      const ending = worker ?? new PodWorker({ ...context, cni: idle }, pod);
      void ending.end().finally(() => workers.delete(uid));
    } else if (worker) worker.update(pod);
    else if (!['Succeeded', 'Failed'].includes(String(at(pod, 'status', 'phase'))))
      workers.set(uid, new PodWorker(context, pod));
  };
  const forget = (uid: string): void => {
    const worker = workers.get(uid);
    if (worker) void worker.end({ tell: false }).finally(() => workers.delete(uid));
  };
  const uids = new Map<string, string>();
  await using pods = new Reflector<KubeObject>({
    client,
    resource: core('pods'),
    fieldSelector: `spec.nodeName=${node}`,
    read: (pod) => pod,
    onReplace: (items) => {
      const present = new Set([...items.values()].map((p) => p.metadata.uid ?? ''));
      for (const uid of workers.keys()) if (!present.has(uid)) forget(uid);
      uids.clear();
      for (const [key, pod] of items) {
        uids.set(key, pod.metadata.uid ?? '');
        see(pod);
      }
    },
    onEvent: (key, pod) => {
      const before = uids.get(key);
      if (!pod || (before !== undefined && before !== pod.metadata.uid)) forget(before ?? '');
      if (pod) {
        uids.set(key, pod.metadata.uid ?? '');
        see(pod);
      } else uids.delete(key);
    },
    onTrouble: ({ what, error }) => log(`${what} failed`, { err: String(error) }),
  }).start();
  void pods;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
}

/** For a pod that was never started here: there is nothing to attach or detach. */
const idle = new Cni('/nonexistent', '/nonexistent');

async function register(client: KubeClient, node: string, ips: readonly string[]): Promise<void> {
  for (;;) {
    try {
      await client.create(core('nodes'), {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: {
          name: node,
          labels: {
            'kubernetes.io/hostname': node,
            'kubernetes.io/os': 'linux',
            'kubernetes.io/arch': process.arch === 'arm64' ? 'arm64' : 'amd64',
          },
        },
        spec: {},
      });
    } catch (error) {
      if (!isKube(error, 'AlreadyExists')) {
        await systemClock.sleep(200);
        continue;
      }
    }
    break;
  }
  await client.patch(core('nodes'), node, undefined, nodeStatus(ips, false, 'cni plugin not initialized'), {
    subresource: 'status',
  });
}

/** A node is ready when a network is configured and its plugin says so. */
async function keepReady(
  o: Pick<KubeletOptions, 'client' | 'node' | 'nodeIps' | 'log'>,
  cni: Cni,
  signal: AbortSignal,
): Promise<void> {
  let told: string | undefined;
  let collected = false;
  while (!signal.aborted) {
    let problem = '';
    try {
      await cni.status();
      if (!collected) await cni.collect([]); // as a container runtime does when it starts: no sandbox here is older than this process
      collected = true;
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    if (problem !== told) {
      const status = nodeStatus(o.nodeIps, problem === '', problem);
      const done = await o.client
        .patch(core('nodes'), o.node, undefined, status, { subresource: 'status' })
        .catch(() => undefined);
      if (done) told = problem;
      o.log(problem === '' ? 'node is ready' : 'node is not ready', problem === '' ? {} : { problem });
    }
    await systemClock.sleep(problem === '' ? 5_000 : 150, signal);
  }
}

function nodeStatus(ips: readonly string[], ready: boolean, message: string): object {
  return {
    status: {
      addresses: ips.map((address) => ({ type: 'InternalIP', address })),
      nodeInfo: {
        kubeletVersion: 'v1.34.0-bulkhead-lab',
        operatingSystem: 'linux',
        architecture: process.arch,
        containerRuntimeVersion: 'lab://1',
        kernelVersion: '',
        osImage: 'bulkhead lab',
        kubeProxyVersion: '',
        machineID: '',
        systemUUID: '',
        bootID: '',
      },
      capacity: { cpu: '4', memory: '8Gi', pods: '250' },
      allocatable: { cpu: '4', memory: '8Gi', pods: '250' },
      conditions: [
        {
          type: 'Ready',
          status: ready ? 'True' : 'False',
          reason: ready ? 'KubeletReady' : 'KubeletNotReady',
          message,
          lastTransitionTime: timestamp(),
          lastHeartbeatTime: timestamp(),
        },
      ],
    },
  };
}
