import { stripVTControlCharacters, styleText } from 'node:util';

/** How a command speaks. Results on stdout; progress, one line that is written over, on stderr of a terminal only. */

export type Format = 'text' | 'json';

/** Ends the program with exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'Usage';
}

/** Checks the value of -o. */
export function format(text: string): Format {
  if (text !== 'text' && text !== 'json') throw new UsageError(`-o ${text}: write text or json`);
  return text;
}

/** Writes a line on a terminal in place of the one before; on anything else only when `always`. */
export function progress(text: string): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(text === '' ? '\r\x1b[K' : `\r\x1b[K${text}`);
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export const printJson = (value: unknown): void => print(JSON.stringify(value, undefined, 2));

type Style = Parameters<typeof styleText>[0];
/** Coloured on a terminal, plain elsewhere and under NO_COLOR. */
export const paint = (style: Style, text: string): string => styleText(style, text, { stream: process.stdout });

/** Columns as wide as their widest cell, two spaces apart. Cells may be painted. */
export function tableText(rows: readonly (readonly string[])[]): string {
  const plain = stripVTControlCharacters;
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((r) => plain(r[i] ?? '').length)));
  return rows
    .map((r) =>
      r
        .map((cell, i) => (i === r.length - 1 ? cell : cell + ' '.repeat((widths[i] ?? 0) - plain(cell).length + 2)))
        .join('')
        .trimEnd(),
    )
    .join('\n');
}
