import { CelError, compile, type Expression } from '../cel/expression.ts';
import { arr, type Json, str } from '../model/path.ts';
import type { Problem } from '../cel/rules.ts';

/** An expression with the name that messages call it by. */
export type Named = { readonly name: string; readonly expression: Expression };

/** What expressions of webhooks may use; those of policies use more. */
export const REQUEST_VARIABLES = ['object', 'oldObject', 'request'] as const;

/** Reads `matchConditions`. */
export function readConditions(owner: Json, path: string, variables: readonly string[], problems: Problem[]): Named[] {
  return arr(owner['matchConditions']).flatMap((c, i) => {
    const expression = tryCompile(
      c['expression'],
      variables,
      'bool',
      `${path}matchConditions[${i}].expression`,
      problems,
    );
    return expression ? [{ name: str(c['name']), expression }] : [];
  });
}

/** Whether all hold. One that does not hold settles it, even when another cannot be evaluated; else that one's error is thrown. */
export function allHold(conditions: readonly Named[], variables: Readonly<Record<string, unknown>>): boolean {
  let failure: CelError | undefined;
  for (const { name, expression } of conditions) {
    try {
      if (expression.evaluate(variables) !== true) return false;
    } catch (error) {
      if (!(error instanceof CelError)) throw error;
      failure ??= new CelError('Evaluation', `matchCondition '${name}': ${error.message}`, error);
    }
  }
  if (failure) throw failure;
  return true;
}

export function tryCompile(
  text: unknown,
  variables: readonly string[],
  result: 'bool' | 'string' | 'any',
  field: string,
  problems: Problem[],
): Expression | undefined {
  try {
    return compile(text, variables, result);
  } catch (error) {
    if (!(error instanceof CelError)) throw error;
    problems.push({ field, message: error.message });
    return undefined;
  }
}
