import { Command, CommanderError } from 'commander';
import { PROGRAM_VERSION } from '../api/version.ts';
import { reachCommand, statusCommand } from './cluster/command.ts';
import { traceCommand } from './cluster/trace.ts';
import { isolateCommand } from './cluster/isolate.ts';
import { networksCommand } from './cluster/networks.ts';
import { nodeAddressesCommand } from './cluster/node-addresses.ts';
import { nodeProbeCommand } from './cluster/node-probe.ts';
import { EXIT, exitCodesHelp } from './terminal/exit-codes.ts';
import { labCommand } from './lab/command.ts';
import { UsageError, warn } from './terminal/output.ts';
import { takeVerbosity } from './terminal/verbosity.ts';
import { explainCommand } from './policy/explain.ts';
import { policyCommand } from './policy/lint.ts';
import { dropsCommand, revocationsCommand } from './policy/records.ts';

/** Runs one command line and gives its exit code. Results and errors are printed by then. */
export async function run(words: readonly string[]): Promise<number> {
  let code: number = EXIT.yes;
  const program = makeProgram((c) => {
    code = c;
  });
  try {
    refuseUnknown(program, words);
    await program.parseAsync(words, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.yes : EXIT.usage;
    warn(`bulkhead: ${error instanceof Error ? error.message : String(error)}`);
    return error instanceof UsageError || USAGE_CODES.includes((error as { code?: string }).code ?? '')
      ? EXIT.usage
      : EXIT.failed;
  }
}

/** Errors of other boundaries that mean a wrong input. */
const USAGE_CODES = ['Invalid', 'Usage'];

/** All commands. Each gives its code to `exit`. */
export function makeProgram(exit: (code: number) => void): Command {
  const program = new Command('bulkhead')
    .description('The Kubernetes network that makes segmentation the default and keeps it livable.')
    .version(PROGRAM_VERSION)
    .enablePositionalOptions()
    .addCommand(labCommand(exit))
    .addCommand(statusCommand(exit))
    .addCommand(networksCommand(exit))
    .addCommand(reachCommand(exit))
    .addCommand(traceCommand(exit))
    .addCommand(explainCommand(exit))
    .addCommand(policyCommand(exit))
    .addCommand(dropsCommand())
    .addCommand(revocationsCommand())
    .addCommand(isolateCommand(exit))
    .addCommand(nodeProbeCommand(), { hidden: true })
    .addCommand(nodeAddressesCommand(), { hidden: true });
  takeVerbosity(program);
  finish(program);
  return program;
}

/** What all commands share: their errors come to `run`, and their help ends with the exit codes. */
function finish(command: Command): void {
  command.exitOverride();
  command.addHelpText('after', exitCodesHelp());
  for (const sub of command.commands) finish(sub);
}

/** commander prints the help of the parent for `bulkhead UNKNOWN --help`. An unknown command is an error with any option. */
function refuseUnknown(program: Command, words: readonly string[]): void {
  let at = program;
  let isValue = false;
  for (const word of words) {
    if (isValue) {
      isValue = false;
      continue;
    }
    if (at.commands.length === 0) return;
    if (word.startsWith('-')) {
      if (word === '--help' || word === '-h') return;
      isValue = at.options.some((o) => o.required && (o.long === word || o.short === word));
      continue;
    }
    if (word === 'help') continue;
    const next = at.commands.find((c) => c.name() === word || c.aliases().includes(word));
    if (!next) {
      const known = at.commands.map((c) => c.name()).filter((n) => !n.startsWith('node-'));
      throw new UsageError(`unknown command ${word}; write ${at.name()} with one of: ${known.join(', ')}`);
    }
    at = next;
  }
}
