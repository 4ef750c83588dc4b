import { randomBytes } from 'node:crypto';
import { styleText } from 'node:util';
import { Document, visit } from 'yaml';
import { printable, printableJson, printableLines } from '../../lib/text/printable.ts';

/**
 * How a command speaks. Results on stdout; progress, one line that is written over, on stderr of a terminal only. Everything goes
 * through here, and here control characters of what users wrote are escaped: only colours of our own reach a terminal.
 */

export type Format = 'text' | 'json' | 'yaml';

/** Ends the program with the exit code for wrong usage; see exit-codes.ts. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'Usage';
}

/** Checks the value of -o. `more`: formats that this command has besides. */
export function format(text: string): Format;
export function format<More extends string>(text: string, ...more: readonly More[]): Format | More;
export function format(text: string, ...more: readonly string[]): string {
  const all = ['text', 'json', 'yaml', ...more];
  if (all.includes(text)) return text;
  throw new UsageError(`-o ${text}: write ${all.slice(0, -1).join(', ')} or ${all.at(-1)}`);
}

/** Writes a line on a terminal in place of the one before; on anything else nothing. */
export function progress(text: string): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(text === '' ? '\r\x1b[K' : `\r\x1b[K${printable(text)}`);
}

export function print(text: string): void {
  process.stdout.write(`${forTerminal(text)}\n`);
}

/** Something beside the result. */
export function warn(text: string): void {
  process.stderr.write(`${forTerminal(text)}\n`);
}

/** A result for programs, in the format that was asked for. */
export const printData = (shape: Exclude<Format, 'text'>, value: unknown): void => {
  process.stdout.write(shape === 'json' ? `${jsonText(value)}\n` : yamlText(value));
};

/** Objects as YAML documents, to be applied. */
export const printDocuments = (all: readonly unknown[]): void => {
  process.stdout.write(all.map(yamlText).join('---\n'));
};

/** One list, printed as its parts come: it may be larger than memory. */
export function printList(shape: Exclude<Format, 'text'>, name: string, parts: Iterable<readonly unknown[]>): void {
  const write = (text: string): unknown => process.stdout.write(text);
  let some = false;
  write(shape === 'json' ? `{\n  ${JSON.stringify(name)}: [` : '');
  for (const part of parts) {
    if (part.length === 0) continue;
    if (shape === 'json')
      write(part.map((item, i) => `${some || i > 0 ? ',' : ''}\n    ${printableJson(JSON.stringify(item))}`).join(''));
    else write(`${some ? '' : `${name}:\n`}${yamlText(part)}`);
    some = true;
  }
  write(shape === 'json' ? `${some ? '\n  ' : ''}]\n}\n` : some ? '' : `${name}: []\n`);
}

/** The YAML of {@link printData}. What a terminal would obey is quoted and escaped. */
export function yamlText(value: unknown): string {
  const document = new Document(JSON.parse(JSON.stringify(value)), { aliasDuplicateObjects: false });
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value === 'string' && printable(node.value) !== node.value) node.type = 'QUOTE_DOUBLE';
    },
  });
  return printableJson(document.toString({ lineWidth: 0 }));
}

/** JSON stays JSON: what is escaped is escaped as JSON does. */
export const printJson = (value: unknown): void => {
  process.stdout.write(`${jsonText(value)}\n`);
};

/** The JSON of {@link printJson}. */
export const jsonText = (value: unknown): string => printableJson(JSON.stringify(value, undefined, 2));

type Style = Parameters<typeof styleText>[0];

/** Stands for a change of colour until the text is printed. It is random, so no object can contain it on purpose. */
const NONCE = randomBytes(12).toString('hex');
const CODES: string[] = [];
const MARK = new RegExp(`\ue000${NONCE}\\.(\\d+)\ue001`, 'g');

/** Coloured on a terminal, plain elsewhere and under NO_COLOR. */
export function paint(style: Style, text: string): string {
  const [open = '', close = ''] = styleText(style, '\0', { stream: process.stdout }).split('\0');
  return `${mark(open)}${text}${mark(close)}`;
}

function mark(code: string): string {
  if (code === '') return '';
  if (!CODES.includes(code)) CODES.push(code);
  return `\ue000${NONCE}.${CODES.indexOf(code)}\ue001`;
}

/** Text with our own colours, and nothing else that moves or colours anything. */
export const forTerminal = (text: string): string =>
  printableLines(text).replace(MARK, (_, i: string) => CODES[Number(i)] ?? '');

/** Prints a table line by line: one of a large cluster has megabytes. */
export function printTable(rows: readonly (readonly string[])[]): void {
  for (const line of tableLines(rows)) print(line);
}

/** Columns as wide as their widest cell, two spaces apart. Cells may be painted. */
export const tableText = (rows: readonly (readonly string[])[]): string => [...tableLines(rows)].join('\n');

function* tableLines(rows: readonly (readonly string[])[]): Generator<string> {
  const plain = (cell: string): string => cell.replace(MARK, '');
  const widths = (rows[0] ?? []).map((_, i) => {
    let widest = 0;
    // The last column needs no width.
    if (i < (rows[0]?.length ?? 0) - 1)
      for (const row of rows) widest = Math.max(widest, plain(printable(row[i] ?? '')).length);
    return widest;
  });
  for (const row of rows)
    yield row
      .map((cell, i) => {
        const text = printable(cell);
        return i === row.length - 1 ? text : text + ' '.repeat((widths[i] ?? 0) - plain(text).length + 2);
      })
      .join('')
      .trimEnd();
}
