import type { Problem } from '../cel/rules.ts';
import { arr, type Json, obj, str } from '../model/path.ts';

/** What is wrong with a label selector of a manifest. */
export function selectorProblems(selector: unknown, field: string): Problem[] {
  return arr(obj(selector)['matchExpressions']).flatMap((e, i) =>
    expressionProblem(e, `${field}.matchExpressions[${i}]`),
  );
}

function expressionProblem(e: Json, field: string): Problem[] {
  const operator = str(e['operator']);
  const count = Array.isArray(e['values']) ? e['values'].length : 0;
  switch (operator) {
    case 'In':
    case 'NotIn':
      return count > 0
        ? []
        : [{ field: `${field}.values`, message: "must be specified when `operator` is 'In' or 'NotIn'" }];
    case 'Exists':
    case 'DoesNotExist':
      return count === 0
        ? []
        : [{ field: `${field}.values`, message: "may not be specified when `operator` is 'Exists' or 'DoesNotExist'" }];
    default:
      return [{ field: `${field}.operator`, message: `"${operator}" is not a valid label selector operator` }];
  }
}
