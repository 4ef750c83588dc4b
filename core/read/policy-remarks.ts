import { LINT_DISABLE } from '../../api/names.ts';
import type { Direction, Policy, PolicyRemarks } from '../cluster/policy.ts';
import { objectOf } from './problems.ts';

type Raw = Readonly<Record<string, unknown>>;

/** What a policy says and what makes no difference to packets, for `bulkhead policy lint`. */
export function remarksOf(raw: Raw): Pick<Policy, 'remarks'> {
  const spec = objectOf(raw['spec']);
  const remarks: PolicyRemarks = {
    leftOut: (['ingress', 'egress'] as const).filter((d) => isLeftOut(spec, d)),
    emptyLists: (['ingress', 'egress'] as const).flatMap((d) => emptyLists(spec, d)),
    silenced: silencedOf(objectOf(raw['metadata'])),
  };
  return Object.values(remarks).some((list) => list.length > 0) ? { remarks } : {};
}

function isLeftOut(spec: Raw, direction: Direction): boolean {
  const types = spec['policyTypes'];
  const type = direction === 'ingress' ? 'Ingress' : 'Egress';
  return listOf(spec[direction]).length > 0 && listOf(types).length > 0 && !listOf(types).includes(type);
}

function emptyLists(spec: Raw, direction: Direction): string[] {
  return listOf(spec[direction]).flatMap((rule, i) =>
    [direction === 'ingress' ? 'from' : 'to', 'ports'].flatMap((field) => {
      const list = objectOf(rule)[field];
      return Array.isArray(list) && list.length === 0 ? [`spec.${direction}[${i}].${field}`] : [];
    }),
  );
}

function silencedOf(meta: Raw): string[] {
  const text = objectOf(meta['annotations'])[LINT_DISABLE];
  if (typeof text !== 'string') return [];
  return text
    .slice(0, LONGEST)
    .split(/[\s,]+/)
    .filter((code) => code !== '');
}

/** Characters of the annotation that are read. */
const LONGEST = 1_024;
const listOf = (raw: unknown): readonly unknown[] => (Array.isArray(raw) ? raw : []);
