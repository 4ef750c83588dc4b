import { type ParsedText, parseManifestText } from './parse.ts';

/** The text that was asked about last, parsed. */
let last: { readonly text: string; readonly parsed: ParsedText } | undefined;

/**
 * The line of a part of a document. The text is parsed again for it: what a parser knows of places takes ten times the memory of
 * the objects, and is asked of few files.
 */
export function lineInText(text: string, document: number, path: readonly (string | number)[]): number | undefined {
  if (last?.text !== text) last = { text, parsed: parseManifestText(text) };
  return last.parsed.documents[document]?.lineOf(path);
}
