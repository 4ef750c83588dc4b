import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Page, readPage } from './commands.ts';

export const root: string = join(import.meta.dirname, '../..');

/** The pages that users read, with what they tell them to type. */
export function pages(): ReadonlyMap<string, Page> {
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
    cwd: root,
    encoding: 'utf8',
  });
  const read = files
    .trim()
    .split('\n')
    .filter((f) => !f.startsWith('docs/benchmarks') && !f.startsWith('docs/conformance'));
  return new Map(read.sort().map((file) => [file, readPage(readFileSync(join(root, file), 'utf8'))]));
}
