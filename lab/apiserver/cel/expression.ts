import { environmentWith } from './environment.ts';

/** An expression cannot be compiled (`Syntax`), or not be evaluated (`Evaluation`). */
export class CelError extends Error {
  override readonly name = 'CelError';
  readonly code: 'Syntax' | 'Evaluation';
  constructor(code: CelError['code'], message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** Results that an expression may have; every expression may also be of a type that is known only when it is evaluated. */
export type ResultType = 'bool' | 'string' | 'any';

/** An expression that is ready to be evaluated. */
export type Expression = {
  readonly text: string;
  /** Throws {@link CelError}: what is missing is an error, and so is a result of another type. */
  readonly evaluate: (variables: Readonly<Record<string, unknown>>) => unknown;
};

/** Throws {@link CelError} for an expression that is no CEL, or uses what is not there. */
export function compile(text: unknown, variables: readonly string[], result: ResultType): Expression {
  if (typeof text !== 'string' || text.trim() === '') throw new CelError('Syntax', 'an expression is required');
  const key = `${result} ${variables.join(' ')}\n${text}`;
  const known = compiled.get(key);
  if (known) return known;
  const parsed = parse(text, variables);
  const { valid, type = 'dyn', error } = parsed.check();
  if (!valid) throw new CelError('Syntax', `compilation failed: ${brief(error)}`, error);
  if (result !== 'any' && type !== result && type !== 'dyn')
    throw new CelError('Syntax', `must evaluate to ${result}, and this is ${type}`);
  const expression: Expression = {
    text,
    evaluate: (values) => {
      let value: unknown;
      try {
        value = parsed(values);
      } catch (error_) {
        throw new CelError('Evaluation', `expression '${text}' resulted in error: ${brief(error_)}`, error_);
      }
      const is = typeof value === 'boolean' ? 'bool' : typeof value;
      if (result !== 'any' && is !== result)
        throw new CelError('Evaluation', `expression '${text}' must evaluate to ${result}, and this time it was ${is}`);
      return value;
    },
  };
  if (compiled.size >= KEPT) compiled.clear();
  compiled.set(key, expression);
  return expression;
}

const compiled = new Map<string, Expression>();
const KEPT = 5_000;

function parse(text: string, variables: readonly string[]) {
  try {
    return environmentWith(variables).parse(text);
  } catch (error) {
    throw new CelError('Syntax', `compilation failed: ${brief(error)}`, error);
  }
}

/** Without the picture of the place, which takes several lines. */
const brief = (error: unknown): string =>
  error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
