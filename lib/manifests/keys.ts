import { type Document, isCollection, visit } from 'yaml';

/** A key that is itself a map or a list, which no object has: mostly "{{ … }}" of a template that was not rendered. */
export function collectionKeyAt(
  document: Document.Parsed,
): { readonly message: string; readonly offset: number } | undefined {
  let found: { message: string; offset: number } | undefined;
  visit(document, {
    Pair(_, { key }) {
      if (!isCollection(key)) return undefined;
      found = {
        message: 'a key that is a map or a list (a template that was not rendered?)',
        offset: key.range?.[0] ?? 0,
      };
      return visit.BREAK;
    },
  });
  return found;
}
