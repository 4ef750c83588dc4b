import type { Problem } from '../cel/rules.ts';
import { sameValue } from '../cel/values.ts';
import { at, type Json, strs } from '../model/path.ts';
import type { ResourceType } from '../objects/resources.ts';

/** Fields that never change once an object is there. */
const FIXED: Readonly<Record<string, readonly (readonly string[])[]>> = {
  Deployment: [['spec', 'selector']],
  ReplicaSet: [['spec', 'selector']],
  DaemonSet: [['spec', 'selector']],
  StatefulSet: [
    ['spec', 'selector'],
    ['spec', 'serviceName'],
    ['spec', 'podManagementPolicy'],
  ],
  Job: [
    ['spec', 'selector'],
    ['spec', 'template'],
    ['spec', 'completionMode'],
  ],
  RoleBinding: [['roleRef']],
  ClusterRoleBinding: [['roleRef']],
};

/** What an update changes that it must not: fields that are fixed, a node's ranges, finalizers of what is being deleted. */
export function checkImmutable(type: ResourceType, object: Json, before: Json): Problem[] {
  const problems = (FIXED[type.kind] ?? []).flatMap((path): Problem[] =>
    sameValue(at(object, ...path), at(before, ...path))
      ? []
      : [{ field: path.join('.'), message: 'field is immutable' }],
  );
  const ranges = strs(at(before, 'spec', 'podCIDRs'));
  const range = at(before, 'spec', 'podCIDR');
  const moved = !sameValue(ranges, at(object, 'spec', 'podCIDRs')) || !sameValue(range, at(object, 'spec', 'podCIDR'));
  if (type.kind === 'Node' && ranges.length > 0 && moved)
    problems.push({ field: 'spec.podCIDRs', message: 'node updates may not change podCIDR except from "" to valid' });
  if (at(before, 'metadata', 'deletionTimestamp') !== undefined) {
    const had = new Set(strs(at(before, 'metadata', 'finalizers')));
    const added = strs(at(object, 'metadata', 'finalizers')).filter((f) => !had.has(f));
    if (added.length > 0)
      problems.push({
        field: 'metadata.finalizers',
        message: `no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`,
      });
  }
  return problems;
}
