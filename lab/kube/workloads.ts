import { createHash } from 'node:crypto';
import type { Operations } from '../apiserver/operations.ts';
import { at, num, obj, str } from '../apiserver/model/path.ts';
import { type StoredObject } from '../apiserver/objects/store.ts';
import type { Requests } from '../apiserver/requests.ts';
import { timestamp } from '../../lib/kube/client.ts';
import {
  controllerOf,
  createPod,
  deletePod,
  isDeleting,
  isFinished,
  isReady,
  ownerReference,
  type PodMaker,
  podsOf,
  setStatus,
} from './pods.ts';
import { podMaker } from './make-pod.ts';
import { follow, keyOf, Queue, splitKey } from './queue.ts';

type OnError = (key: string, error: unknown) => void;

/** Starts the controllers of all workload kinds. */
export function runWorkloads(ops: Operations, requests: Requests, onError: OnError): void {
  const make = podMaker(ops, requests);
  run(ops, 'Deployment', 'apps', ['ReplicaSet'], reconcileDeployment, onError);
  run(ops, 'ReplicaSet', 'apps', ['Pod'], (_, o) => reconcileReplicaSet(ops, make, o), onError);
  run(ops, 'StatefulSet', 'apps', ['Pod'], (_, o) => reconcileStatefulSet(ops, make, o), onError);
  run(ops, 'DaemonSet', 'apps', ['Pod', 'Node'], (_, o) => reconcileDaemonSet(ops, make, o), onError);
  run(ops, 'Job', 'batch', ['Pod'], (_, o) => reconcileJob(ops, make, o), onError);
}

function run(
  ops: Operations,
  kind: string,
  group: string,
  owns: readonly string[],
  reconcile: (ops: Operations, o: StoredObject) => void | Promise<void>,
  onError: OnError,
): void {
  const type = ops.resources.kind(kind, group);
  const queue = new Queue((key) => {
    const { namespace, name } = splitKey(key);
    const o = ops.store.get(type, namespace, name);
    return o && !isDeleting(o) ? reconcile(ops, o) : undefined;
  }, onError);
  follow(ops, kind, group, (o) => queue.add(keyOf(o)));
  for (const owned of owns) {
    follow(ops, owned, owned === 'ReplicaSet' ? 'apps' : '', (o) => {
      const owner = controllerOf(o);
      if (owner?.kind === kind) queue.add(`${o.metadata.namespace}/${owner.name}`);
      if (owned === 'Node') for (const all of ops.store.all(type)) queue.add(keyOf(all));
    });
  }
}

function reconcileDeployment(ops: Operations, d: StoredObject): void {
  const type = ops.resources.kind('ReplicaSet', 'apps');
  const template = obj(at(d, 'spec', 'template'));
  const hash = hashOf(template);
  const mine = [...ops.store.all(type)].filter((r) => controllerOf(r)?.uid === d.metadata.uid);
  const replicas = num(at(d, 'spec', 'replicas'));
  const name = `${d.metadata.name}-${hash}`;
  let current = mine.find((r) => r.metadata.name === name);
  if (!current) {
    const labels = { ...obj(at(template, 'metadata', 'labels')), 'pod-template-hash': hash };
    current = ops.create(type, d.metadata.namespace, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name, namespace: d.metadata.namespace, labels, ownerReferences: [ownerReference(d)] },
      spec: {
        replicas,
        selector: { matchLabels: { ...obj(at(d, 'spec', 'selector', 'matchLabels')), 'pod-template-hash': hash } },
        template: { ...template, metadata: { ...obj(template['metadata']), labels } },
      },
    });
  } else if (num(at(current, 'spec', 'replicas')) !== replicas) {
    current = ops.store.update(type, { ...current, spec: { ...obj(current['spec']), replicas } });
  }
  const ready = num(at(current, 'status', 'readyReplicas'));
  const old = mine.filter((r) => r.metadata.name !== name);
  // Old pods go as new ones become ready, so that there are never fewer ready than asked for.
  for (const r of old) {
    const keep = Math.max(0, replicas - ready);
    const now = num(at(r, 'spec', 'replicas'));
    if (now > keep) ops.store.update(type, { ...r, spec: { ...obj(r['spec']), replicas: keep } });
  }
  const total = [current, ...old].reduce((n, r) => n + num(at(r, 'status', 'replicas')), 0);
  const available = [current, ...old].reduce((n, r) => n + num(at(r, 'status', 'readyReplicas')), 0);
  setStatus(ops, d, {
    observedGeneration: d.metadata.generation,
    replicas: total,
    updatedReplicas: num(at(current, 'status', 'replicas')),
    readyReplicas: available,
    availableReplicas: available,
    unavailableReplicas: Math.max(0, replicas - available),
    conditions: [
      condition(
        d,
        'Available',
        available >= replicas,
        available >= replicas ? 'MinimumReplicasAvailable' : 'MinimumReplicasUnavailable',
      ),
      condition(d, 'Progressing', true, ready >= replicas ? 'NewReplicaSetAvailable' : 'ReplicaSetUpdated'),
    ],
  });
}

async function reconcileReplicaSet(ops: Operations, make: PodMaker, r: StoredObject): Promise<void> {
  const pods = podsOf(ops, r).filter((p) => !isDeleting(p) && !isFinished(p));
  const wanted = num(at(r, 'spec', 'replicas'));
  for (let i = pods.length; i < wanted; i++) await createPod(make, r, { generateName: `${r.metadata.name}-` });
  // Those that are not ready go first.
  const surplus = [...pods]
    .sort((a, b) => Number(isReady(a)) - Number(isReady(b)))
    .slice(0, Math.max(0, pods.length - wanted));
  for (const pod of surplus) deletePod(ops, pod);
  const kept = pods.filter((p) => !surplus.includes(p));
  const ready = kept.filter(isReady).length;
  setStatus(ops, r, {
    replicas: kept.length,
    fullyLabeledReplicas: kept.length,
    readyReplicas: ready,
    availableReplicas: ready,
    observedGeneration: r.metadata.generation,
  });
}

async function reconcileStatefulSet(ops: Operations, make: PodMaker, s: StoredObject): Promise<void> {
  const pods = new Map(podsOf(ops, s).map((p) => [p.metadata.name, p]));
  const wanted = num(at(s, 'spec', 'replicas'));
  const revision = `${s.metadata.name}-${hashOf(obj(at(s, 'spec', 'template')))}`;
  const parallel = at(s, 'spec', 'podManagementPolicy') === 'Parallel';
  for (let i = 0; i < wanted; i++) {
    const name = `${s.metadata.name}-${i}`;
    const pod = pods.get(name);
    if (!pod) {
      const labels = {
        'statefulset.kubernetes.io/pod-name': name,
        'apps.kubernetes.io/pod-index': String(i),
        'controller-revision-hash': revision,
      };
      await createPod(make, s, { name, labels }, { hostname: name, subdomain: str(at(s, 'spec', 'serviceName')) });
      if (!parallel) break;
    } else if (
      isFinished(pod) ||
      (!isDeleting(pod) && pod.metadata.labels?.['controller-revision-hash'] !== revision && isReady(pod))
    ) {
      deletePod(ops, pod);
      break;
    } else if (!parallel && !isReady(pod)) break;
  }
  for (const pod of [...pods.values()].reverse()) {
    const ordinal = Number(pod.metadata.name.slice(s.metadata.name.length + 1));
    if (ordinal >= wanted && !isDeleting(pod)) deletePod(ops, pod);
  }
  const alive = [...pods.values()].filter((p) => !isDeleting(p));
  const ready = alive.filter(isReady).length;
  setStatus(ops, s, {
    replicas: alive.length,
    readyReplicas: ready,
    availableReplicas: ready,
    currentReplicas: alive.length,
    updatedReplicas: alive.length,
    observedGeneration: s.metadata.generation,
    currentRevision: revision,
    updateRevision: revision,
  });
}

async function reconcileDaemonSet(ops: Operations, make: PodMaker, d: StoredObject): Promise<void> {
  const revision = hashOf(obj(at(d, 'spec', 'template')));
  const nodes = [...ops.store.all(ops.resources.kind('Node', ''))].map((n) => n.metadata.name);
  const nodeSelector = Object.entries(obj(at(d, 'spec', 'template', 'spec', 'nodeSelector')));
  const pods = podsOf(ops, d);
  const eligible = nodes.filter((name) => {
    const labels = ops.store.get(ops.resources.kind('Node', ''), undefined, name)?.metadata.labels ?? {};
    return nodeSelector.every(([k, v]) => labels[k] === v);
  });
  for (const node of eligible) {
    const here = pods.filter((p) => at(p, 'spec', 'nodeName') === node);
    if (here.length === 0)
      await createPod(
        make,
        d,
        { generateName: `${d.metadata.name}-`, labels: { 'controller-revision-hash': revision } },
        { nodeName: node },
      );
    for (const p of here)
      if (!isDeleting(p) && (isFinished(p) || p.metadata.labels?.['controller-revision-hash'] !== revision))
        deletePod(ops, p);
  }
  for (const p of pods) if (!isDeleting(p) && !eligible.includes(str(at(p, 'spec', 'nodeName')))) deletePod(ops, p);
  const ready = pods.filter(isReady).length;
  setStatus(ops, d, {
    desiredNumberScheduled: eligible.length,
    currentNumberScheduled: pods.length,
    numberReady: ready,
    numberAvailable: ready,
    updatedNumberScheduled: pods.length,
    numberMisscheduled: 0,
    observedGeneration: d.metadata.generation,
  });
}

/** A Job's containers have no program in the lab: its pods run until their start is done, and count as succeeded. */
async function reconcileJob(ops: Operations, make: PodMaker, j: StoredObject): Promise<void> {
  const pods = podsOf(ops, j).filter((p) => !isDeleting(p));
  const completions = num(at(j, 'spec', 'completions')) || 1;
  const parallelism = num(at(j, 'spec', 'parallelism')) || 1;
  const succeeded = pods.filter((p) => at(p, 'status', 'phase') === 'Succeeded').length;
  const active = pods.filter((p) => !isFinished(p)).length;
  for (let i = active; i < Math.min(parallelism, completions - succeeded); i++) {
    await createPod(make, j, {
      generateName: `${j.metadata.name}-`,
      labels: { 'batch.kubernetes.io/job-name': j.metadata.name, 'job-name': j.metadata.name },
    });
  }
  const done = succeeded >= completions;
  setStatus(ops, j, {
    succeeded,
    active,
    startTime: j.metadata.creationTimestamp,
    ...(done
      ? {
          conditions: [condition(j, 'Complete', true, 'CompletionsReached')],
          completionTime: str(at(j, 'status', 'completionTime')) || timestamp(),
        }
      : {}),
  });
}

function condition(o: StoredObject, type: string, is: boolean, reason: string): object {
  const status = is ? 'True' : 'False';
  const before = (
    at(o, 'status', 'conditions') as { type: string; status: string; lastTransitionTime: string }[] | undefined
  )?.find((c) => c.type === type);
  const lastTransitionTime = before?.status === status ? before.lastTransitionTime : timestamp();
  return { type, status, reason, message: '', lastTransitionTime, lastUpdateTime: lastTransitionTime };
}

const hashOf = (template: object): string =>
  createHash('sha256').update(JSON.stringify(template)).digest('hex').slice(0, 10);
