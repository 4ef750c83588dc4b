import type { Operations } from '../apiserver/operations.ts';
import type { StoredObject } from '../apiserver/objects/store.ts';
import { isDeleting } from './pods.ts';
import { follow, keyOf, Queue, splitKey } from './queue.ts';

type OnError = (key: string, error: unknown) => void;

/** Empties namespaces that are being deleted, gives new ones their ServiceAccount, and removes what has lost its owner. */
export function runLifecycle(ops: Operations, onError: OnError): void {
  runNamespaces(ops, onError);
  runGarbageCollector(ops, onError);
}

function runNamespaces(ops: Operations, onError: OnError): void {
  const type = ops.resources.kind('Namespace', '');
  const accounts = ops.resources.kind('ServiceAccount', '');
  const queue = new Queue((key) => {
    const { name } = splitKey(key);
    const ns = ops.store.get(type, undefined, name);
    if (!ns) return;
    if (!isDeleting(ns)) {
      if (!ops.store.get(accounts, name, 'default'))
        ops.create(accounts, name, {
          apiVersion: 'v1',
          kind: 'ServiceAccount',
          metadata: { name: 'default', namespace: name },
        });
      return;
    }
    let left = 0;
    for (const t of ops.resources) {
      if (!t.namespaced) continue;
      for (const o of [...ops.store.all(t)]) {
        if (o.metadata.namespace !== name) continue;
        if (!isDeleting(o)) ops.delete({ type: t, namespace: name, name: o.metadata.name });
        if (ops.store.get(t, name, o.metadata.name)) left++;
      }
    }
    const now = ops.store.get(type, undefined, name);
    if (left > 0 || !now) queue.addLater(key, 50);
    else
      ops.store.update(type, {
        ...now,
        metadata: { ...now.metadata, finalizers: (now.metadata.finalizers ?? []).filter((f) => f !== 'kubernetes') },
      });
  }, onError);
  follow(ops, 'Namespace', '', (ns) => queue.add(keyOf(ns)));
}

/** An object whose owners are all gone goes too (background propagation). */
function runGarbageCollector(ops: Operations, onError: OnError): void {
  const collect = new Queue((uid) => {
    for (const type of [...ops.resources]) {
      for (const o of [...ops.store.all(type)]) {
        if (!o.metadata.ownerReferences?.some((r) => r.uid === uid) || isDeleting(o)) continue;
        if (o.metadata.ownerReferences.every((r) => r.uid === uid || !exists(ops, o, r.kind, r.name, r.uid))) {
          ops.delete({
            type,
            name: o.metadata.name,
            ...(o.metadata.namespace === undefined ? {} : { namespace: o.metadata.namespace }),
          });
        }
      }
    }
  }, onError);
  for (const kind of ['Deployment', 'ReplicaSet', 'StatefulSet', 'DaemonSet', 'Job', 'Service', 'Node', 'Pod']) {
    follow(ops, kind, ops.resources.kind(kind).group, (o, gone) => {
      if (gone) collect.add(o.metadata.uid);
    });
  }
}

function exists(ops: Operations, dependant: StoredObject, kind: string, name: string, uid: string): boolean {
  const type = ops.resources.byKind(kind);
  if (!type) return false;
  return ops.store.get(type, type.namespaced ? dependant.metadata.namespace : undefined, name)?.metadata.uid === uid;
}
