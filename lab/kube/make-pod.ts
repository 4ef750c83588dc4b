import { timestamp } from '../../lib/kube/client.ts';
import type { Operations } from '../apiserver/operations.ts';
import type { Requests } from '../apiserver/requests.ts';
import { randomSuffix, type StoredObject } from '../apiserver/objects/store.ts';
import { deletePod, type PodMaker } from './pods.ts';

/** Creates pods as the controllers of a cluster do, each under its own name. A pod that is refused is an event on its owner. */
export function podMaker(ops: Operations, requests: Requests): PodMaker {
  const pods = ops.resources.kind('Pod', '');
  return async (namespace, pod, owner) => {
    const username = `system:serviceaccount:kube-system:${owner.kind.toLowerCase()}-controller`;
    const groups = ['system:serviceaccounts', 'system:serviceaccounts:kube-system', 'system:authenticated'];
    try {
      const made = await requests.create(pods, namespace, pod, { user: { username, groups }, warnings: [] });
      // The owner may have gone meanwhile, and with it what it owned by then.
      const now = ops.store.get(ops.resources.kind(owner.kind), namespace, owner.metadata.name);
      if (now?.metadata.uid !== owner.metadata.uid) deletePod(ops, made);
    } catch (error) {
      tellFailure(ops, owner, `Error creating: ${(error as Error).message}`);
      throw error;
    }
  };
}

/** One event for an owner and a message, counted. */
function tellFailure(ops: Operations, owner: StoredObject, message: string): void {
  const type = ops.resources.kind('Event', '');
  const { namespace = 'default', name, uid } = owner.metadata;
  const now = timestamp();
  const same = [...ops.store.all(type)].find(
    (e) => (e['involvedObject'] as { uid?: string } | undefined)?.uid === uid && e['message'] === message,
  );
  if (same) {
    ops.store.update(type, { ...same, count: Number(same['count'] ?? 1) + 1, lastTimestamp: now });
    return;
  }
  ops.create(type, namespace, {
    metadata: { name: `${name}.${randomSuffix()}`, namespace },
    involvedObject: { apiVersion: owner.apiVersion, kind: owner.kind, name, namespace, uid },
    type: 'Warning',
    reason: 'FailedCreate',
    message,
    source: { component: `${owner.kind.toLowerCase()}-controller` },
    count: 1,
    firstTimestamp: now,
    lastTimestamp: now,
  });
}
