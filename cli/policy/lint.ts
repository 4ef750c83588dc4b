import { Command, Option } from 'commander';
import { lint } from '../../core/lint/lint.ts';
import type { TargetFlags } from '../target/choose.ts';
import { targetOptions } from '../target/choose.ts';
import { format, paint, print, printJson } from '../terminal/output.ts';
import { loadView, manifestsOption } from './load.ts';

type Flags = TargetFlags & { output: string; filename?: string[] };

/** `bulkhead policy lint`. Exit code 0 without a finding, 1 with any, 2 when it cannot be told. */
export function policyCommand(exit: (code: number) => void): Command {
  return new Command('policy').description('look at policies').addCommand(lintCommand(exit));
}

function lintCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('lint'))
    .description('what of a policy its author hardly meant: dead rules, selectors that match nothing, DNS forgotten, …')
    .addOption(manifestsOption())
    .addOption(new Option('-o, --output <format>', 'text or json').default('text'))
    .addHelpText('after', '\nExit codes: 0 nothing found, 1 something found, 2 error.')
    .action(async ({ output, filename, ...flags }: Flags) => {
      const shape = format(output);
      const findings = lint(await loadView(filename, flags, { quiet: true }));
      if (shape === 'json') printJson({ findings });
      else {
        for (const f of findings) print(`${paint('yellow', f.code)}  ${f.policy}  ${f.path}: ${f.message}`);
        print(findings.length === 0 ? paint('green', 'nothing found') : `\n${findings.length} found`);
      }
      exit(findings.length === 0 ? 0 : 1);
    });
}
