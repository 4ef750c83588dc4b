import type { Operations } from '../apiserver/operations.ts';
import { arr, at, type Json, obj, str } from '../apiserver/model/path.ts';
import type { StoredObject } from '../apiserver/objects/store.ts';

/** What the workload controllers share: pods made from a template, owned, counted. */

export const podsOf = (ops: Operations, owner: StoredObject): StoredObject[] =>
  [...ops.store.all(ops.resources.kind('Pod', ''))].filter((p) => controllerOf(p)?.uid === owner.metadata.uid);

export const controllerOf = (o: StoredObject) => o.metadata.ownerReferences?.find((r) => r.controller);

export const ownerReference = (owner: StoredObject) => ({
  apiVersion: owner.apiVersion,
  kind: owner.kind,
  name: owner.metadata.name,
  uid: owner.metadata.uid,
  controller: true,
  blockOwnerDeletion: true,
});

export const isDeleting = (o: StoredObject): boolean => o.metadata.deletionTimestamp !== undefined;
export const isFinished = (p: StoredObject): boolean => ['Succeeded', 'Failed'].includes(str(at(p, 'status', 'phase')));
export const isReady = (p: StoredObject): boolean =>
  !isDeleting(p) && arr(at(p, 'status', 'conditions')).some((c) => c['type'] === 'Ready' && c['status'] === 'True');

/** Creates a pod as a controller does: through admission, which may refuse it. */
export type PodMaker = (namespace: string | undefined, pod: Json, owner: StoredObject) => Promise<unknown>;

/** Makes a pod from the template of a workload. */
export async function createPod(
  make: PodMaker,
  owner: StoredObject,
  metadata: object,
  spec: object = {},
): Promise<void> {
  const template = obj(at(owner, 'spec', 'template'));
  const templateMeta = obj(template['metadata']);
  await make(
    owner.metadata.namespace,
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        annotations: templateMeta['annotations'],
        ...metadata,
        namespace: owner.metadata.namespace,
        labels: { ...obj(templateMeta['labels']), ...obj((metadata as { labels?: unknown }).labels) },
        ownerReferences: [ownerReference(owner)],
      },
      spec: { ...obj(template['spec']), ...spec },
    },
    owner,
  );
}

export function deletePod(ops: Operations, pod: StoredObject): void {
  ops.delete({
    type: ops.resources.kind('Pod', ''),
    name: pod.metadata.name,
    ...(pod.metadata.namespace === undefined ? {} : { namespace: pod.metadata.namespace }),
  });
}

/** Writes a status when it differs. */
export function setStatus(ops: Operations, o: StoredObject, status: object): void {
  const type = ops.resources.kind(o.kind);
  const now = ops.store.get(type, o.metadata.namespace, o.metadata.name);
  if (now) ops.store.update(type, { ...now, status: { ...obj(now['status']), ...status } });
}
