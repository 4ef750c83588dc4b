import type { Operations } from '../apiserver/operations.ts';
import { arr, at, obj, str } from '../apiserver/model/path.ts';
import { type StoredObject } from '../apiserver/objects/store.ts';
import { timestamp } from '../../lib/kube/client.ts';
import { isDeleting, isFinished } from './pods.ts';
import { follow, keyOf, Queue, splitKey } from './queue.ts';

/** Gives each pod a node: the emptiest that its nodeSelector allows, and rather one without a pod of the same owner. */
export function runScheduler(ops: Operations, onError: (key: string, error: unknown) => void): void {
  const pods = ops.resources.kind('Pod', '');
  const waiting = new Set<string>();
  const queue = new Queue((key) => {
    const { namespace, name } = splitKey(key);
    const pod = ops.store.get(pods, namespace, name);
    waiting.delete(key);
    if (!pod || isDeleting(pod) || str(at(pod, 'spec', 'nodeName')) !== '' || isFinished(pod)) return;
    const node = choose(ops, pod);
    if (node === undefined) {
      waiting.add(key);
      condition(ops, pod, 'False', 'Unschedulable', 'no node is ready and matches the nodeSelector');
      return;
    }
    ops.store.update(pods, { ...pod, spec: { ...obj(pod['spec']), nodeName: node } });
    condition(ops, ops.store.must(pods, namespace, name), 'True', 'Scheduled', '');
  }, onError);
  follow(ops, 'Pod', '', (pod, gone) => {
    if (!gone && str(at(pod, 'spec', 'nodeName')) === '') queue.add(keyOf(pod));
  });
  follow(ops, 'Node', '', () => {
    for (const key of waiting) queue.add(key);
  });
}

function choose(ops: Operations, pod: StoredObject): string | undefined {
  const selector = Object.entries(obj(at(pod, 'spec', 'nodeSelector')));
  const owner = pod.metadata.ownerReferences?.[0]?.uid;
  const load = new Map<string, { siblings: number; pods: number }>();
  for (const node of ops.store.all(ops.resources.kind('Node', ''))) {
    const ready = arr(at(node, 'status', 'conditions')).some((c) => c['type'] === 'Ready' && c['status'] === 'True');
    const fits = selector.every(([k, v]) => node.metadata.labels?.[k] === v);
    if (ready && fits && at(node, 'spec', 'unschedulable') !== true)
      load.set(node.metadata.name, { siblings: 0, pods: 0 });
  }
  for (const other of ops.store.all(ops.resources.kind('Pod', ''))) {
    const l = load.get(str(at(other, 'spec', 'nodeName')));
    if (!l || isFinished(other)) continue;
    l.pods++;
    if (owner !== undefined && other.metadata.ownerReferences?.[0]?.uid === owner) l.siblings++;
  }
  const [best] = [...load].sort(([an, a], [bn, b]) => a.siblings - b.siblings || a.pods - b.pods || (an < bn ? -1 : 1));
  return best?.[0];
}

function condition(
  ops: Operations,
  pod: StoredObject,
  status: 'True' | 'False',
  reason: string,
  message: string,
): void {
  const conditions = arr(at(pod, 'status', 'conditions')).filter((c) => c['type'] !== 'PodScheduled');
  const lastTransitionTime = timestamp();
  ops.store.update(ops.resources.kind('Pod', ''), {
    ...pod,
    status: {
      ...obj(pod['status']),
      conditions: [
        ...conditions,
        { type: 'PodScheduled', status, lastTransitionTime, ...(status === 'True' ? {} : { reason, message }) },
      ],
    },
  });
}
