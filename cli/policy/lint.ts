import { Command, Option } from 'commander';
import { isLintCode, LINT_CODES, type LintCode, SEVERITIES, type Severity } from '../../core/lint/codes.ts';
import type { Finding } from '../../core/lint/finding.ts';
import { lint } from '../../core/lint/lint.ts';
import { pageText } from '../../core/lint/pages.ts';
import { PROGRAM_VERSION } from '../../api/version.ts';
import { targetOptions } from '../target/choose.ts';
import { EXIT } from '../terminal/exit-codes.ts';
import { format, paint, print, printData, printJson, UsageError } from '../terminal/output.ts';
import { convertCommand } from './convert.ts';
import { type InputFlags, kustomizeOption, loadInput, manifestsOption, namespaceOption } from './load.ts';
import { type PlaceOf, placesIn } from './places.ts';
import { readCommand } from './read.ts';
import { sarifOf } from './sarif.ts';

type Flags = InputFlags & {
  output: string;
  disable?: LintCode[];
  only?: LintCode[];
  severity: Severity;
  explain?: LintCode;
};

export function policyCommand(exit: (code: number) => void): Command {
  return new Command('policy')
    .description('check policies')
    .addCommand(lintCommand(exit))
    .addCommand(readCommand())
    .addCommand(convertCommand());
}

/** `bulkhead policy lint`: exit code "no" for an error or a warning; what is only an info is no mistake. */
function lintCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('lint'))
    .description('find likely mistakes in policies: dead rules, selectors that match nothing, DNS forgotten, …')
    .addOption(manifestsOption())
    .addOption(kustomizeOption())
    .addOption(namespaceOption())
    .addOption(new Option('--disable <codes>', 'switch these codes off, comma-separated').argParser(codes))
    .addOption(new Option('--only <codes>', 'check these codes only, comma-separated').argParser(codes))
    .addOption(
      new Option('--severity <level>', 'lowest severity to show')
        .choices(SEVERITIES)
        .default('info' satisfies Severity),
    )
    .addOption(new Option('--explain <code>', 'explain a code, with an example and the remedy').argParser(code))
    .addOption(new Option('-o, --output <format>', 'text, json, yaml or sarif').default('text'))
    .action(async ({ output, disable = [], only, severity, explain, ...flags }: Flags) => {
      const shape = format(output, 'sarif');
      if (explain) return print(pageText(explain));
      const { view, objects, complete, policies } = await loadInput(flags, { quiet: true });
      const placeOf = placesIn(policies);
      const others = objects.map(({ object }) => object);
      const least = SEVERITIES.indexOf(severity);
      const findings = lint(view, { others, complete }).filter(
        (f) => !disable.includes(f.code) && (!only || only.includes(f.code)) && SEVERITIES.indexOf(f.severity) <= least,
      );
      if (shape === 'sarif') printJson(sarifOf(findings, placeOf, PROGRAM_VERSION));
      else if (shape === 'text') showText(findings, placeOf);
      else printData(shape, { findings: findings.map((f) => ({ ...f, ...placeOf(f) })) });
      exit(findings.some((f) => f.severity !== 'info') ? EXIT.no : EXIT.yes);
    });
}

const COLOURS = { error: 'red', warning: 'yellow', info: 'blue' } as const;

function showText(findings: readonly Finding[], placeOf: PlaceOf): void {
  for (const f of findings) {
    const place = placeOf(f);
    const where = place ? `${place.file}:${place.line}: ` : '';
    const field = f.path === '' ? '' : `${f.path}: `;
    print(`${where}${paint(COLOURS[f.severity], f.severity)}  ${f.code}  ${f.policy}  ${field}${f.message}`);
  }
  if (findings.length === 0) return print(paint('green', 'nothing found'));
  const counts = SEVERITIES.flatMap((s) => {
    const count = findings.filter((f) => f.severity === s).length;
    return count === 0 ? [] : [`${count} ${s}${count === 1 || s === 'info' ? '' : 's'}`];
  });
  print(`\n${counts.join(', ')}; \`bulkhead policy lint --explain CODE\` says what a code means`);
}

function code(text: string): LintCode {
  if (isLintCode(text)) return text;
  throw new UsageError(`there is no code ${text}; there are ${Object.keys(LINT_CODES).join(', ')}`);
}

const codes = (text: string): LintCode[] =>
  text
    .split(',')
    .map((c) => c.trim())
    .filter((c) => c !== '')
    .map(code);
