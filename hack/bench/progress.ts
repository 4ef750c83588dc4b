/** What a benchmark is at: one line that is written over on a terminal, lines elsewhere. */
export const progress = (text: string): void =>
  void process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
