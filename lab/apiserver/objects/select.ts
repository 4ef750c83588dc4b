import { badRequest } from '../model/error.ts';
import type { StoredObject } from './store.ts';

/** Whether an object is selected. */
export type Selector = (object: StoredObject) => boolean;

type Labels = Readonly<Record<string, string>>;

/** A label selector as in a query: "a=b,c!=d,e,!f,g in (h,i),j notin (k)". Throws 400. */
export function labelSelector(text: string | undefined): (labels: Labels) => boolean {
  if (text === undefined || text === '') return () => true;
  const tests = text.split(/,(?![^(]*\))/).map((part) => labelTest(part.trim()));
  return (labels) => tests.every((t) => t(labels));
}

/** A selector as in a manifest: matchLabels and matchExpressions. An absent one selects nothing. */
export function matchesSelector(selector: unknown, labels: Labels): boolean {
  if (typeof selector !== 'object' || selector === null) return false;
  const { matchLabels = {}, matchExpressions = [] } = selector as {
    matchLabels?: Labels;
    matchExpressions?: { key: string; operator: string; values?: string[] }[];
  };
  return (
    Object.entries(matchLabels).every(([k, v]) => labels[k] === v) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      switch (operator) {
        case 'In':
          return value !== undefined && values.includes(value);
        case 'NotIn':
          return value === undefined || !values.includes(value);
        case 'Exists':
          return value !== undefined;
        case 'DoesNotExist':
          return value === undefined;
        default:
          return false;
      }
    })
  );
}

/** A field selector: "spec.nodeName=a,status.phase!=Running". Any path of scalar fields is taken. Throws 400. */
export function fieldSelector(text: string | undefined): Selector {
  if (text === undefined || text === '') return () => true;
  const tests = text.split(',').map((part): Selector => {
    const [, path, op, value] = /^([^=!]+)(==|=|!=)(.*)$/.exec(part) ?? [];
    if (path === undefined || value === undefined)
      throw badRequest(`field selector "${part}" is not understood; write path=value or path!=value`);
    return (o) => (scalarAt(o, path) === value) === (op !== '!=');
  });
  return (o) => tests.every((t) => t(o));
}

function labelTest(part: string): (labels: Labels) => boolean {
  const set = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(part);
  if (set) {
    const [, key = '', op, list = ''] = set;
    const values = list.split(',').map((v) => v.trim());
    return (l) => (op === 'in' ? values.includes(l[key] ?? '\0') : !values.includes(l[key] ?? '\0'));
  }
  const equality = /^([^=!\s]+)\s*(==|=|!=)\s*(\S*)$/.exec(part);
  if (equality) {
    const [, key = '', op, value = ''] = equality;
    return (l) => (op === '!=' ? l[key] !== value : l[key] === value);
  }
  if (/^![^=!\s]+$/.test(part)) return (l) => l[part.slice(1)] === undefined;
  if (/^[^=!\s]+$/.test(part)) return (l) => l[part] !== undefined;
  throw badRequest(`label selector "${part}" is not understood`);
}

function scalarAt(object: unknown, path: string): string {
  let at: unknown = object;
  for (const step of path.split('.'))
    at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[step] : undefined;
  return at === undefined || at === null ? '' : String(at);
}
