import { Command, Option } from 'commander';
import { askAbout } from '../../core/decide/ends.ts';
import { END_FORMS } from '../../core/decide/end-text.ts';
import { EXIT } from '../terminal/exit-codes.ts';
import { familiesOf } from '../terminal/ip-family.ts';
import { format, printData, printList, printTable, UsageError } from '../terminal/output.ts';
import { targetOptions } from '../target/choose.ts';
import { answerData, showAnswers } from './answers.ts';
import { type InputFlags, kustomizeOption, manifestsOption } from './load.ts';
import { matrix, matrixTable } from './matrix.ts';
import { answersOf, loadQuestion } from './question.ts';

type Flags = InputFlags & {
  output: string;
  all?: boolean;
  ipFamily: string;
};

/** `bulkhead explain FROM TO`, `bulkhead explain --all`. */
export function explainCommand(exit: (code: number) => void): Command {
  return targetOptions(new Command('explain'))
    .description('say whether a connection is allowed, and which rule of which policy decides')
    .argument('[from]', 'the client')
    .argument('[to]', 'the server; without a port: every port of a pod, each port of a Service')
    .addOption(manifestsOption())
    .addOption(kustomizeOption())
    .option('--all', 'from every pod, the nodes and the outside to every declared port of every pod')
    .option(
      '-n, --namespace <name>',
      'namespace of names and of manifests without one; with --all: only connections that its pods take part in',
    )
    .addOption(
      new Option('--ip-family <family>', 'ipv4, ipv6 or dual: both families, where both ends have both').default(
        'dual',
      ),
    )
    .addOption(new Option('-o, --output <format>', 'text, json or yaml').default('text'))
    .addHelpText('after', `\nFROM and TO: ${END_FORMS}.`)
    .action(async (fromText: string | undefined, toText: string | undefined, flags: Flags) => {
      const { output, all, namespace, ipFamily } = flags;
      const shape = format(output);
      const families = familiesOf(ipFamily);
      if (all ? fromText !== undefined : fromText === undefined || toText === undefined)
        throw new UsageError('explain: write FROM and TO, or --all');
      const { view, outside } = await loadQuestion(flags, [fromText ?? '', toText ?? '']);
      if (all) {
        const options = { families, outside, ...(namespace === undefined ? {} : { namespace }) };
        if (shape === 'text') printTable(matrixTable(view, options));
        else printList(shape, 'pairs', matrix(view, options));
        return;
      }
      const asked = askAbout(view, fromText ?? '', toText ?? '', {
        outside,
        families,
        ...(namespace === undefined ? {} : { namespace }),
      });
      const answers = answersOf(view, asked);
      if (shape === 'text') showAnswers(view, asked, answers);
      else printData(shape, answerData(view, asked, answers));
      exit(answers.every((a) => a.verdict === 'Accept') ? EXIT.yes : EXIT.no);
    });
}
