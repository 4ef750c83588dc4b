/** JSON that is nested deeper than anything a program here reads. `code` tells it from text that is no JSON. */
export class DepthError extends Error {
  override readonly name = 'DepthError';
  readonly code = 'TooDeep';
  constructor(most: number) {
    super(`it is nested more than ${most} levels deep; write it with fewer`);
  }
}

/** Objects of Kubernetes have a dozen levels, schemas of CustomResourceDefinitions some dozens. */
export const MOST_DEPTH = 128;

/**
 * Reads JSON that any user may have written. `JSON.parse` takes any depth, but what reads the value afterwards, `JSON.stringify` too,
 * calls itself for each level and runs out of stack.
 *
 * @throws SyntaxError when it is no JSON, {@link DepthError} when it is nested too deep
 */
export function parseJson(text: string, most = MOST_DEPTH): unknown {
  if (isDeepText(text, most)) throw new DepthError(most);
  return JSON.parse(text) as unknown;
}

/**
 * Whether JSON is nested too deep: counts brackets outside of strings, and ends at the first that is. Text that is no JSON may have
 * any answer.
 */
export function isDeepText(text: string, most = MOST_DEPTH): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE:
        i = endOfString(text, i);
        break;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        if (++depth > most) return true;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        depth--;
        break;
      default:
    }
  }
  return false;
}

/** Whether a value is nested too deep, for what other parsers have read. Does not call itself; a value that holds itself is too deep. */
export function isDeepValue(value: unknown, most = MOST_DEPTH): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    const inside = level.filter((v): v is object => typeof v === 'object' && v !== null);
    if (inside.length === 0) return false;
    if (depth === most) return true;
    // Each once: what aliases of YAML name many times is one object.
    level = [...new Set(inside.flatMap((v) => Object.values(v) as unknown[]))];
  }
  return false;
}

const [QUOTE, BACKSLASH, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE] = [0x22, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d];

/** Place of the quote that ends a string. A quote is one of the text when an odd number of backslashes stands before it. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}
