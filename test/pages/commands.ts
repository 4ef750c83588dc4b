/**
 * The commands of a page of the documentation, in their order. A block of `sh` holds commands; a block of `console` holds commands after
 * "$ " and what they print. A block without a language counts when it looks like either. Comments above a block, or anywhere before the
 * first one, say what a reader need not see:
 *
 *     <!-- lab: examples/shops --nodes 2 -->   the lab in which this page is tried: manifests and flags of `lab up`
 *     <!-- needs a cluster -->                 the block is not for a lab
 *     <!-- not run: REASON -->                 the block is not tried at all
 *     <!-- ends with 28 0 -->                  exit codes of the commands of the block, in order
 *     <!-- until stopped -->                   the commands of the block follow something and do not end by themselves
 *
 * YAML of whole objects is applied where it stands, unless the block says `<!-- not applied -->` or the page `<!-- no YAML is applied -->`:
 * a page is tried as it is read.
 */
export type Step =
  | { readonly kind: 'apply'; readonly line: number; readonly yaml: string }
  | {
      readonly kind: 'run';
      readonly line: number;
      readonly command: string;
      /** Lines that the page shows as its output. */
      readonly shown: readonly string[];
      /** Undefined: 0, or 3 where the command answers a question with no. */
      readonly code?: number;
      readonly untilStopped?: true;
    };

export type Page = {
  /** What follows `lab up` before the first step; undefined when the page brings up its own. */
  readonly lab?: string;
  readonly steps: readonly Step[];
  /** Commands that are not for a lab, each with the reason. */
  readonly notRun: readonly { readonly command: string; readonly why: string }[];
};

type Block = {
  readonly language: string;
  readonly text: string;
  readonly line: number;
  readonly marks: readonly string[];
};

export function readPage(markdown: string): Page {
  const lab = /^<!-- lab: (.*?) -->$/m.exec(markdown)?.[1];
  const steps: Step[] = [];
  const notRun: { command: string; why: string }[] = [];
  for (const block of blocksOf(markdown)) {
    const why = block.marks.map((m) => (m === 'needs a cluster' ? m : /^not run: (.*)$/.exec(m)?.[1])).find((w) => w);
    if (isCommands(block)) {
      const commands = commandsOf(block);
      if (why === undefined) steps.push(...commands);
      else notRun.push(...commands.flatMap((c) => (c.kind === 'run' ? [{ command: c.command, why }] : [])));
    } else if (block.language === 'yaml' && isObjects(block.text) && why === undefined && lab !== undefined)
      if (!block.marks.includes('not applied') && !markdown.includes('<!-- no YAML is applied -->'))
        steps.push({ kind: 'apply', line: block.line, yaml: block.text });
  }
  return { ...(lab === undefined ? {} : { lab }), steps, notRun };
}

function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let marks: string[] = [];
  let open: { language: string; lines: string[]; line: number } | undefined;
  for (const [i, raw] of markdown.split('\n').entries()) {
    const fence = /^\s*```(\w*)\s*$/.exec(raw);
    if (open && fence) {
      blocks.push({ language: open.language, text: open.lines.join('\n'), line: open.line, marks });
      open = undefined;
      marks = [];
    } else if (open) open.lines.push(raw);
    else if (fence) open = { language: fence[1] ?? '', lines: [], line: i + 1 };
    else {
      const [, mark] = /^<!-- (.*) -->$/.exec(raw.trim()) ?? [];
      if (mark !== undefined) marks.push(mark);
      else if (raw.trim() !== '') marks = [];
    }
  }
  return blocks;
}

const COMMAND = /^(?:make|\.\/bulkhead|kubectl) /;
const isCommands = ({ language, text }: Block): boolean =>
  ['sh', 'bash', 'console'].includes(language) ||
  (language === '' && text.split('\n').some((l) => l.startsWith('$ ') || COMMAND.test(l)));
const isObjects = (text: string): boolean =>
  text.split(/^---$/m).every((part) => /^apiVersion: /m.test(part) && /^kind: /m.test(part));

function commandsOf({ language, text, line, marks }: Block): Step[] {
  const codes = marks.flatMap((m) => /^ends with (.*)$/.exec(m)?.[1]?.split(' ').map(Number) ?? []);
  const untilStopped = marks.includes('until stopped');
  const hasPrompts = language === 'console' || text.split('\n').some((l) => l.startsWith('$ '));
  const found: { command: string; shown: string[]; line: number }[] = [];
  let continued = false;
  for (const [i, raw] of text.split('\n').entries()) {
    const last = found.at(-1);
    if (continued && last) {
      last.command = withoutComment(`${last.command.replace(/\\$/, '')}${raw.trim()}`);
      continued = raw.endsWith('\\');
      continue;
    }
    const isOne = hasPrompts ? raw.startsWith('$ ') : raw.trim() !== '' && !raw.startsWith('#');
    if (!isOne) {
      if (hasPrompts) last?.shown.push(raw);
      continue;
    }
    const command = withoutComment(raw.replace(/^\$ /, ''));
    continued = command.endsWith('\\');
    found.push({ command, shown: [], line: line + i + 1 });
  }
  return found.map(({ command, shown, line: at }, i) => ({
    kind: 'run',
    line: at,
    command,
    shown: shown.filter((l) => l.trim() !== '' && l.trim() !== '…'),
    ...(codes[i] === undefined ? {} : { code: codes[i] }),
    ...(untilStopped ? { untilStopped } : {}),
  }));
}

const withoutComment = (command: string): string => command.replace(/\s+# .*$/, '');
