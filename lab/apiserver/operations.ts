import { admit } from './admit.ts';
import { checkCustom, typesOf } from './objects/crd.ts';
import { ApiError, badRequest, conflict } from './model/error.ts';
import { ServiceAllocations } from './kinds/allocations.ts';
import { checkTaken, type ServiceRanges } from './kinds/service.ts';
import { applyPatch } from './objects/patch.ts';
import { arr, at, isObject, type Json, obj, str } from './model/path.ts';
import { Resources, type ResourceType } from './objects/resources.ts';
import { fieldSelector, labelSelector } from './objects/select.ts';
import { type Meta, randomSuffix, resourceName, Store, type StoredObject } from './objects/store.ts';
import { timestamp } from '../../lib/kube/client.ts';

/** Where an operation is aimed. */
export type Ref = { readonly type: ResourceType; readonly namespace?: string; readonly name: string };

export type DeleteOptions = {
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: string;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
};

/** An update that is ready to be stored. */
export type Draft = { readonly before: StoredObject; readonly next: StoredObject };

/** What the API gives addresses from. */
export type OperationsOptions = {
  readonly serviceCIDRs: readonly string[];
  readonly families: readonly (4 | 6)[];
  /** `false`: NetworkPolicies and EndpointSlices are stored as they come. */
  readonly strict?: boolean;
};

/** What the API does, apart from HTTP. Controllers of the lab use it directly. */
export class Operations {
  readonly store = new Store();
  readonly resources = new Resources();
  readonly #ranges: ServiceRanges;

  constructor({ serviceCIDRs, families, strict = true }: OperationsOptions) {
    const allocations = new ServiceAllocations(this.store, this.resources.kind('Service', ''), serviceCIDRs);
    this.#ranges = { families, allocations, strict };
  }

  create(type: ResourceType, namespace: string | undefined, body: Json, { dryRun = false } = {}): StoredObject {
    return this.commitCreate(type, this.draftCreate(type, namespace, body), { dryRun });
  }

  /** The object that a creation would store: checked, with defaults. */
  draftCreate(type: ResourceType, namespace: string | undefined, body: Json): Json {
    const object = this.#inPlace(type, namespace, body);
    if (type.namespaced) this.#mustHaveNamespace(type, str(at(object, 'metadata', 'namespace')));
    const {
      resourceVersion: _r,
      uid: _u,
      creationTimestamp: _c,
      deletionTimestamp: _d,
      managedFields: _m,
      ...given
    } = obj(object['metadata']);
    const metadata = named(given);
    const { status: _s, ...withoutStatus } = object;
    const admitted = this.#admit(type, { ...(type.status ? withoutStatus : object), metadata }, undefined);
    this.#mustBeNew(type, obj(admitted['metadata']));
    return admitted;
  }

  /** Stores what {@link draftCreate} made. */
  commitCreate(type: ResourceType, admitted: Json, { dryRun = false } = {}): StoredObject {
    const metadata = obj(admitted['metadata']);
    this.#mustBeNew(type, metadata);
    if (type.namespaced) this.#mustHaveNamespace(type, str(metadata['namespace']));
    this.#mustStillBeFree(type, admitted);
    if (dryRun)
      return {
        ...admitted,
        metadata: { uid: '', resourceVersion: '', creationTimestamp: timestamp(), ...metadata },
      } as unknown as StoredObject;
    const created = this.store.create(type, admitted as Json & { metadata: object });
    this.#afterWrite(type, created);
    return created;
  }

  update(
    ref: Ref,
    body: Json,
    { subresource = '', dryRun = false }: { subresource?: string; dryRun?: boolean } = {},
  ): StoredObject {
    return this.commitUpdate(ref, this.draftUpdate(ref, body, subresource), { subresource, dryRun });
  }

  /** The object that an update would store, with what it would replace. */
  draftUpdate(ref: Ref, body: Json, subresource = ''): Draft {
    const before = this.store.must(ref.type, ref.namespace, ref.name);
    if (subresource === 'scale') return { before, next: this.#scaled(before, body) };
    const sent = this.#inPlace(ref.type, ref.namespace, body);
    if (str(at(sent, 'metadata', 'name')) !== ref.name)
      throw badRequest(
        `the name of the object (${str(at(sent, 'metadata', 'name'))}) does not match the name on the URL (${ref.name})`,
      );
    const version = str(at(sent, 'metadata', 'resourceVersion'));
    if (version !== '' && version !== before.metadata.resourceVersion) throw conflict(resourceName(ref.type), ref.name);
    const uid = str(at(sent, 'metadata', 'uid'));
    if (uid !== '' && uid !== before.metadata.uid) throw conflict(resourceName(ref.type), ref.name);
    const next = merge(ref.type, before, sent, subresource);
    const admitted =
      subresource === 'status' ? this.#admitStatus(ref.type, next, before) : this.#admit(ref.type, next, before);
    return { before, next: admitted as StoredObject };
  }

  /** Stores what {@link draftUpdate} made. Throws Conflict when the object has changed since. */
  commitUpdate(
    ref: Ref,
    { before, next }: Draft,
    { subresource = '', dryRun = false }: { subresource?: string; dryRun?: boolean } = {},
  ): StoredObject {
    const now = this.store.must(ref.type, ref.namespace, ref.name);
    if (now !== before) throw conflict(resourceName(ref.type), ref.name);
    this.#mustStillBeFree(ref.type, next);
    const updated = dryRun ? next : this.store.update(ref.type, next);
    if (!dryRun) this.#afterWrite(ref.type, updated);
    return subresource === 'scale' ? scaleOf(updated) : updated;
  }

  patch(
    ref: Ref,
    contentType: string,
    patch: unknown,
    options: { subresource?: string; dryRun?: boolean } = {},
  ): { readonly object: StoredObject; readonly created: boolean } {
    const before = this.store.get(ref.type, ref.namespace, ref.name);
    if (!before && contentType.startsWith('application/apply-patch') && isObject(patch)) {
      return { object: this.create(ref.type, ref.namespace, patch, options), created: true };
    }
    return {
      object: this.update(ref, this.patched(ref, contentType, patch, options.subresource), options),
      created: false,
    };
  }

  /** The present object, or its scale, with a patch applied. */
  patched(ref: Ref, contentType: string, patch: unknown, subresource?: string): Json {
    const current = this.store.must(ref.type, ref.namespace, ref.name);
    return applyPatch(contentType, subresource === 'scale' ? scaleOf(current) : current, patch, {
      custom: ref.type.schema !== undefined,
    });
  }

  /** The object that a deletion is aimed at. Throws NotFound, or Conflict when it is not the one that is meant. */
  mayDelete(ref: Ref, options: DeleteOptions = {}): StoredObject {
    const before = this.store.must(ref.type, ref.namespace, ref.name);
    const { uid, resourceVersion } = options.preconditions ?? {};
    if (
      (uid !== undefined && uid !== before.metadata.uid) ||
      (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion)
    )
      throw conflict(resourceName(ref.type), ref.name);
    return before;
  }

  /** The object as it is afterwards: gone, or waiting for its finalizers, its kubelet. */
  delete(ref: Ref, options: DeleteOptions = {}, { dryRun = false } = {}): StoredObject {
    const { type } = ref;
    const before = this.mayDelete(ref, options);
    if (dryRun) return before;
    const running =
      type.kind === 'Pod' &&
      str(at(before, 'spec', 'nodeName')) !== '' &&
      !['Succeeded', 'Failed'].includes(str(at(before, 'status', 'phase')));
    const grace =
      options.gracePeriodSeconds ?? (running ? Number(at(before, 'spec', 'terminationGracePeriodSeconds') ?? 30) : 0);
    const waits = (before.metadata.finalizers ?? []).length > 0 || (running && grace > 0) || type.kind === 'Namespace';
    if (options.propagationPolicy === 'Orphan') this.#orphan(before);
    if (!waits) {
      const removed = this.store.remove(type, before);
      this.#afterRemove(type, removed);
      return removed;
    }
    const metadata: Meta = {
      ...before.metadata,
      deletionTimestamp: before.metadata.deletionTimestamp ?? timestamp(Date.now() + grace * 1000),
      deletionGracePeriodSeconds: grace,
      ...(type.kind === 'Namespace'
        ? {
            finalizers:
              before.metadata.deletionTimestamp === undefined
                ? [...(before.metadata.finalizers ?? []), 'kubernetes']
                : (before.metadata.finalizers ?? []),
          }
        : {}),
    };
    return this.store.update(type, {
      ...before,
      metadata,
      ...(type.kind === 'Namespace' ? { status: { phase: 'Terminating' } } : {}),
    });
  }

  list(
    type: ResourceType,
    namespace: string | undefined,
    query: Readonly<Record<string, string | undefined>>,
  ): StoredObject[] {
    const labels = labelSelector(query['labelSelector']);
    const fields = fieldSelector(query['fieldSelector']);
    return this.store.list(type, namespace).filter((o) => labels(o.metadata.labels ?? {}) && fields(o));
  }

  #admit(type: ResourceType, object: Json, before: Json | undefined): Json {
    const checked = checkCustom(type, object, before);
    return admit(type, checked, before, this.#ranges);
  }

  /** A status is checked by the schema too. */
  #admitStatus(type: ResourceType, next: Json, before: Json): Json {
    return checkCustom(type, next, before);
  }

  #inPlace(type: ResourceType, namespace: string | undefined, body: Json): Json {
    if (!isObject(body)) throw badRequest('the body is not an object');
    if (body['kind'] !== undefined && body['kind'] !== type.kind)
      throw badRequest(`the object is a ${str(body['kind'])}, and this path is for ${type.kind}`);
    const metadata = obj(body['metadata']);
    const own = metadata['namespace'];
    if (!type.namespaced) return { ...body, metadata: { ...metadata, namespace: undefined } };
    if (namespace !== undefined && own !== undefined && own !== namespace)
      throw badRequest(
        `the namespace of the object (${str(own)}) does not match the namespace on the request (${namespace})`,
      );
    return { ...body, metadata: { ...metadata, namespace: namespace ?? own ?? 'default' } };
  }

  #mustHaveNamespace(type: ResourceType, namespace: string): void {
    const found = this.store.must(this.resources.kind('Namespace', ''), undefined, namespace);
    if (found.metadata.deletionTimestamp !== undefined && type.kind !== 'Event') {
      throw new ApiError(
        403,
        'Forbidden',
        `unable to create new content in namespace ${namespace} because it is being terminated`,
      );
    }
  }

  #scaled(before: StoredObject, body: Json): StoredObject {
    const replicas = at(body, 'spec', 'replicas');
    if (!Number.isInteger(replicas) || Number(replicas) < 0)
      throw badRequest(`spec.replicas: ${JSON.stringify(replicas)} is no number of replicas`);
    return { ...before, spec: { ...obj(before['spec']), replicas } };
  }

  /** Another Service may have got the addresses while admission judged this one. */
  #mustStillBeFree(type: ResourceType, service: Json): void {
    if (type.kind !== 'Service' || type.group !== '') return;
    const { name, namespace } = obj(service['metadata']);
    const taken = checkTaken(obj(service['spec']), this.#ranges.allocations, `${str(namespace)}/${str(name)}`);
    if (taken.length > 0) throw conflict(resourceName(type), str(name));
  }

  #mustBeNew(type: ResourceType, metadata: Json): void {
    const name = str(metadata['name']);
    if (this.store.get(type, type.namespaced ? str(metadata['namespace']) : undefined, name))
      throw new ApiError(409, 'AlreadyExists', `${resourceName(type)} "${name}" already exists`);
  }

  #orphan(owner: StoredObject): void {
    for (const type of this.resources) {
      for (const o of [...this.store.all(type)]) {
        const rest = o.metadata.ownerReferences?.filter((r) => r.uid !== owner.metadata.uid);
        if (rest && rest.length !== o.metadata.ownerReferences?.length)
          this.store.update(type, { ...o, metadata: { ...o.metadata, ownerReferences: rest } });
      }
    }
  }

  #afterWrite(type: ResourceType, object: StoredObject): void {
    if (type.kind !== 'CustomResourceDefinition') return;
    for (const t of typesOf(object)) this.resources.add(t);
    const established = arr(at(object, 'status', 'conditions')).some((c) => c['type'] === 'Established');
    if (established) return;
    const conditions = ['NamesAccepted', 'Established'].map((c) => ({
      type: c,
      status: 'True',
      reason: 'InitialNamesAccepted',
      message: '',
      lastTransitionTime: timestamp(),
    }));
    this.store.update(type, {
      ...object,
      status: { conditions, acceptedNames: at(object, 'spec', 'names'), storedVersions: [] },
    });
  }

  #afterRemove(type: ResourceType, object: StoredObject): void {
    if (type.kind !== 'CustomResourceDefinition') return;
    for (const t of typesOf(object)) {
      for (const o of [...this.store.all(t)]) this.store.remove(t, o);
      this.resources.remove(t);
    }
  }
}

/** Metadata with a name: a generated one where none is given. */
function named(metadata: Json): Json {
  const { name, generateName } = metadata;
  if ((name !== undefined && name !== '') || typeof generateName !== 'string' || generateName === '') return metadata;
  return { ...metadata, name: `${generateName.slice(0, 58)}${randomSuffix()}` };
}

/** The Scale of a Deployment, ReplicaSet or StatefulSet. */
export function scaleOf(o: StoredObject): StoredObject {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = o.metadata;
  const labels = Object.entries(obj(at(o, 'spec', 'selector', 'matchLabels'))).map(([k, v]) => `${k}=${str(v)}`);
  return {
    apiVersion: 'autoscaling/v1',
    kind: 'Scale',
    metadata: { name, uid, resourceVersion, creationTimestamp, ...(namespace === undefined ? {} : { namespace }) },
    spec: { replicas: at(o, 'spec', 'replicas') },
    status: { replicas: Number(at(o, 'status', 'replicas') ?? 0), selector: labels.join(',') },
  };
}

/** What a write may change: the status subresource only the status, the object itself everything else. */
function merge(type: ResourceType, before: StoredObject, sent: Json, subresource: string): Json {
  if (subresource === 'status') return { ...before, status: sent['status'] ?? {} };
  const { uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation } = before.metadata;
  const { managedFields: _m, ...sentMeta } = obj(sent['metadata']);
  const kept = {
    uid,
    creationTimestamp,
    generation,
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp, deletionGracePeriodSeconds }),
  };
  const { deletionTimestamp: _d, deletionGracePeriodSeconds: _g, ...rest } = sentMeta;
  return { ...sent, metadata: { ...rest, ...kept }, ...(type.status ? { status: before['status'] } : {}) };
}
