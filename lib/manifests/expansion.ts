import { type Document, isAlias, isMap, isPair, isSeq, type Node } from 'yaml';

/** How many values aliases may add to a document. */
const MOST_ADDED = 1_000_000;

/**
 * Why a document must not be turned into values: its aliases would multiply it, one holds itself, or one has no anchor (an
 * anchor ends with its document). Told before anything is expanded, in one walk.
 */
export function expansionProblem(
  document: Document.Parsed,
): { readonly message: string; readonly offset: number } | undefined {
  const sizes = new Map<string, number | 'open'>();
  let added = 0;
  let problem: { message: string; offset: number } | undefined;
  const sizeOf = (node: unknown): number => {
    if (problem) return 0;
    if (isPair(node)) return sizeOf(node.key) + sizeOf(node.value);
    if (isAlias(node)) {
      const size = sizes.get(node.source);
      const offset = node.range?.[0] ?? 0;
      if (size === undefined) problem = { message: `no anchor ${node.source} stands before this alias`, offset };
      else if (size === 'open') problem = { message: `anchor ${node.source} holds itself`, offset };
      else if ((added += size) > MOST_ADDED)
        problem = { message: `Excessive alias count: aliases add more than ${MOST_ADDED} values`, offset };
      return typeof size === 'number' ? size : 0;
    }
    const anchor = (node as (Node & { anchor?: string }) | null)?.anchor;
    if (anchor !== undefined) sizes.set(anchor, 'open');
    let size = 1;
    if (isMap(node) || isSeq(node)) for (const item of node.items) size += sizeOf(item);
    if (anchor !== undefined) sizes.set(anchor, size);
    return size;
  };
  sizeOf(document.contents);
  return problem;
}
