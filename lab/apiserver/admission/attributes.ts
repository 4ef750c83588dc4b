import type { Json } from '../model/path.ts';
import type { ResourceType } from '../objects/resources.ts';
import type { User } from '../model/user.ts';

/** One write, as admission sees it. */
export type Attributes = {
  readonly type: ResourceType;
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE';
  readonly subresource: string;
  readonly namespace: string | undefined;
  readonly name: string;
  /** What would be stored; undefined for a deletion. */
  readonly object: Json | undefined;
  /** What is stored; undefined for a creation. */
  readonly oldObject: Json | undefined;
  readonly user: User;
  readonly dryRun: boolean;
};

/** The `request` of an AdmissionReview, and of expressions. */
export function requestOf(a: Attributes, uid: string): Json {
  const { group, version, kind, plural } = a.type;
  const scale = a.subresource === 'scale';
  const gvk = scale ? { group: 'autoscaling', version: 'v1', kind: 'Scale' } : { group, version, kind };
  const resource = { group, version, resource: plural };
  const subResource = a.subresource === '' ? {} : { subResource: a.subresource };
  const requestSubResource = a.subresource === '' ? {} : { requestSubResource: a.subresource };
  return {
    uid,
    kind: gvk,
    resource,
    ...subResource,
    requestKind: gvk,
    requestResource: resource,
    ...requestSubResource,
    name: a.name,
    ...(a.namespace === undefined ? {} : { namespace: a.namespace }),
    operation: a.operation,
    userInfo: {
      username: a.user.username,
      groups: a.user.groups,
      ...(a.user.extra === undefined ? {} : { extra: a.user.extra }),
    },
    object: a.object ?? null,
    oldObject: a.oldObject ?? null,
    dryRun: a.dryRun,
    options: { kind: OPTIONS[a.operation], apiVersion: 'meta.k8s.io/v1', ...(a.dryRun ? { dryRun: ['All'] } : {}) },
  };
}

const OPTIONS = { CREATE: 'CreateOptions', UPDATE: 'UpdateOptions', DELETE: 'DeleteOptions' } as const;
