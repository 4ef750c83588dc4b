import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import { labDown } from '../../lab/world/lab.ts';
import { EXIT } from '../../cli/terminal/exit-codes.ts';
import { checkout } from './lab.ts';

// Every command of the README that is for the lab, word for word and in its order.

type Command = { readonly line: string; readonly shown: readonly string[] };

/** Commands of the code blocks, without prompts and comments, with the output that the README shows behind each. */
function commandsOf(text: string): Command[] {
  const commands: { line: string; shown: string[] }[] = [];
  for (const [, language = '', block = ''] of text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)) {
    if (!['', 'sh', 'console'].includes(language)) continue;
    let current: { line: string; shown: string[] } | undefined;
    for (const raw of block.split('\n')) {
      const [, line] = /^(?:\$ )?((?:make|\.\/bulkhead|kubectl) .*?)(?:\s+# .*)?$/.exec(raw) ?? [];
      if (line === undefined) current?.shown.push(raw);
      else {
        current = { line, shown: [] };
        commands.push(current);
      }
    }
  }
  return commands;
}

const readme = readFileSync(join(checkout, 'README.md'), 'utf8');
const all = commandsOf(readme);
/** For a cluster, or for everything: `make kind`, `make test`, `kubectl bulkhead`. */
const lab = all.filter(({ line }) => line === 'make lab' || line.startsWith('./bulkhead'));

const name = `t${process.pid}-readme`;
const folder = mkdtempSync(join(tmpdir(), 'bulkhead-readme-'));
for (const file of ['Makefile', 'bulkhead', 'examples']) symlinkSync(join(checkout, file), join(folder, file));
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await labDown(name);
});

async function run(line: string): Promise<{ code: number; output: string }> {
  const env = { ...process.env, BULKHEAD_LAB: name, KUBECONFIG: '' };
  try {
    const { stdout, stderr } = await exec(['sh', '-c', `cd ${folder} && ${line}`], { env, timeoutMs: 170_000 });
    return { code: 0, output: stderr + stdout };
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return { code: error.result.exitCode, output: error.result.stderr + error.result.stdout };
  }
}

/** What stays the same from one lab to the next: words, without addresses, numbers, and the room between columns. */
const words = (text: string): string =>
  text
    .replaceAll(name, 'default')
    .replaceAll(/[\d.]+|[a-f\d]*::?[a-f\d:]+/g, '#')
    .replaceAll(/\s+/g, ' ')
    .trim();

describe('the README', () => {
  test('has commands for the lab, and tells of no other programs', () => {
    expect(lab.length).toBeGreaterThan(5);
    const others = all.filter((c) => !lab.includes(c)).map((c) => c.line);
    for (const line of others) expect(line).toMatch(/^make (test|kind|kind-[a-z]+)$|^kubectl bulkhead /);
  });

  test.each(lab)('$line', async ({ line, shown }) => {
    const { code, output } = await run(line);
    // "no" is an answer, too: trace ends with 3 for what is rejected.
    const wanted = line.includes(' trace ') ? EXIT.no : EXIT.yes;
    expect([line, code, code === wanted ? '' : output]).toEqual([line, wanted, '']);
    const lines = shown.filter((l) => l.trim() !== '' && l.trim() !== '…');
    for (const expected of lines) expect(words(output)).toContain(words(expected));
  });
});
