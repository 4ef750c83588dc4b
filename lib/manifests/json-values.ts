/**
 * The JSON values that a text consists of, one after the other, as kubectl takes them; undefined when it is no such text. YAML is
 * a superset of JSON, but several times slower to read.
 */
export function jsonValues(text: string): { readonly value: unknown; readonly line: number }[] | undefined {
  if (!/^\s*\{/.test(text)) return undefined;
  try {
    return [{ value: JSON.parse(text) as unknown, line: lineAt(text, 0) }];
  } catch {
    // maybe several
  }
  try {
    return piecesOf(text).map(([from, to]) => ({
      value: JSON.parse(text.slice(from, to)) as unknown,
      line: lineAt(text, from),
    }));
  } catch {
    return undefined; // a YAML flow mapping, or a mistake of which the YAML parser says more
  }
}

/** Where values of the outermost level begin and end. */
function piecesOf(text: string): [from: number, to: number][] {
  const pieces: [number, number][] = [];
  let depth = 0;
  let from = 0;
  for (const token of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    const [what] = token;
    if (what === '{' || what === '[') depth++;
    else if (what === '}' || what === ']') depth--;
    if (depth !== 0 || what.startsWith('"')) continue;
    pieces.push([from, token.index + 1]);
    from = token.index + 1;
  }
  if (text.slice(from).trim() !== '') pieces.push([from, text.length]);
  return pieces;
}

/** The line of the first character from an offset on that is not white space. */
function lineAt(text: string, offset: number): number {
  const first = offset + text.slice(offset).search(/\S|$/);
  let line = 1;
  for (let at = text.indexOf('\n'); at !== -1 && at < first; at = text.indexOf('\n', at + 1)) line++;
  return line;
}
