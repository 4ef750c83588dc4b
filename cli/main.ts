import { Command, CommanderError } from 'commander';
import { PROGRAM_VERSION } from '../api/version.ts';
import { reachCommand, statusCommand, traceCommand } from './cluster/command.ts';
import { isolateCommand } from './cluster/isolate.ts';
import { networksCommand } from './cluster/networks.ts';
import { nodeProbeCommand } from './cluster/node-probe.ts';
import { labCommand } from './lab/command.ts';
import { explainCommand } from './policy/explain.ts';
import { policyCommand } from './policy/lint.ts';
import { dropsCommand, revocationsCommand } from './policy/records.ts';
import { UsageError, warn } from './terminal/output.ts';

let exitCode = 0;
const exit = (code: number): void => {
  exitCode = code;
};

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
  .addCommand(nodeProbeCommand(), { hidden: true });

/** Commands end by a code; commander's own errors are wrong use. */
function endOnErrors(c: Command): void {
  c.exitOverride();
  for (const sub of c.commands) endOnErrors(sub);
}
endOnErrors(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    warn(`bulkhead: ${error instanceof Error ? error.message : String(error)}`);
    exitCode = error instanceof UsageError || (error as { code?: string }).code === 'Invalid' ? 2 : 1;
  }
}
// A pipe takes its time: what was printed must be out before the end.
process.stdout.write('', () => process.exit(exitCode));
