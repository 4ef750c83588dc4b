import { type Document, type DocumentOptions, isNode, LineCounter, parseAllDocuments, type Tags } from 'yaml';
import { jsonValues } from './json-values.ts';
import { expansionProblem } from './expansion.ts';
import { mendTabs } from './tabs.ts';
import { collectionKeyAt } from './keys.ts';

/** One document of a file: its value, and where parts of it stand. */
export type ParsedDocument = {
  readonly value: unknown;
  /** The line, from 1, on which the part at a path begins, or the last part on the way to it that there is. */
  readonly lineOf: (path: readonly (string | number)[]) => number;
};

/** What a text holds, and each problem and warning as "LINE: text". */
export type ParsedText = {
  readonly documents: readonly ParsedDocument[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
};

/**
 * Reads YAML or JSON as kubectl does: YAML 1.1 with its merge keys and its "yes" and "on", dates as text, the last of equal keys,
 * tabs inside flow collections, several JSON values in a row.
 */
export function parseManifestText(text: string): ParsedText {
  const json = jsonValues(text);
  if (json?.some(({ value }) => isTooDeep(value)))
    return { documents: [], problems: [`${json[0]?.line ?? 1}: is nested too deep`], warnings: [] };
  if (json)
    return { documents: json.map(({ value, line }) => ({ value, lineOf: () => line })), problems: [], warnings: [] };
  const plain = parseYaml(text);
  // Only a text that cannot be read as it is may need its tabs mended.
  return plain.problems.length === 0 ? plain : (mendTabs(text, parseYaml) ?? plain);
}

/** No object of Kubernetes is so deep; the YAML parser has a limit of the same kind. */
const DEEPEST = 500;

function isTooDeep(value: unknown): boolean {
  let layer: unknown[] = [value];
  for (let depth = 0; depth < DEEPEST; depth++) {
    layer = layer.flatMap((v) => (typeof v === 'object' && v !== null ? Object.values(v) : []));
    if (layer.length === 0) return false;
  }
  return true;
}

/** A parsed text, with the YAML documents themselves. */
export type ParsedYaml = ParsedText & {
  readonly yaml: readonly Document.Parsed[];
  /** Lines of the first problems, in order. */
  readonly problemLines: readonly number[];
};

function parseYaml(text: string): ParsedYaml {
  const lines = new LineCounter();
  const documents: ParsedDocument[] = [];
  const problems: string[] = [];
  const problemLines: number[] = [];
  const warnings: string[] = [];
  const lineAt = (offset: number): number => lines.linePos(offset).line;
  const yaml = parseAllDocuments(text, { ...OPTIONS, lineCounter: lines });
  const parsed: Document.Parsed[] = [];
  for (const document of Array.isArray(yaml) ? (yaml as Document.Parsed[]) : []) {
    const start = lineAt(firstOffset(document));
    const say = (line: number, message: string): void => {
      problemLines.push(line);
      problems.push(`${line}: ${message}`);
    };
    for (const { code, message, pos } of document.errors) {
      if (code === 'DUPLICATE_KEY') warnings.push(`${lineAt(pos[0])}: this key is there already: the last one counts`);
      else if (code === 'RESOURCE_EXHAUSTION') say(lineAt(pos[0]), 'is nested too deep');
      else say(lineAt(pos[0]), message);
    }
    if (document.errors.some(({ code }) => code !== 'DUPLICATE_KEY')) continue;
    const refused = expansionProblem(document) ?? collectionKeyAt(document);
    if (refused) {
      say(lineAt(refused.offset), refused.message);
      continue;
    }
    parsed.push(document);
    documents.push({
      value: document.toJS({ maxAliasCount: -1 }) as unknown, // bounded above
      lineOf(path) {
        for (let length = path.length; length > 0; length--) {
          const node = document.getIn(path.slice(0, length), true);
          if (isNode(node) && node.range) return lineAt(node.range[0]);
        }
        return start;
      },
    });
  }
  return { documents, problems, warnings, yaml: parsed, problemLines };
}

const firstOffset = (document: Document.Parsed): number => document.contents?.range[0] ?? document.range[0];

/** Tags of YAML 1.1 that kubectl does not know, or reads as text: dates, and numbers to the base of 60. */
const LEFT_OUT = new Set(['timestamp', 'binary', 'set', 'omap', 'pairs']);

const OPTIONS = {
  schema: 'yaml-1.1',
  logLevel: 'error',
  prettyErrors: false,
  customTags: (tags: Tags): Tags =>
    tags.filter(
      (tag) =>
        typeof tag === 'string' ||
        !(LEFT_OUT.has(tag.tag.slice(tag.tag.lastIndexOf(':') + 1)) || ('format' in tag && tag.format === 'TIME')),
    ),
} satisfies DocumentOptions & Record<string, unknown>;
