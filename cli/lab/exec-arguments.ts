import { UsageError } from '../terminal/output.ts';

/** What follows the pod on the line of `lab exec`. */
export type ExecArguments = { readonly name?: string; readonly command: readonly string[] };

/**
 * Splits what follows the pod. `--name` may stand there too, until the command begins: with the first word that is no option, or
 * behind `--`. Everything from there on is the command's own, a second `--` as well. Throws {@link UsageError}.
 */
export function readExecArguments(words: readonly string[]): ExecArguments {
  let name: string | undefined;
  let at = 0;
  for (; at < words.length; at++) {
    const word = words[at] ?? '';
    if (word === '--') {
      at++;
      break;
    }
    if (word === '--name') {
      name = words[++at];
      if (name === undefined || name === '--') throw new UsageError('option --name needs the name of a lab');
    } else if (word.startsWith('--name=')) name = word.slice('--name='.length);
    else if (word.startsWith('-'))
      throw new UsageError(`unknown option ${word}; options of the command follow after --: lab exec POD -- COMMAND`);
    else break;
  }
  const command = words.slice(at);
  if (command.length === 0) throw new UsageError('no command: bulkhead lab exec NAMESPACE/POD -- COMMAND');
  return { ...(name === undefined ? {} : { name }), command };
}
