/** How every command ends. Programs may rely on it; the text is what `--help` and docs/reference/exit-codes.md say. */
export const EXIT = {
  /** Done; or the answer is yes: open, accepted, healthy, nothing found. */
  yes: 0,
  /** The command could not do its work or find the answer: no cluster, no right, a program that is missing. */
  failed: 1,
  /** The command line or an input file is wrong. Nothing was asked and nothing was changed. */
  usage: 2,
  /** The answer is no: closed, denied, unhealthy, something found, packets that differ. */
  no: 3,
} as const;

/** What each code means, in the words of the help. */
export const EXIT_MEANINGS: readonly (readonly [code: number, meaning: string])[] = [
  [EXIT.yes, 'done; or the answer is yes: open, accepted, healthy, nothing found'],
  [EXIT.failed, 'the command failed: no cluster, no permission, a program is missing'],
  [EXIT.usage, 'wrong usage, or an input that cannot be read'],
  [EXIT.no, 'the answer is no: closed, denied, unhealthy, something found, packets differ'],
];

/** The table at the end of every command's help. */
export const exitCodesHelp = (): string =>
  ['\nExit codes:', ...EXIT_MEANINGS.map(([code, meaning]) => `  ${code}  ${meaning}`)].join('\n');
