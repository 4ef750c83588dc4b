import type { Admission } from './admission/admission.ts';
import type { Attributes } from './admission/attributes.ts';
import { ChangedError } from './model/error.ts';
import { type DeleteOptions, type Draft, type Operations, type Ref, scaleOf } from './operations.ts';
import { at, isObject, type Json, obj, str } from './model/path.ts';
import type { ResourceType } from './objects/resources.ts';
import type { StoredObject } from './objects/store.ts';
import type { User } from './model/user.ts';

/** Who asks, and how. Admission adds what the answer has to warn of. */
export type Asking = {
  readonly user: User;
  readonly dryRun?: boolean;
  readonly subresource?: string;
  readonly warnings: string[];
};

/** As often as an API server tries again when an object changes between admission and the write. */
const TRIES = 5;

/**
 * Writes as clients make them: through admission. The object that is judged is the object that is stored: when another write comes
 * between, the update is made anew from what is there then, and judged again.
 */
export class Requests {
  readonly #ops: Operations;
  readonly #admission: Admission;

  constructor(ops: Operations, admission: Admission) {
    this.#ops = ops;
    this.#admission = admission;
  }

  async create(type: ResourceType, namespace: string | undefined, body: Json, asking: Asking): Promise<StoredObject> {
    return await this.#retried(false, asking, async (told) => {
      const first = attributes({
        type,
        operation: 'CREATE',
        namespace: namespaceOf(type, namespace, body),
        name: nameOf(body),
        object: body,
        asking,
      });
      const changed = isObject(body) ? ((await this.#admission.mutate(first, told)) ?? body) : body;
      const draft = this.#ops.draftCreate(type, namespace, changed);
      const judged = { ...first, name: nameOf(draft), namespace: namespaceOf(type, namespace, draft) };
      await this.#admission.validate({ ...judged, object: withVersion(type, draft) }, told);
      return this.#ops.commitCreate(type, draft, { dryRun: asking.dryRun ?? false });
    });
  }

  async update(ref: Ref, body: Json, asking: Asking): Promise<StoredObject> {
    const conditional = str(at(body, 'metadata', 'resourceVersion')) !== '';
    return await this.#updated(ref, () => body, conditional, asking);
  }

  async patch(
    ref: Ref,
    contentType: string,
    patch: unknown,
    asking: Asking,
  ): Promise<{ readonly object: StoredObject; readonly created: boolean }> {
    const { type, namespace, name } = ref;
    if (
      contentType.startsWith('application/apply-patch') &&
      isObject(patch) &&
      !this.#ops.store.get(type, namespace, name)
    ) {
      const named = { ...patch, metadata: { name, ...obj(patch['metadata']) } };
      return { object: await this.create(type, namespace, named, asking), created: true };
    }
    const conditional = isObject(patch) && str(at(patch, 'metadata', 'resourceVersion')) !== '';
    const make = (): Json => this.#ops.patched(ref, contentType, patch, asking.subresource);
    return { object: await this.#updated(ref, make, conditional, asking), created: false };
  }

  async delete(ref: Ref, options: DeleteOptions, asking: Asking): Promise<StoredObject> {
    const before = this.#ops.mayDelete(ref, options);
    const { type, name } = ref;
    await this.#admission.validate(
      attributes({ type, operation: 'DELETE', namespace: before.metadata.namespace, name, oldObject: before, asking }),
      asking.warnings,
    );
    const same = { ...options, preconditions: { uid: before.metadata.uid, ...options.preconditions } };
    return this.#ops.delete(ref, same, { dryRun: asking.dryRun ?? false });
  }

  async #updated(ref: Ref, make: () => Json, conditional: boolean, asking: Asking): Promise<StoredObject> {
    const { subresource = '', dryRun = false } = asking;
    return await this.#retried(conditional, asking, async (told) => {
      const draft = await this.#admitted(ref, make(), subresource, { ...asking, warnings: told });
      return this.#ops.commitUpdate(ref, draft, { subresource, dryRun });
    });
  }

  /** Tries again when the store has changed meanwhile. Warnings are those of the last time. */
  async #retried<T>(conditional: boolean, { warnings }: Asking, work: (told: string[]) => Promise<T>): Promise<T> {
    for (let tried = 1; ; tried++) {
      const told: string[] = [];
      try {
        const result = await work(told);
        warnings.push(...told);
        return result;
      } catch (error) {
        if (error instanceof ChangedError && !conditional && tried < TRIES) continue;
        warnings.push(...told);
        throw error;
      }
    }
  }

  async #admitted(ref: Ref, body: Json, subresource: string, asking: Asking): Promise<Draft> {
    const { type, namespace, name } = ref;
    const draft = this.#ops.draftUpdate(ref, body, subresource);
    const shown = (o: StoredObject): Json => (subresource === 'scale' ? scaleOf(o) : o);
    const a = attributes({
      type,
      operation: 'UPDATE',
      namespace,
      name,
      object: shown(draft.next),
      oldObject: shown(draft.before),
      asking,
    });
    const changed = await this.#admission.mutate(a, asking.warnings);
    const next =
      changed === a.object || changed === undefined ? draft : this.#ops.draftUpdate(ref, changed, subresource);
    await this.#admission.validate({ ...a, object: shown(next.next) }, asking.warnings);
    return { before: draft.before, next: next.next };
  }
}

function attributes(
  given: Pick<Attributes, 'type' | 'operation' | 'namespace' | 'name'> & {
    readonly object?: Json;
    readonly oldObject?: Json;
    readonly asking: Asking;
  },
): Attributes {
  const { type, operation, namespace, name, asking } = given;
  return {
    type,
    operation,
    namespace: type.kind === 'Namespace' && type.group === '' ? name : namespace,
    name,
    subresource: asking.subresource ?? '',
    object: given.object,
    oldObject: given.oldObject,
    user: asking.user,
    dryRun: asking.dryRun ?? false,
  };
}

const nameOf = (o: Json): string => str(at(o, 'metadata', 'name'));
const namespaceOf = (type: ResourceType, namespace: string | undefined, o: Json): string | undefined =>
  type.namespaced ? (namespace ?? (str(at(o, 'metadata', 'namespace')) || 'default')) : undefined;
const withVersion = (type: ResourceType, o: Json): Json => ({
  ...o,
  apiVersion: type.group === '' ? type.version : `${type.group}/${type.version}`,
  kind: type.kind,
});
