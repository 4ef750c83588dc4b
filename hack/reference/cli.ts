import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';
import { makeProgram } from '../../cli/program.ts';
import { exitCodesHelp } from '../../cli/terminal/exit-codes.ts';

const PROGRAMS = [
  ['bulkhead-agent', 'dataplane/main.ts'],
  ['bulkhead-controller', 'controller/main.ts'],
] as const;

/** docs/reference/cli.md: the help of every command, as the command itself prints it. */
export function cliReference(root: string): string {
  const commands = visible(makeProgram(() => undefined));
  return [
    '# Commands and flags',
    "<!-- Generated from the programs' own help by hack/generate.ts. Do not edit. -->",
    'The plugin for kubectl has the same commands: `kubectl bulkhead status`. Each ends with one of these\n[exit codes](exit-codes.md):',
    block(exitCodesHelp().trim().replace(/^.*\n/, '')),
    ...commands.map(({ words, help }) => `## ${words}\n\n${block(help)}`),
    ...PROGRAMS.map(([name, file]) => `## ${name}\n\n${block(helpOf(root, file))}`),
  ]
    .join('\n\n')
    .concat('\n');
}

/** All commands but those that other programs call. */
function visible(command: Command, parents = ''): { readonly words: string; readonly help: string }[] {
  const words = `${parents}${command.name()}`;
  command.configureHelp({ helpWidth: 100 });
  const inside = command
    .createHelp()
    .visibleCommands(command)
    .filter((c) => c.name() !== 'help');
  return [{ words, help: command.helpInformation() }, ...inside.flatMap((c) => visible(c, `${words} `))];
}

/** Programs read their arguments when they are loaded, so they are asked as a user asks. */
const helpOf = (root: string, file: string): string =>
  execFileSync(process.execPath, [join(root, file), '--help'], { encoding: 'utf8', env: { COLUMNS: '100' } });

const block = (text: string): string => `\`\`\`text\n${text.trimEnd()}\n\`\`\``;
