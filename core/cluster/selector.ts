import type { LabelSelector } from '../../api/kinds/label-selector.ts';

/** Whether labels satisfy a selector, as Kubernetes does it. An empty selector matches everything, an absent one nothing. */
export function matches(selector: LabelSelector | undefined, labels: Readonly<Record<string, string>>): boolean {
  if (!selector) return false;
  if (!Object.entries(selector.matchLabels ?? {}).every(([k, v]) => labels[k] === v)) return false;
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key];
    switch (operator) {
      case 'In':
        return value !== undefined && hasValue(values, value);
      case 'NotIn':
        return value === undefined || !hasValue(values, value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
    }
  });
}

/** A long list of values is asked about every pod: it is made a set once. */
function hasValue(values: readonly string[], value: string): boolean {
  if (values.length <= FEW) return values.includes(value);
  const known = sets.get(values) ?? new Set(values);
  sets.set(values, known);
  return known.has(value);
}

const FEW = 8;
const sets = new WeakMap<readonly string[], ReadonlySet<string>>();
