import { isCollection, isScalar, visit } from 'yaml';
import type { ParsedYaml } from './parse.ts';

/** How often a text is mended before it is given up. */
const MOST_ROUNDS = 100;
/** Deeper than anything around it. */
const INDENT = ' '.repeat(100);

/**
 * A text that cannot be read, with spaces for tabs at the beginning of lines inside flow collections and quoted scalars, where
 * kubectl takes them and the YAML parser does not. Undefined when that does not help, or a tab stands where YAML forbids it.
 */
export function mendTabs(text: string, parse: (text: string) => ParsedYaml): ParsedYaml | undefined {
  const lines = text.split('\n');
  const mended = new Set<number>();
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const read = parse(lines.join('\n'));
    const line = read.problemLines[0];
    if (line === undefined) return areInside(read, lines, mended) ? read : undefined;
    const before = mended.size;
    // The problem is found on the line of the tab or on one of those before it that began what the tab is in.
    for (let at = line - 1, tried = 0; at < lines.length && tried < 2; at++) {
      const rest = /^ *\t[ \t]*(.*)$/s.exec(lines[at] ?? '')?.[1];
      if (rest === undefined) {
        if (mended.size > before) break;
        tried++;
        continue;
      }
      lines[at] = INDENT + rest;
      mended.add(at);
    }
    if (mended.size === before) return undefined;
  }
  return undefined;
}

/** Whether each of these lines begins inside a flow collection or a quoted scalar. */
function areInside(read: ParsedYaml, lines: readonly string[], mended: ReadonlySet<number>): boolean {
  const ranges: [number, number][] = [];
  for (const document of read.yaml)
    visit(document, {
      Node(_, node) {
        const flow = isCollection(node) ? node.flow === true : isScalar(node) && (node.type ?? '').startsWith('QUOTE');
        if (flow && node.range) ranges.push([node.range[0], node.range[1]]);
      },
    });
  let offset = 0;
  return lines.every((line, at) => {
    const start = offset;
    offset += line.length + 1;
    return !mended.has(at) || ranges.some(([from, to]) => from < start && start < to);
  });
}
